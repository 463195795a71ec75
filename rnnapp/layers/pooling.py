"""From a sequence to a vector, over a window that a stream can keep."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

KINDS = ("mean", "max", "mean_max", "attention")
_HIDDEN = 30.0  # exp(-30) is 1e-13; a lower score would take an integer's range for itself

# The maximum over time of (batch, timesteps, features), (batch, features).
Maximum = Callable[[tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable("rnnapp")
class SequencePooling(keras.layers.Layer):
    """Pools the last `window` valid timesteps: mean, maximum, both, or attention.

    Attention is multi-headed with the last timestep as its query (the MHAtt-RNN of Rybakov et al.
    2020, arXiv:2005.06720, whose query is the middle one: a stream only knows the last).

    Args:
        kind: One of `KINDS`.
        window: Timesteps; None pools the whole sequence, which a stream cannot do.
        num_heads: Heads of attention.
    """

    def __init__(self, kind: str, window: int | None, num_heads: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: kind={kind!r}")
        self.kind, self.window, self.num_heads = kind, window, num_heads

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the query and key projections for inputs (batch, timesteps, features).

        Raises:
            ValueError: If `num_heads` does not divide the features that attention is over.
        """
        features = input_shape[-1]
        assert features is not None
        if self.kind == "attention":
            if features % self.num_heads:
                raise ValueError(
                    f"`num_heads` must divide the {features} features it attends to. "
                    f"Received: num_heads={self.num_heads}"
                )
            self.query = keras.layers.Dense(features, name="query")
            self.key = keras.layers.Dense(features, name="key")
            self.query.build((None, features))
            self.key.build((None, None, features))
        self.built = True

    def call(self, inputs: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Maps (batch, timesteps, features) and a bool mask (batch, timesteps) to a vector each."""
        if self.window is not None:
            ahead = tf.cumsum(tf.cast(mask, tf.int32), axis=1, reverse=True, exclusive=True)
            mask = mask & (ahead < self.window)  # only the last `window` valid timesteps
        timesteps = tf.shape(inputs)[1]
        last = tf.reduce_max(tf.where(mask, tf.range(timesteps), 0), axis=1)
        # A sequence too short for one timestep pools its first, which masking left at zero.
        mask |= tf.one_hot(last, timesteps, True, False)
        maximum = functools.partial(tf.reduce_max, axis=1)
        return self._pool(inputs, mask, tf.gather(inputs, last, axis=1, batch_dims=1), maximum)

    def step(
        self, inputs: tf.Tensor, states: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """As `call`, from a state on."""
        keep = self.window
        assert keep is not None  # `state_shapes` has refused it
        frames = tf.concat([states["frames"], inputs], axis=1)[:, -keep:]
        heard = tf.concat([states["heard"], tf.ones_like(inputs[..., 0])], axis=1)[:, -keep:]
        pooled = self._pool(frames, tf.cast(heard, tf.bool), frames[:, -1], _window_maximum)
        return pooled, {"frames": frames, "heard": heard}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int, ...]]:
        """What `step` carries along, a shape each, without the batch.

        Raises:
            ValueError: If `window` is None.
        """
        features = input_shape[-1]
        assert features is not None
        if self.window is None:
            raise ValueError(
                f"`window` must be a number of timesteps for `{self.name}` to stream: a pool over "
                "the whole sequence would grow for ever. Received: window=None"
            )
        return {"frames": (self.window, features), "heard": (self.window,)}

    def _pool(self, x: tf.Tensor, mask: tf.Tensor, last: tf.Tensor, maximum: Maximum) -> tf.Tensor:
        if self.kind == "attention":
            return self._attend(x, mask, last, maximum)
        weight = tf.cast(mask, x.dtype)[..., None]  # (batch, timesteps, 1)
        # Means, not sums, which would leave the range of an integer with the scale of their terms.
        share = tf.reduce_mean(weight, axis=1)
        mean = tf.reduce_mean(x * weight, axis=1) / share
        if self.kind == "mean":
            return mean
        # The last timestep is one of those that count. Any constant low enough to vanish would
        # take the whole range of an integer for itself.
        highest = maximum(tf.where(mask[..., None], x, last[:, None]))
        return highest if self.kind == "max" else tf.concat([mean, highest], axis=-1)

    def _attend(
        self, x: tf.Tensor, mask: tf.Tensor, last: tf.Tensor, maximum: Maximum
    ) -> tf.Tensor:
        heads, size = self.num_heads, x.shape[-1] // self.num_heads
        timesteps = x.shape[1] or tf.shape(x)[1]
        split = (-1, timesteps, heads, size)
        query = tf.reshape(self.query(last), (-1, heads, 1, size))
        keys, values = (
            tf.transpose(tf.reshape(y, split), [0, 2, 1, 3]) for y in (self.key(x), x)
        )  # (batch, heads, timesteps, size)
        # Products, not sums over time: a sum of integers keeps the scale of its terms.
        products = tf.matmul(query, keys, transpose_b=True)  # (batch, heads, 1, timesteps)
        scale = size**-0.5
        opposite = maximum(tf.reshape(products * -scale, (-1, timesteps, 1)))
        lowest = -_HIDDEN - tf.reshape(opposite, (-1, heads, 1, 1))
        scores = tf.where(mask[:, None, None], products * scale, lowest)
        pooled = tf.matmul(tf.nn.softmax(scores), values)  # (batch, heads, 1, size)
        return tf.reshape(pooled, (-1, heads * size))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: a vector has no timesteps to mask, and a loss would apply what is left."""

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], mask_shape: object = None
    ) -> tuple[int | None, ...]:
        """(batch, timesteps, features) becomes (batch, features), twice as many for both."""
        batch, _, features = inputs_shape
        assert features is not None
        return batch, features * (2 if self.kind == "mean_max" else 1)

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        config = {"kind": self.kind, "window": self.window, "num_heads": self.num_heads}
        return {**super().get_config(), **config}


def _window_maximum(x: tf.Tensor) -> tf.Tensor:
    """As a pool: for integers of sixteen bits, microcontrollers have no other maximum over time."""
    return tf.nn.max_pool2d(x[:, :, None], (x.shape[1], 1), strides=1, padding="VALID")[:, 0, 0]
