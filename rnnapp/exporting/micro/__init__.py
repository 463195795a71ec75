"""Bundles for microcontrollers: a model for TensorFlow Lite Micro behind a front end in C."""

from __future__ import annotations

from rnnapp.exporting.micro.bundle import load, write
from rnnapp.exporting.micro.interpreter import UnsupportedModelError

__all__ = ["UnsupportedModelError", "load", "write"]
