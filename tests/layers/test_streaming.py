"""A model heard step by step gives the answers of the whole sequence, or says why it cannot."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from rnnapp import builders
from rnnapp.layers import CELLS
from rnnapp.layers.pooling import KINDS
from rnnapp.layers.streaming import NotCausalError, StepModel
from rnnapp.specs import ConvSpec, FrontSpec, RNNSpec

from .conftest import CLASSES, CONVOLUTIONS, FEATURES, WINDOW, feature_model, sequences, shuffled

STREAMS, TIMESTEPS = 2, 3 * WINDOW + 1
assert WINDOW * CONVOLUTIONS[0].stride_time < TIMESTEPS  # what is heard leaves the pools again

# The same float32 sums in another order, over some twenty steps.
LOGITS = {"rtol": 0, "atol": 1e-5}


def streamed(model: keras.Model, x: np.ndarray, steps: int = 1) -> np.ndarray:
    """The answer after every call, (calls, batch, classes)."""
    stepper = StepModel(model, steps)
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


@pytest.mark.parametrize("steps", [2, 3])
def test_a_call_may_take_several_steps(steps: int) -> None:
    """A server batches steps; the answer is that of the last."""
    model, x = feature_model("gru", "attention", CONVOLUTIONS), sequences(STREAMS, 12)
    np.testing.assert_allclose(
        streamed(model, x, steps), streamed(model, x)[steps - 1 :: steps], **LOGITS
    )


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
    model = shuffled(builders.many_to_one(spec, CLASSES, sample_rate=8000, window_seconds=0.03))
    x = np.random.default_rng(0).uniform(-1, 1, (STREAMS, 32 * 20)).astype(np.float32)
    assert StepModel(model).input_shape == (64,)  # two frames of 4 ms
    np.testing.assert_allclose(streamed(model, x), whole(model, x, 64), **LOGITS)


def test_streams_do_not_hear_each_other() -> None:
    """A server steps many callers as one batch."""
    model, x = feature_model("lstm", "mean", CONVOLUTIONS), sequences(STREAMS, TIMESTEPS)
    alone = np.concatenate([streamed(model, one[None]) for one in x], axis=1)
    np.testing.assert_allclose(streamed(model, x), alone, **LOGITS)


def refused(*layers: keras.layers.Layer) -> keras.Model:
    """A functional model of features with some layers in between."""
    source = x = keras.Input((None, FEATURES))
    for layer in layers:
        x = layer(x)
    return keras.Model(source, x)


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
            lambda: refused(keras.layers.GRU(4, go_backwards=True, name="gru")),
            "`gru` has go_backwards=True",
        ),
        (
            lambda: refused(keras.layers.GlobalMaxPooling1D(name="pool")),
            r"`pool` \(GlobalMaxPooling1D\) has no streaming step. Layers that have one: recurrent",
        ),
    ],
)
def test_what_cannot_stream_says_why(model: object, message: str) -> None:
    """The reason goes into the manifest of an export, for whoever misses the signature `step`."""
    with pytest.raises(NotCausalError, match=message):
        StepModel(model())  # type: ignore[operator]
