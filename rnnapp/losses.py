"""Losses that Keras does not have."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("rnnapp")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits against integer labels, with label smoothing.

    Label smoothing is that of Szegedy et al. 2016 (arXiv:1512.00567); Keras offers it for one-hot
    targets only.

    Args:
        label_smoothing: Share of a target's mass that is spread over all classes.
    """

    def __init__(
        self, label_smoothing: float = 0.0, name: str = "crossentropy", **kwargs: object
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Maps labels (batch,) and logits (batch, classes) to losses (batch,)."""
        targets = tf.one_hot(tf.cast(y_true, tf.int32), tf.shape(y_pred)[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            targets, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, object]:
        """The loss's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


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
