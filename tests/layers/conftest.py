"""Small models of features, with weights drawn widely enough that every part shows."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from rnnapp.specs import ConvSpec, RNNSpec

if TYPE_CHECKING:
    import keras

FEATURES, CLASSES, WINDOW = 8, 3, 3
CONVOLUTIONS = (ConvSpec(filters=2, kernel_time=3, kernel_frequency=3, stride_time=2),)


def shuffled(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with drawn weights: fresh ones hold zeros and ones, which hide mistakes."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        low, high = (0.5, 1.5) if positive else (-0.5, 0.5)
        weight.assign(generator.uniform(low, high, weight.shape))
    return model


@functools.cache
def feature_model(
    cell: str,
    pooling: str,
    convolutions: tuple[ConvSpec, ...] = (),
    layer_norm: bool = False,
    bidirectional: bool = False,
    window: int | None = WINDOW,
) -> keras.Model:
    """A two-layer model of features, (batch, timesteps, FEATURES) to (batch, CLASSES)."""
    from rnnapp import builders

    spec = RNNSpec(
        cell,
        units=4,
        pooling=pooling,
        convolutions=convolutions,  # type: ignore
        layer_norm=layer_norm,
        bidirectional=bidirectional,
        num_heads=2,
    )
    return shuffled(builders.many_to_one(spec, CLASSES, num_features=FEATURES, window=window))


def sequences(batch: int, timesteps: int, seed: int = 0) -> np.ndarray:
    """Features, float32 (batch, timesteps, FEATURES)."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((batch, timesteps, FEATURES)).astype(np.float32)
