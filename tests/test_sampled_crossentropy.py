"""A softmax that looks at some tokens estimates the one that looks at all."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp.token_losses import sampled_crossentropy

TOKENS, FEATURES, VOCABULARY = 6, 4, 30
DRAW = np.random.default_rng(0)
FEATURE_VALUES = tf.constant(DRAW.normal(size=(TOKENS, FEATURES)), tf.float32)
VECTORS = tf.constant(DRAW.normal(size=(VOCABULARY, FEATURES)), tf.float32)
BIAS = tf.constant(DRAW.normal(size=VOCABULARY), tf.float32)
TRUE = tf.constant([0, 1, 5, 17, 29, 1], tf.int32)


def look_up(token_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The softmax's vectors and biases."""
    return tf.gather(VECTORS, token_ids), tf.gather(BIAS, token_ids)


def sampled(num_sampled: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses (tokens,), and their gradient by the features (tokens, features)."""
    generator = keras.random.SeedGenerator(seed)
    with tf.GradientTape() as tape:
        tape.watch(FEATURE_VALUES)
        losses = sampled_crossentropy(
            FEATURE_VALUES, TRUE, look_up, VOCABULARY, num_sampled, generator
        )
    return losses.numpy(), tape.gradient(losses, FEATURE_VALUES).numpy()


def full() -> tuple[np.ndarray, np.ndarray]:
    """The same of the full softmax."""
    with tf.GradientTape() as tape:
        tape.watch(FEATURE_VALUES)
        logits = tf.matmul(FEATURE_VALUES, VECTORS, transpose_b=True) + BIAS
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(TRUE, logits)
    return losses.numpy(), tape.gradient(losses, FEATURE_VALUES).numpy()


def test_many_draws_are_the_full_softmax() -> None:
    """In value and gradient; half a million draws leave an error of a percent."""
    for ours, theirs in zip(sampled(500_000), full(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.02)


def test_the_error_shrinks_as_draws_get_more() -> None:
    """As one over their root: what is estimated is the right thing, without a bias that stays."""
    (expected, _), errors = full(), {}
    for num_sampled in (50, 5000):
        runs = [sampled(num_sampled, seed)[0] - expected for seed in range(20)]
        errors[num_sampled] = np.sqrt(np.mean(np.square(runs)))
    assert errors[50] / errors[5000] == pytest.approx(10, rel=0.4)  # by 120 runs each


def test_the_true_token_is_counted_once() -> None:
    """Drawn as well, it would be pushed down by itself: a sure model's loss goes to zero."""
    sure = tf.concat([FEATURE_VALUES * 0, tf.ones((TOKENS, 1))], axis=1)

    def of(token_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vectors = tf.one_hot(token_ids * 0 + FEATURES, FEATURES + 1)
        return vectors * 0, tf.where(token_ids == 1, 40.0, 0.0)

    generator = keras.random.SeedGenerator(0)
    losses = sampled_crossentropy(sure, tf.ones(TOKENS, tf.int32), of, VOCABULARY, 200, generator)
    np.testing.assert_allclose(losses, np.zeros(TOKENS), atol=1e-6)
