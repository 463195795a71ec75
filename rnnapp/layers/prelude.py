"""What a stream heard before: other audio in front of a training clip."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("rnnapp")
class Prelude(keras.layers.Layer):
    """Puts frames of another clip of the batch in front of each clip, in a share of the batches.

    A clip starts from states of zeros; a stream starts from zeros once and never again. A model
    that was trained on clips alone does not know what to make of the states that the last word
    left behind. The layer does nothing outside training.

    Args:
        share: Of the batches that get a prelude, of a random length up to the clip's own.
        stride: Units of length (samples, say) in a timestep.
        seed: Of the draws.
    """

    def __init__(
        self, share: float, stride: int = 1, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.settings = {"share": share, "stride": stride, "seed": seed}
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(
        self, frames: tf.Tensor, lengths: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Maps (batch, timesteps, features) and lengths (batch,) to longer ones of the kind."""
        if not training:
            return frames, lengths
        draws = keras.random.uniform((2,), seed=self.seed_generator)
        longest = tf.cast(tf.shape(frames)[1], tf.float32)
        drawn = tf.cast(draws[1] * longest, tf.int32)
        timesteps = tf.where(draws[0] < self.settings["share"], drawn, 0)
        before = tf.roll(frames, 1, axis=0)[:, :timesteps]  # (batch, before, features)
        return tf.concat([before, frames], axis=1), lengths + timesteps * self.settings["stride"]

    def step(
        self, frames: tf.Tensor, states: dict[str, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, None], dict[str, tf.Tensor]]:
        """A stream has a past of its own."""
        return (frames, None), {}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int, ...]]:
        """No state."""
        return {}

    def compute_output_shape(
        self, frames_shape: tuple[int | None, ...], lengths_shape: tuple[int | None, ...]
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        """As many timesteps outside training; any number within."""
        batch, _, features = frames_shape
        return (batch, None, features), lengths_shape

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), **self.settings}
