"""Attention: which parts of a memory a query asks for."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

_HIDDEN = -1e9  # the score of padding, whose weight rounds to an exact zero


class Attention(keras.layers.Layer):
    """What both attentions share: scores become weights, and weights a mean of the memory.

    The keys are a function of the memory alone, so that a decoder computes them once, and not at
    each of its steps.

    Args:
        units: Size of the queries.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def keys(self, memory: tf.Tensor) -> tf.Tensor:
        """What queries are compared with, (batch, timesteps, units)."""
        raise NotImplementedError

    def score(self, query: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """How well each key answers each query, (batch, queries, timesteps)."""
        raise NotImplementedError

    def call(
        self, query: tf.Tensor, keys: tf.Tensor, memory: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attends to the memory.

        Args:
            query: Floats (batch, queries, units).
            keys: What `keys` made of the memory, (batch, timesteps, units).
            memory: Floats (batch, timesteps, features).
            lengths: True lengths of the memory, int32 (batch,).

        Returns:
            The contexts, (batch, queries, features); and the weights, (batch, queries, timesteps),
            which sum to one over the true timesteps and are zero elsewhere.
        """
        timesteps = memory.shape[1] or tf.shape(memory)[1]
        valid = tf.range(timesteps)[None] < lengths[:, None]  # (batch, timesteps)
        scores = tf.where(valid[:, None], self.score(query, keys), _HIDDEN)
        weights = tf.nn.softmax(scores)  # (batch, queries, timesteps)
        return tf.matmul(weights, memory), weights

    def compute_output_shape(
        self,
        query_shape: tuple[int | None, ...],
        keys_shape: tuple[int | None, ...],
        memory_shape: tuple[int | None, ...],
        lengths_shape: tuple[int | None, ...],
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        """Contexts (batch, queries, features) and weights (batch, queries, timesteps)."""
        batch, queries, _ = query_shape
        return (batch, queries, memory_shape[-1]), (batch, queries, memory_shape[1])

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("rnnapp")
class BahdanauAttention(Attention):
    """Additive attention, v . tanh(W query + U memory) (Bahdanau et al. 2015, arXiv:1409.0473).

    Args:
        units: Size of the queries, and of the layer inside.
    """

    def build(
        self, query_shape: tuple, keys_shape: tuple, memory_shape: tuple, lengths_shape: tuple
    ) -> None:
        """Makes both projections and the vector of the scores."""
        self.of_query = keras.layers.Dense(self.units, use_bias=False, name="of_query")
        self.of_memory = keras.layers.Dense(self.units, name="of_memory")
        self.of_query.build((None, None, query_shape[-1]))
        self.of_memory.build((None, None, memory_shape[-1]))
        self.vector = self.add_weight(shape=(self.units,), name="vector")
        self.built = True

    def keys(self, memory: tf.Tensor) -> tf.Tensor:
        """U memory, (batch, timesteps, units)."""
        return self.of_memory(memory)

    def score(self, query: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """The sum over units of v tanh(W query + key), (batch, queries, timesteps)."""
        both = tf.tanh(self.of_query(query)[:, :, None] + keys[:, None])  # (b, queries, t, units)
        return tf.reduce_sum(both * self.vector, axis=-1)


@keras.saving.register_keras_serializable("rnnapp")
class LuongAttention(Attention):
    """Multiplicative attention, query . W memory (Luong et al. 2015, arXiv:1508.04025), to scale.

    Scores are divided by the root of `units` (Vaswani et al. 2017, arXiv:1706.03762). Those of wide
    layers would make every weight one or zero early in training, where their gradient is zero: what
    is looked at first would be looked at for ever.

    Args:
        units: Size of the queries.
        kind: "general", as above; or "dot", without W, of a memory as wide as the queries.
    """

    KINDS = ("general", "dot")

    def __init__(self, units: int, kind: str = "general", **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        if kind not in self.KINDS:
            valid = ", ".join(self.KINDS)
            raise ValueError(f"`kind` must be one of {valid}. Received: kind={kind!r}")
        self.kind = kind

    def build(
        self, query_shape: tuple, keys_shape: tuple, memory_shape: tuple, lengths_shape: tuple
    ) -> None:
        """Makes the projection of the memory.

        Raises:
            ValueError: If `kind` is "dot" and the memory is not as wide as the queries.
        """
        if self.kind == "general":
            self.of_memory = keras.layers.Dense(self.units, use_bias=False, name="of_memory")
            self.of_memory.build((None, None, memory_shape[-1]))
        elif memory_shape[-1] != self.units:
            raise ValueError(
                f"`units` must be {memory_shape[-1]}, the width of the memory, for kind='dot'. "
                f"Received: units={self.units}. Choose kind='general' for other widths."
            )
        self.built = True

    def keys(self, memory: tf.Tensor) -> tf.Tensor:
        """W memory, or the memory itself, to scale, (batch, timesteps, units)."""
        keys = self.of_memory(memory) if self.kind == "general" else memory
        return keys * self.units**-0.5  # here, because keys are made once, and scores at each step

    def score(self, query: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """The products of queries and keys, (batch, queries, timesteps)."""
        return tf.matmul(query, keys, transpose_b=True)

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), "kind": self.kind}
