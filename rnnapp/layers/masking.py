"""From true lengths to Keras' `Masking`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

# No feature takes this value, so that `Masking` never takes a real frame of zeros for padding.
# `Masking` itself turns what it masks into zeros: no layer after it sees the number.
MASK_VALUE = -1e9


@keras.saving.register_keras_serializable("rnnapp")
class PadMarker(keras.layers.Layer):
    """Sets what lies past a sequence's true length to `MASK_VALUE`, for `Masking` to find.

    Args:
        stride: Units of length (samples, say) in a timestep.
    """

    def __init__(self, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # masks come as an argument; none is lost here
        self.stride = stride
        self.built = True

    def call(self, frames: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Maps (batch, timesteps, features) and integer lengths (batch,) to the same shape.

        Only whole timesteps count: a stream cannot hear the beginning of a frame either.
        """
        valid = tf.sequence_mask(lengths // self.stride, tf.shape(frames)[1])  # (batch, timesteps)
        return tf.where(valid[..., None], frames, MASK_VALUE)

    def step(
        self, frames: tf.Tensor, states: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """A stream has no padding."""
        return frames, {}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int, ...]]:
        """No state."""
        return {}

    def compute_output_shape(
        self, frames_shape: tuple[int | None, ...], lengths_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """The shape of the frames."""
        return frames_shape

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), "stride": self.stride}
