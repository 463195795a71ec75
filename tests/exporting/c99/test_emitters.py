"""Every layer in C gives the answers of Keras, or is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnnapp.exporting.c99.emitters import EMITTERS
from rnnapp.exporting.c99.program import UnsupportedLayerError
from rnnapp.layers import CELLS, CausalConv, RunningMean
from rnnapp.layers.pooling import KINDS
from rnnapp.layers.streaming import NotCausalError, StepModel
from rnnapp.specs import ConvSpec

from ...layers.conftest import CONVOLUTIONS, FEATURES, feature_model, sequences, shuffled
from ...layers.test_streaming import streamed, whole
from .conftest import EXACT, LABELS, answers, chain, softmax, waveform, waveform_model, written

STEPS = 100


def check(model: keras.Model, x: np.ndarray, folder: Path) -> None:
    """The program equals the whole model at the end of every step."""
    (size, *_) = StepModel(model).input_shape
    expected = softmax(whole(model, x, size)[:, 0])
    assert len(expected) >= STEPS // 2 and np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(answers(written(model, folder), x), expected, **EXACT)


IMAGES = (*CONVOLUTIONS, ConvSpec(3, kernel_time=2, kernel_frequency=3, stride_frequency=1))
SIDES = itertools.cycle([(False, ()), (True, CONVOLUTIONS), (False, IMAGES), (True, ())])
MODELS = [(cell, pooling, *next(SIDES)) for cell in CELLS for pooling in ("last", *KINDS)]
QUICK = MODELS[::3]  # every cell, pool and side


@pytest.mark.parametrize(
    ("cell", "pooling", "layer_norm", "convolutions"),
    [pytest.param(*model, marks=[] if model in QUICK else [pytest.mark.slow]) for model in MODELS],
)
def test_features_give_the_answers_of_keras(
    cell: str, pooling: str, layer_norm: bool, convolutions: tuple[ConvSpec, ...], tmp_path: Path
) -> None:
    """Every cell and pool, two layers deep, at every step of a long stream."""
    model = feature_model(cell, pooling, convolutions, layer_norm)
    check(model, sequences(1, STEPS), tmp_path)


@pytest.mark.parametrize(
    ("front", "cell", "pooling", "convolutions"),
    [
        ("log_mel", "gru", "mean_max", CONVOLUTIONS),
        ("mfcc", "lstm", "last", ()),
        ("frames", "simple_rnn", "attention", (ConvSpec(3, 2, 0, stride_time=2),)),
    ],
)
def test_sound_gives_the_answers_of_keras(
    front: str, cell: str, pooling: str, convolutions: tuple[ConvSpec, ...], tmp_path: Path
) -> None:
    """From samples on: the Fourier transform, the filters and the means are C as well."""
    check(waveform_model(front, cell, pooling, convolutions), waveform(STEPS), tmp_path)


def made(layer: type[keras.layers.Layer], **arguments: st.SearchStrategy) -> st.SearchStrategy:
    """Draws the arguments of a layer; the layer itself is made in the test."""
    return st.builds(partial, st.just(layer), **arguments)


BOOL, UNITS, YES = st.booleans(), st.integers(1, 9), st.just(True)
SQUASHING = st.sampled_from(["tanh", "sigmoid"])  # with others, a recurrence may grow
ANY = st.sampled_from(["tanh", "sigmoid", "relu", "linear", "softmax"])
CELL = {"units": UNITS, "use_bias": BOOL, "return_sequences": YES}
LAYERS = st.one_of(
    made(keras.layers.SimpleRNN, activation=SQUASHING, **CELL),
    made(keras.layers.LSTM, recurrent_activation=SQUASHING, **CELL),
    made(keras.layers.GRU, reset_after=BOOL, **CELL),
    made(keras.layers.Dense, units=UNITS, activation=ANY, use_bias=BOOL),
    made(keras.layers.Activation, activation=ANY),
    made(keras.layers.LayerNormalization, center=BOOL, scale=BOOL),
    made(keras.layers.BatchNormalization, center=BOOL, scale=BOOL),
    made(RunningMean, frames=st.floats(1.0, 20.0)),
)


def strided(timesteps: int) -> list[Callable[[Any], Any]]:
    """Layers of which one step takes some timesteps: those before see as many at once."""
    return [
        lambda x: keras.ops.expand_dims(x, -1),
        CausalConv(2, timesteps, 0, stride_time=timesteps),
        keras.layers.Reshape((-1, 2)),
    ]


SEQUENCES = {"units": 4, "return_sequences": True}


@example([partial(keras.layers.SimpleRNN, activation="sigmoid", **SEQUENCES)], 2)
@example([partial(keras.layers.LSTM, use_bias=False, **SEQUENCES)], 1)
@example([partial(keras.layers.GRU, reset_after=False, **SEQUENCES)], 3)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.lists(LAYERS, min_size=1, max_size=4), st.integers(1, 3))
def test_any_chain_gives_the_answers_of_keras(
    tmp_path_factory: pytest.TempPathFactory, makers: list[Any], timesteps: int
) -> None:
    """Settings that the builders do not use, and layers that hear some timesteps a step."""
    source = x = keras.Input((None, FEATURES))
    head = keras.layers.GRU(4), keras.layers.Dense(len(LABELS))
    for layer in [*(make() for make in makers), *strided(timesteps), *head]:
        x = layer(x)
    model, heard = shuffled(keras.Model(source, x)), sequences(1, 18)
    expected = softmax(streamed(model, heard)[:, 0])  # which equals the whole, as its tests say
    folder = written(model, tmp_path_factory.mktemp("chain"))
    np.testing.assert_allclose(answers(folder, heard), expected, **EXACT)


class OwnGRU(keras.layers.GRU):
    """A layer that may do anything."""


DENSE = partial(keras.layers.Dense, len(LABELS), name="logits")
KERNELS = ", ".join(sorted(kind.__name__ for kind in EMITTERS))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: chain(OwnGRU(4, name="own"), DENSE()),
            UnsupportedLayerError,
            rf"`own` must be of a type that has a C kernel: {KERNELS}\. Received: OwnGRU\. Leave",
        ),
        (
            lambda: chain(keras.layers.RNN([keras.layers.GRUCell(4)], name="cells"), DENSE()),
            UnsupportedLayerError,
            "`cells` must be of a type.*Received: RNN",
        ),
        (
            lambda: chain(keras.layers.GRU(4), DENSE(activation="gelu")),
            UnsupportedLayerError,
            "`logits` must have an activation that has a C function: linear, relu, sigmoid, tanh. "
            "Received: gelu",
        ),
        (
            lambda: chain(keras.layers.LSTM(3, activation="softmax", name="cell")),
            UnsupportedLayerError,
            "`cell` must have an activation.*Received: softmax",
        ),
        (
            lambda: chain(keras.layers.GRU(4, go_backwards=True, name="back"), DENSE()),
            NotCausalError,
            "`back` has go_backwards=True",
        ),
        (
            lambda: chain(keras.layers.GRU(4, return_sequences=True)),
            ValueError,
            r"Received: outputs of shapes \[\(1, 4\)\]",
        ),
        (
            lambda: chain(keras.layers.GRU(4)),
            ValueError,
            r"one vector of 3 logits, one for each label. Received: outputs of shapes \[\(4,\)\]",
        ),
        (
            lambda: chain(keras.layers.Masking(), keras.layers.GRU(3), dtype="int32"),
            ValueError,
            "input must be float32, or int32 for an embedding. Received: int32",
        ),
    ],
)
def test_what_c_cannot_hold_is_refused(
    make: Callable[[], keras.Model], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """Before a file is written, with what there is instead."""
    with pytest.raises(error, match=message):
        written(make(), tmp_path / "c99")
    assert not (tmp_path / "c99").exists()
