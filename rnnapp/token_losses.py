"""Losses and measures of token ids in which padding, id 0, does not count."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("rnnapp")
class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits against token ids, a mean over all true tokens of a batch.

    Args:
        label_smoothing: Share of a target's mass that is spread over the vocabulary (Szegedy et
            al. 2016, arXiv:1512.00567).
    """

    def __init__(
        self, label_smoothing: float = 0.0, name: str = "crossentropy", **kwargs: object
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Maps ids (batch, timesteps) and logits (batch, timesteps, vocabulary) to a number."""
        losses, _ = _of_tokens(y_true, y_pred, self.label_smoothing)
        return mean_over_tokens(losses, y_true)

    def get_config(self) -> dict[str, object]:
        """The loss's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("rnnapp")
class TokenAccuracy(keras.metrics.Mean):
    """The share of true tokens that are the most probable ones."""

    def __init__(self, name: str = "accuracy", **kwargs: object) -> None:
        super().__init__(name=name, **kwargs)

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: object = None
    ) -> None:
        """Takes in ids (batch, timesteps) and logits (batch, timesteps, vocabulary)."""
        right = tf.argmax(y_pred, axis=-1) == tf.cast(y_true, tf.int64)
        _add(super(), tf.cast(right, tf.float32), tf.cast(y_true != 0, tf.float32))


@keras.saving.register_keras_serializable("rnnapp")
class Perplexity(keras.metrics.Mean):
    """How many tokens a model hesitates between: exp of the mean cross-entropy of true tokens."""

    def __init__(self, name: str = "perplexity", **kwargs: object) -> None:
        super().__init__(name=name, **kwargs)

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: object = None
    ) -> None:
        """Takes in ids (batch, timesteps) and logits (batch, timesteps, vocabulary)."""
        _add(super(), *_of_tokens(y_true, y_pred))

    def result(self) -> tf.Tensor:
        """The perplexity so far."""
        return tf.exp(super().result())


def _add(mean: Any, values: tf.Tensor, true: tf.Tensor) -> None:
    """Takes in the values of true tokens, each as one: of rows, Keras would take in their means."""
    mean.update_state(tf.reshape(values, (-1,)), tf.reshape(true, (-1,)))


def _of_tokens(
    y_true: tf.Tensor, y_pred: tf.Tensor, label_smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Losses of all places, (batch, timesteps), and which of them hold true tokens."""
    token_ids = tf.cast(tf.reshape(y_true, (-1,)), tf.int32)  # Keras may have made floats of them
    logits = tf.reshape(y_pred, (-1, y_pred.shape[-1]))
    losses = crossentropy(logits, token_ids, label_smoothing)
    return tf.reshape(losses, tf.shape(y_true)), tf.cast(y_true != 0, y_pred.dtype)


def crossentropy(
    logits: tf.Tensor, token_ids: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Cross-entropy against smoothed targets, that are never made.

    On a CPU and with a vocabulary of thousands, TensorFlow's own takes three times as long, and
    what the gradient needs is made once for a loss and a metric of the same logits.

    Args:
        logits: Floats (tokens, vocabulary).
        token_ids: Int32 (tokens,).
        label_smoothing: Share of a target's mass that is spread over the vocabulary.

    Returns:
        Losses, (tokens,).
    """
    true = 1.0 - label_smoothing

    @tf.custom_gradient
    def of(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        highest = tf.reduce_max(logits, axis=-1, keepdims=True)
        shares = tf.exp(logits - highest)
        total = tf.reduce_sum(shares, axis=-1, keepdims=True)
        losses = tf.squeeze(highest + tf.math.log(total), axis=-1)
        losses -= true * tf.gather(logits, token_ids, batch_dims=1)
        if label_smoothing:
            losses -= label_smoothing * tf.reduce_mean(logits, axis=-1)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            """Probabilities less targets."""
            each = upstream[:, None]
            spread = label_smoothing / tf.cast(tf.shape(logits)[-1], logits.dtype)
            places = tf.stack([tf.range(tf.size(token_ids)), token_ids], axis=1)
            change = shares * (each / total) - each * spread
            return tf.tensor_scatter_nd_sub(change, places, true * upstream)

        return losses, gradient

    return of(logits)


def sampled_crossentropy(
    features: tf.Tensor,
    token_ids: tf.Tensor,
    look_up: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    vocabulary_size: int,
    num_sampled: int,
    seed: keras.random.SeedGenerator,
) -> tf.Tensor:
    """An estimate of softmax cross-entropy that looks at some tokens of a large vocabulary.

    Importance sampling (Jean et al. 2015, arXiv:1412.2007): the sum over all tokens but the true
    one is estimated from draws, with replacement, of which a token of rank r has the share
    log((r + 2) / (r + 1)) / log(vocabulary_size + 1), as by Zipf's law.

    Args:
        features: What the softmax is over, (tokens, features).
        token_ids: The true ones, int32 (tokens,); low ids are of frequent tokens.
        look_up: The softmax's vectors (ids, features) and biases (ids,) of token ids (ids,).
        vocabulary_size: Tokens that there are.
        num_sampled: Draws, the same ones for all of `features`.
        seed: Of the draws.

    Returns:
        Nats, (tokens,).
    """
    log_size = math.log(vocabulary_size + 1)
    draws = tf.exp(keras.random.uniform((num_sampled,), seed=seed) * log_size) - 1
    drawn = tf.minimum(tf.cast(draws, tf.int32), vocabulary_size - 1)
    rank = tf.cast(drawn, tf.float32)
    expected = num_sampled * tf.math.log((rank + 2) / (rank + 1)) / log_size  # of each, (draws,)
    vectors, bias = look_up(drawn)
    others = tf.matmul(features, vectors, transpose_b=True) + bias - tf.math.log(expected)
    others = tf.where(drawn == token_ids[:, None], -math.inf, others)  # (tokens, draws)
    vectors, bias = look_up(token_ids)
    true = tf.reduce_sum(features * vectors, axis=-1) + bias
    return tf.reduce_logsumexp(tf.concat([true[:, None], others], axis=-1), axis=-1) - true


def mean_over_tokens(values: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    """The mean of values (batch, timesteps) over the tokens that are not padding, id 0."""
    true = tf.cast(token_ids != 0, values.dtype)
    return tf.reduce_sum(values * true) / tf.maximum(tf.reduce_sum(true), 1.0)
