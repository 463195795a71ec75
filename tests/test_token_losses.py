"""Losses and measures of tokens are the textbook's, and padding does not count."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp.token_losses import Perplexity, TokenAccuracy, TokenCrossentropy, crossentropy

TOKENS, VOCABULARY = 12, 7

# What float32 loses over sums of some exponentials.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def drawn(seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Token ids, (3, 4), some of which are padding, and logits."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(1, VOCABULARY, (3, 4)).astype(np.int32)
    ids[0, 3] = ids[2, 1:] = 0
    return tf.constant(ids), tf.constant(5 * draw.standard_normal((3, 4, VOCABULARY)), tf.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_crossentropy_and_its_gradient_are_those_of_smoothed_targets(smoothing: float) -> None:
    """Keras' own against one-hot targets, which are spread out."""
    ids, logits = drawn()
    ids, logits = tf.reshape(ids, (-1,)), tf.reshape(logits, (-1, VOCABULARY))
    weights = tf.range(1.0, TOKENS + 1)
    results = []
    for function in (
        lambda x: crossentropy(x, ids, smoothing),
        lambda x: keras.losses.categorical_crossentropy(
            tf.one_hot(ids, VOCABULARY), x, from_logits=True, label_smoothing=smoothing
        ),
    ):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = function(logits)
            total = tf.reduce_sum(losses * weights)
        results.append((losses, tape.gradient(total, logits)))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)


def test_large_logits_do_not_overflow() -> None:
    """A sure model is not an infinite loss."""
    logits = tf.constant([[1000.0, 0.0], [0.0, -1000.0]])
    np.testing.assert_allclose(crossentropy(logits, tf.constant([1, 0])), [1000, 0])


def test_means_are_over_true_tokens() -> None:
    """Whatever the logits of padding are, and however the tokens are put in batches."""
    ids, logits = drawn()
    true = ids.numpy() != 0
    each = crossentropy(tf.reshape(logits, (-1, VOCABULARY)), tf.reshape(ids, (-1,))).numpy()
    mean = each.reshape(3, 4)[true].mean()
    np.testing.assert_allclose(TokenCrossentropy()(ids, logits), mean, **CLOSE)
    other = tf.where(true[..., None], logits, 9.0)
    np.testing.assert_allclose(TokenCrossentropy()(ids, other), mean, **CLOSE)
    accuracy, perplexity = TokenAccuracy(), Perplexity()
    for row in range(3):  # of different numbers of tokens
        for metric in (accuracy, perplexity):
            metric.update_state(ids[row : row + 1], logits[row : row + 1])
    right = logits.numpy().argmax(axis=-1) == ids.numpy()
    assert float(accuracy.result()) == pytest.approx(right[true].mean())
    assert float(perplexity.result()) == pytest.approx(np.exp(mean), rel=1e-5)


def test_a_loss_comes_back_from_its_settings() -> None:
    """As Keras saves it with a compiled model."""
    loss = keras.losses.deserialize(keras.losses.serialize(TokenCrossentropy(0.2)))
    assert isinstance(loss, TokenCrossentropy) and loss.label_smoothing == 0.2


@pytest.mark.parametrize("metric", [TokenAccuracy, Perplexity])
def test_a_measure_does_not_depend_on_how_wide_batches_are(metric: type) -> None:
    """Each token counts once: a mean of rows' means would favour batches of short rows."""
    ids, logits = drawn()
    whole, parts = metric(), metric()
    whole.update_state(ids, logits)
    for row, width in enumerate((3, 4, 1)):  # without the padding
        parts.update_state(ids[row : row + 1, :width], logits[row : row + 1, :width])
    np.testing.assert_allclose(parts.result(), whole.result(), **CLOSE)
