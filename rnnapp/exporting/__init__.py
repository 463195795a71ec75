"""Exports: one trained model, every runtime, and the proof that they agree."""
