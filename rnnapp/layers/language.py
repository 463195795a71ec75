"""The two ends of a language model: vectors for tokens, and softmaxes over large vocabularies."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import tensorflow as tf

Shapes = dict[str, tuple[int, ...]]


@keras.saving.register_keras_serializable("rnnapp")
class TiedEmbedding(keras.layers.Layer):
    """One vector for each token, by which it is read and by which it is predicted.

    Called with token ids it looks their vectors up; called with features it gives logits (Press and
    Wolf 2017, arXiv:1608.05859).

    Args:
        vocabulary_size: Tokens.
        dim: Size of the vectors.
    """

    def __init__(self, vocabulary_size: int, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # masks come as an argument; none is lost here
        self.settings = {"vocabulary_size": vocabulary_size, "dim": dim}
        self.embeddings = self.add_weight(
            shape=(vocabulary_size, dim), initializer="uniform", name="embeddings"
        )
        self.bias = self.add_weight(shape=(vocabulary_size,), initializer="zeros", name="bias")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps ids (batch, timesteps) to vectors, or features (batch, timesteps, dim) to logits."""
        if tf.as_dtype(inputs.dtype).is_integer:
            return tf.gather(tf.convert_to_tensor(self.embeddings), inputs)
        return tf.tensordot(inputs, tf.transpose(self.embeddings), 1) + self.bias

    def step(self, inputs: tf.Tensor, states: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict]:
        """As `call`."""
        return self.call(inputs), {}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> Shapes:
        """No state."""
        return {}

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable("rnnapp")
class AdaptiveLogits(keras.layers.Layer):
    """Log-probabilities of a large vocabulary, rare tokens in clusters (Grave et al. 2017).

    A token of the first cluster is as probable as the head says. One of another is as probable as
    its cluster is, by the head, times its share of the cluster, by the cluster's own softmax over
    features that get fewer from cluster to cluster (arXiv:1609.04309). Training computes the
    clusters that a batch has tokens of, by `nats`.

    Args:
        vocabulary_size: Tokens, the most frequent ones first.
        cutoffs: Where clusters begin, rising.
        divisor: Features of a cluster over those of the next.
    """

    def __init__(
        self, vocabulary_size: int, cutoffs: tuple[int, ...], divisor: int = 4, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # masks come as an argument; none is lost here
        self.settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "cutoffs": list(cutoffs),
            "divisor": divisor,
        }
        self.borders = [*(each for each in cutoffs if each < vocabulary_size), vocabulary_size]
        self.clusters = list(itertools.pairwise(self.borders))  # the rare ones

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the softmaxes for features (..., features)."""
        features = input_shape[-1]
        assert features is not None
        self.head = keras.layers.Dense(self.borders[0] + len(self.clusters), name="head")
        self.head.build(input_shape)
        self.projections, self.tails = [], []
        for number, (low, high) in enumerate(self.clusters, 1):
            size = max(1, features // self.settings["divisor"] ** number)
            self.projections.append(keras.layers.Dense(size, use_bias=False))
            self.projections[-1].build(input_shape)
            self.tails.append(keras.layers.Dense(high - low, use_bias=False))
            self.tails[-1].build((None, size))
        self.built = True

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Maps (..., features) to log-probabilities (..., vocabulary_size)."""
        first = self.borders[0]
        head = tf.nn.log_softmax(self.head(features))
        parts = [head[..., :first]]
        for number in range(len(self.clusters)):
            cluster = head[..., first + number : first + number + 1]
            parts.append(cluster + tf.nn.log_softmax(self._within(number, features)))
        return tf.concat(parts, axis=-1)

    def nats(self, features: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
        """The negative log-probability of one token each, without those of all others.

        Args:
            features: (tokens, features).
            token_ids: Int32 (tokens,).

        Returns:
            Floats (tokens,).
        """
        crossentropy = tf.nn.sparse_softmax_cross_entropy_with_logits
        cluster = tf.searchsorted(tf.constant(self.borders[:-1], tf.int32), token_ids, side="right")
        in_head = tf.where(cluster == 0, token_ids, self.borders[0] + cluster - 1)
        nats = crossentropy(in_head, self.head(features))
        for number, (low, _) in enumerate(self.clusters):
            rows = tf.where(cluster == number + 1)  # (tokens of the cluster, 1)
            logits = self._within(number, tf.gather_nd(features, rows))
            within = crossentropy(tf.gather_nd(token_ids, rows) - low, logits)
            nats = tf.tensor_scatter_nd_add(nats, rows, within)
        return nats

    def _within(self, number: int, features: tf.Tensor) -> tf.Tensor:
        """The logits of a cluster's tokens."""
        return self.tails[number](self.projections[number](features))

    def step(self, inputs: tf.Tensor, states: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict]:
        """As `call`."""
        return self.call(inputs), {}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> Shapes:
        """No state."""
        return {}

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(..., features) becomes (..., vocabulary_size)."""
        return *input_shape[:-1], self.borders[-1]

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), **self.settings}
