"""Small models as integers for TensorFlow Lite Micro."""

from __future__ import annotations

import functools

import numpy as np

from rnnapp import builders
from rnnapp.exporting import flatbuffer
from rnnapp.exporting.quantized import IntegerStep
from rnnapp.specs import EmbeddingSpec, RNNSpec

from ...layers.conftest import CLASSES, WINDOW, feature_model, sequences, shuffled
from ..c99.conftest import waveform_model

NO_FRONT, TOKENS = "features", "tokens"
VOCABULARY = 9


@functools.cache
def integers(front: str, cell: str = "gru", pooling: str = "mean_max") -> IntegerStep:
    """A model's step; `front` is one of `c99.conftest.FRONTS`, or none, or tokens."""
    generator = np.random.default_rng(0)
    if front == TOKENS:
        spec = RNNSpec(cell, units=4, pooling=pooling, embedding=EmbeddingSpec(5))  # type: ignore[arg-type]
        model = builders.many_to_one(spec, CLASSES, vocabulary_size=VOCABULARY, window=WINDOW)
        return IntegerStep(shuffled(model), generator.integers(0, VOCABULARY, (4, 30), np.int32))
    if front == NO_FRONT:
        return IntegerStep(feature_model(cell, pooling), sequences(4, 30))
    noise = generator.uniform(-1, 1, (4, 1600)).astype(np.float32)
    return IntegerStep(waveform_model(front, cell, pooling), noise)


@functools.cache
def body(step: IntegerStep, bits: int) -> bytes:
    """The file of a body, as exports have it."""
    return flatbuffer.compact(step.body_step(bits))
