"""Tuning: many runs with other settings, the best of which goes on to be exported.

`rnnapp.tuning.tune.tune` is the verb. keras-tuner's oracles say what to try next; a trial is an
ordinary run folder; chief and workers are processes that may be killed.
"""
