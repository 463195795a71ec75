"""Sequences read in chunks: the same answers, and gradients that stay inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp import builders, train
from rnnapp.chunks import ChunkedTraining, chunked
from rnnapp.layers import CELLS
from rnnapp.specs import EmbeddingSpec, RNNSpec

from .conftest import TINY_READER
from .layers.conftest import shuffled
from .test_training import Killed, kill_in_epoch

TOKENS, LENGTH = 9, 4
DRAW = np.random.default_rng(0)
INPUTS = {
    "token_ids": DRAW.integers(1, TOKENS, (5, 14)).astype(np.int32),
    "lengths": np.array([14, 1, 4, 9, 13], np.int32),
}


def model_of(cell: str = "gru", **settings: Any) -> keras.Model:
    """A tiny classifier of tokens."""
    spec = RNNSpec(
        **{
            "cell": cell,
            "units": 8,
            "num_layers": 2,
            "dropout": 0.0,
            "embedding": EmbeddingSpec(dim=3),
            **settings,
        }
    )
    return shuffled(builders.many_to_one(spec, 3, vocabulary_size=TOKENS))


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("length", [1, LENGTH, 14, 100])
def test_answers_are_those_of_the_whole(pooling: str, length: int) -> None:
    """Chunks of a timestep, of several, of all and more; padding being nothing."""
    model = model_of(pooling=pooling)
    read = ChunkedTraining(model, length)(INPUTS, training=True)
    np.testing.assert_allclose(read, model(INPUTS), rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_stay_inside_chunks(cell: str) -> None:
    """As one chunk after the other, from states that are taken as given."""
    layer = CELLS[cell](5, return_sequences=True, return_state=True)
    x = tf.constant(DRAW.normal(size=(2, 10, 3)), tf.float32)
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(DRAW.normal(size=weight.shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        parts, states = [], None
        for start in range(0, 10, LENGTH):
            part, *states = layer(x[:, start : start + LENGTH], initial_state=states)
            parts.append(part)
            states = [tf.stop_gradient(state) for state in states]
        loss = tf.reduce_sum(tf.concat(parts, axis=1) ** 2)
    expected = tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(chunked(layer, x, LENGTH) ** 2)
    found = tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("length", "reached"), [(4, 2), (100, 14)])
def test_what_is_long_past_is_read_without_gradient(length: int, reached: int) -> None:
    """Of fourteen tokens in chunks of four, the last state answers for the last two."""
    model = model_of(pooling="last", num_layers=1)
    training = ChunkedTraining(model, length)
    table = model.get_layer("embedding").trainable_weights[0]
    inputs = {
        "token_ids": np.array([[*[1] * 12, 2, 3]], np.int32),
        "lengths": np.array([14], np.int32),
    }
    with tf.GradientTape() as tape:
        answer = training(inputs, training=True)[0, 0]
    rows = tf.convert_to_tensor(tape.gradient(answer, table.value))
    moved = np.abs(rows).sum(axis=1) > 0
    assert moved[[2, 3]].all() and moved[1] == (reached > 2)
    far = {**inputs, "token_ids": np.array([[4, *[1] * 11, 2, 3]], np.int32)}
    assert np.abs(training(far, training=True) - training(inputs, training=True)).max() > 0


@pytest.mark.parametrize(
    "settings", [{"bidirectional": True}, {"recurrent_dropout": 0.1}], ids=["both", "dropout"]
)
def test_what_cannot_be_chunked_is_refused(settings: dict[str, Any]) -> None:
    """A half that begins at the end has no state to carry."""
    with pytest.raises(ValueError, match="`gradient_length` must be none"):
        ChunkedTraining(model_of(**settings), LENGTH)


def test_long_texts_are_learnt_and_training_goes_on_where_it_was(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one setting of any run: a plain model is left, the same after a kill to the bit."""
    settings = [*TINY_READER, "epochs=3", "gradient_length=8"]
    whole = train("text_classification", reviews, tmp_path / "whole", settings=settings)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in_epoch(2, patch)
        train("text_classification", reviews, tmp_path / "killed", settings=settings)
    resumed = train("text_classification", out=tmp_path / "killed", resume=True)
    model = whole.load_model()
    assert type(model).__name__ == "Functional"
    for ours, theirs in zip(resumed.load_model().weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)
    assert whole.metrics()["training"]["val_accuracy"] > 0.8


def test_language_models_have_their_own_length(tales: Path, tmp_path: Path) -> None:
    """What is set and changes nothing misleads."""
    with pytest.raises(ValueError, match="`gradient_length` must be none for language_model"):
        train("language_model", tales, tmp_path / "run", settings=["gradient_length=8"])
