"""A model heard step by step gives the answers of the whole sequence, or says why it cannot."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp import builders, specs
from rnnapp.layers import CELLS
from rnnapp.layers.pooling import KINDS
from rnnapp.layers.streaming import NotCausalError, StepModel
from rnnapp.specs import ConvSpec, EmbeddingSpec, FrontSpec, RNNSpec

from .conftest import CLASSES, CONVOLUTIONS, FEATURES, WINDOW, feature_model, sequences, shuffled

STREAMS, TIMESTEPS = 2, 3 * WINDOW + 1
assert WINDOW * CONVOLUTIONS[0].stride_time < TIMESTEPS  # what is heard leaves the pools again

# The same float32 sums in another order, over some twenty steps.
LOGITS = {"rtol": 0, "atol": 1e-5}


def streamed(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """The answer after every call, (calls, batch, classes)."""
    stepper = StepModel(model)
    states, answers = stepper.initial_states(len(x)), []
    (size, *_) = stepper.input_shape
    for start in range(0, x.shape[1] - size + 1, size):
        logits, states = stepper(x[:, start : start + size], states)
        answers.append(logits.numpy())
    return np.stack(answers)


def whole(model: keras.Model, x: np.ndarray, size: int) -> np.ndarray:
    """The answers to the first `size` timesteps, the first two times `size`, and so on."""
    lengths = np.arange(size, x.shape[1] + 1, size)
    answers = model([np.tile(x, (len(lengths), *x[0].ndim * [1])), lengths.repeat(len(x))])
    return np.reshape(answers, (len(lengths), len(x), -1))


@pytest.mark.parametrize("layer_norm", [False, True], ids=["", "norm"])
@pytest.mark.parametrize("convolutions", [(), CONVOLUTIONS], ids=["", "conv"])
@pytest.mark.parametrize("pooling", ["last", *KINDS])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_whole(
    cell: str, pooling: str, convolutions: tuple[ConvSpec, ...], layer_norm: bool
) -> None:
    """Training on clips and listening to a stream is one model, at every step boundary."""
    model = feature_model(cell, pooling, convolutions, layer_norm)
    x, size = sequences(STREAMS, TIMESTEPS), 2 if convolutions else 1
    np.testing.assert_allclose(streamed(model, x), whole(model, x, size), **LOGITS)


class ThreeStates(keras.layers.Layer):
    """A cell with three states of different sizes, and no argument `training`."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units, self.output_size, self.state_size = units, units, [units, 1, units + 1]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel."""
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units))

    def call(self, x: tf.Tensor, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Mixes all three."""
        h, count, past = states
        h = tf.tanh(x @ self.kernel + 0.5 * h + 0.1 * count + past[:, 1:])
        return h, [h, 0.5 * count + 1, tf.concat([0.9 * past[:, 1:], h[:, :1]], axis=1)]


class ThreeStatesLayer(keras.layers.RNN):
    """The recurrent layer of that cell."""

    def __init__(self, units: int, recurrent_dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(ThreeStates(units), **kwargs)


def test_a_cell_that_joins_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry is all that a cell takes, however many states it has."""
    monkeypatch.setitem(specs.CELLS, "three", f"{__name__}:ThreeStatesLayer")
    monkeypatch.setitem(CELLS, "three", pkgutil.resolve_name(specs.CELLS["three"]))
    model, x = feature_model("three", "mean", CONVOLUTIONS), sequences(STREAMS, TIMESTEPS)
    np.testing.assert_allclose(streamed(model, x), whole(model, x, 2), **LOGITS)
    shapes = StepModel(model).state_shapes
    assert [shapes[f"three_2_state_{number}"] for number in range(3)] == [(4,), (1,), (5,)]


@pytest.mark.parametrize(
    "cells", [keras.layers.GRUCell, keras.layers.LSTMCell], ids=["gru", "lstm"]
)
def test_stacked_cells_stream(cells: type[keras.layers.Layer]) -> None:
    """Keras nests the states of cells in one layer."""
    source = keras.Input((None, FEATURES))
    model = shuffled(keras.Model(source, keras.layers.RNN([cells(4), cells(3)])(source)))
    x = sequences(STREAMS, TIMESTEPS)
    expected = [model(x[:, :length]) for length in range(1, TIMESTEPS + 1)]
    np.testing.assert_allclose(streamed(model, x), expected, **LOGITS)


@pytest.mark.parametrize("kind", ["log_mel", "mfcc"])
def test_samples_equal_the_clip(kind: str) -> None:
    """From the microphone to the answer: front end, running mean, strides and pools together."""
    front = FrontSpec(
        kind=kind,
        num_mel_bins=FEATURES,
        num_mfcc=6,
        frame_length_ms=10,  # type: ignore
        frame_step_ms=4,
        mean_seconds=0.02,
        time_masks=1,
        frequency_masks=1,
    )
    spec = RNNSpec(
        "lstm",
        units=4,
        pooling="mean_max",
        front=front,
        convolutions=(*CONVOLUTIONS, ConvSpec(2, 3, 0)),
    )
    model = shuffled(builders.many_to_one(spec, CLASSES, sample_rate=8000, window=0.03))
    x = np.random.default_rng(0).uniform(-1, 1, (STREAMS, 32 * 20)).astype(np.float32)
    assert StepModel(model).input_shape == (64,)  # two frames of 4 ms
    np.testing.assert_allclose(streamed(model, x), whole(model, x, 64), **LOGITS)


@pytest.mark.parametrize("cell", CELLS)
def test_tokens_equal_the_text(cell: str) -> None:
    """Read one by one, integers all the way in."""
    spec = RNNSpec(cell, units=4, pooling="mean_max", embedding=EmbeddingSpec(5, 0.2, 0.2))
    model = shuffled(builders.many_to_one(spec, CLASSES, vocabulary_size=9, window=WINDOW))
    token_ids = np.random.default_rng(0).integers(0, 9, (2, 7), np.int32)
    assert StepModel(model).input_dtype == tf.int32
    np.testing.assert_allclose(streamed(model, token_ids), whole(model, token_ids, 1), **LOGITS)


def test_streams_do_not_hear_each_other() -> None:
    """A server steps many callers as one batch."""
    model, x = feature_model("lstm", "mean", CONVOLUTIONS), sequences(STREAMS, TIMESTEPS)
    alone = np.concatenate([streamed(model, one[None]) for one in x], axis=1)
    np.testing.assert_allclose(streamed(model, x), alone, **LOGITS)


def made(*layers: Callable[[Any], Any], timesteps: int | None = None) -> keras.Model:
    """A functional model of features, some layers after each other."""
    source = x = keras.Input((timesteps, FEATURES))
    for layer in layers:
        x = layer(x)
    return keras.Model(source, x)


# Each moves numbers from one timestep to another, whole or in part.
MIXING: dict[str, Callable[[Any], Any]] = {
    "Flip": lambda x: keras.ops.flip(x, axis=1),
    "GetItem": lambda x: x[:, ::-1],
    "ExpandDims": lambda x: keras.ops.expand_dims(x, 1),
    "Multiply": lambda x: x * keras.ops.sum(x, axis=1, keepdims=True),
    "Reshape": keras.layers.Reshape((-1, 2 * FEATURES)),
    "BatchNormalization": keras.layers.BatchNormalization(axis=1),
    "LayerNormalization": keras.layers.LayerNormalization(axis=[1, 2]),
}


@pytest.mark.parametrize("name", MIXING)
def test_what_nobody_has_shown_to_be_causal_is_refused(name: str) -> None:
    """A step that hears otherwise than the model was trained to is worse than none."""
    with pytest.raises(NotCausalError, match=r"has no streaming step.*`state_shapes` and `step`"):
        StepModel(made(MIXING[name], timesteps=4))


def test_what_acts_on_each_timestep_alone_streams() -> None:
    """By the last axis, however it is counted, and through an image and back."""
    layers = (
        keras.layers.BatchNormalization(axis=2),
        keras.layers.Reshape((-1, 2, FEATURES // 2)),
        keras.layers.LayerNormalization(),
        keras.layers.Reshape((-1, FEATURES)),
        keras.layers.SimpleRNN(4),
        keras.layers.LayerNormalization(axis=1),
    )
    model, x = shuffled(made(*layers)), sequences(STREAMS, TIMESTEPS)
    expected = [model(x[:, :length]) for length in range(1, TIMESTEPS + 1)]
    np.testing.assert_allclose(streamed(model, x), expected, **LOGITS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: feature_model("gru", "last", bidirectional=True),
            "`bidirectional_1` reads the sequence backwards.*Train with bidirectional=false",
        ),
        (
            lambda: feature_model("gru", "mean", window=None),
            "`window` must be a number of timesteps for `pooling` to stream.*Received: window=None",
        ),
        (
            lambda: made(keras.layers.GRU(4, go_backwards=True, name="gru")),
            "`gru` has go_backwards=True",
        ),
        (
            lambda: made(keras.layers.GlobalMaxPooling1D(name="pool")),
            r"`pool` \(GlobalMaxPooling1D\) has no streaming step. Layers that have one: recurrent",
        ),
    ],
)
def test_what_cannot_stream_says_why(model: object, message: str) -> None:
    """The reason goes into the manifest of an export, for whoever misses the signature `step`."""
    with pytest.raises(NotCausalError, match=message):
        StepModel(model())  # type: ignore[operator]
