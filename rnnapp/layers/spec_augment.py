"""SpecAugment, in the model because the front end is there too."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("rnnapp")
class SpecAugment(keras.layers.Layer):
    """Blanks random spans of time and of frequency in training (Park et al. 2019, 1904.08779).

    A blanked cell takes the mean of its sequence, padding included. The layer does nothing outside
    training.

    Args:
        time_masks: Masks over time.
        time_mask: Longest of them, in timesteps.
        frequency_masks: Masks over frequency.
        frequency_mask: Widest of them, in bands.
        seed: Of the masks.
    """

    def __init__(
        self,
        time_masks: int,
        time_mask: int,
        frequency_masks: int,
        frequency_mask: int,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # masks come as an argument; none is lost here
        self.settings: dict[str, Any] = {
            "time_masks": time_masks,
            "time_mask": time_mask,
            "frequency_masks": frequency_masks,
            "frequency_mask": frequency_mask,
            "seed": seed,
        }
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps (batch, timesteps, features) to the same shape."""
        if not training:
            return inputs
        batch, timesteps, features = tf.unstack(tf.shape(inputs))
        s = self.settings
        time = self._spans(batch, timesteps, s["time_masks"], s["time_mask"])
        frequency = self._spans(batch, features, s["frequency_masks"], s["frequency_mask"])
        blank = time[:, :, None] | frequency[:, None, :]  # (batch, timesteps, features)
        return tf.where(blank, tf.reduce_mean(inputs, axis=[1, 2], keepdims=True), inputs)

    def step(
        self, inputs: tf.Tensor, states: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """As `call` outside training."""
        return inputs, {}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int, ...]]:
        """No state."""
        return {}

    def _spans(self, batch: tf.Tensor, size: tf.Tensor, masks: int, longest: int) -> tf.Tensor:
        """True inside `masks` random spans of 0..longest positions, (batch, size)."""
        draw = keras.random.uniform((2, batch, masks), seed=self.seed_generator)
        width = tf.floor(draw[0] * (longest + 1))
        start = tf.floor(draw[1] * (tf.cast(size, tf.float32) - width + 1))
        position = tf.range(tf.cast(size, tf.float32))[None, None]  # (1, 1, size)
        inside = (position >= start[..., None]) & (position < (start + width)[..., None])
        return tf.reduce_any(inside, axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), **self.settings}
