"""Optimizers and learning-rate schedules, as a spec asks for them."""

from __future__ import annotations

import functools

import keras
from keras.optimizers.schedules import LearningRateSchedule

from rnnapp import finetuning
from rnnapp.specs import TrainSpec, require


def optimizer(
    spec: TrainSpec, total_steps: int, model: keras.Model | None = None
) -> keras.optimizers.Optimizer:
    """AdamW under the spec's schedule, layer groups apart if need be; or SGD at a constant rate.

    Args:
        spec: The training.
        total_steps: Steps of the whole training.
        model: Whose layers have rates of their own; None gives all weights the same.
    """
    layerwise = spec.rate_divisor != 1 or spec.gradual_unfreezing
    if spec.optimizer == "asgd":  # whose weights are averaged: see `rnnapp.averaging`
        require(not layerwise, "optimizer", "adamw where layers have rates of their own", "asgd")
        return keras.optimizers.SGD(
            spec.learning_rate,
            weight_decay=spec.weight_decay or None,
            global_clipnorm=spec.clip_norm or None,
        )
    schedule = _schedule(spec, total_steps)
    if model is None or not layerwise:
        return _adamw(spec, schedule)
    steps = total_steps // spec.epochs if spec.gradual_unfreezing else 0
    make = functools.partial(_adamw, spec)
    return finetuning.layerwise(model, make, schedule, spec.rate_divisor, steps)


def _schedule(spec: TrainSpec, total_steps: int) -> LearningRateSchedule:
    warmup = round(spec.warmup_fraction * total_steps)
    if spec.schedule == "slanted_triangular":
        return finetuning.SlantedTriangular(spec.learning_rate, total_steps, warmup)
    return keras.optimizers.schedules.CosineDecay(
        spec.learning_rate if not warmup else 0.0,
        decay_steps=max(1, total_steps - warmup),
        warmup_target=spec.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def _adamw(spec: TrainSpec, rate: LearningRateSchedule) -> keras.optimizers.Optimizer:
    adamw = keras.optimizers.AdamW(
        rate,
        weight_decay=spec.weight_decay,
        global_clipnorm=spec.clip_norm or None,
    )
    # Decay belongs to matrices: a bias or a scale pulled to zero only loses range.
    adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return adamw
