"""The last true timestep of a sequence."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("rnnapp")
class LastTimestep(keras.layers.Layer):
    """Takes what a sequence of outputs ends with, so that a model answers once for all of it."""

    def call(self, inputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Maps (batch, timesteps, features) and true lengths (batch,) to (batch, features)."""
        last = tf.clip_by_value(lengths - 1, 0, tf.shape(inputs)[1] - 1)
        return tf.gather(inputs, last, axis=1, batch_dims=1)

    def step(
        self, inputs: tf.Tensor, states: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """As `call`: what a step ends with."""
        return inputs[:, -1], {}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int, ...]]:
        """Nothing is carried along."""
        return {}

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: a vector has no timesteps to mask."""

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], lengths_shape: object = None
    ) -> tuple[int | None, ...]:
        """(batch, timesteps, features) becomes (batch, features)."""
        return inputs_shape[0], inputs_shape[-1]
