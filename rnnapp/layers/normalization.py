"""A mean that a stream can know: the running mean of the frames heard so far."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

_BLOCK = 32


@keras.saving.register_keras_serializable("rnnapp")
class RunningMean(keras.layers.Layer):
    """Takes the exponentially forgetting mean of the past off each feature.

    Cepstral mean normalisation in its causal form. With `a = 1 / frames` the mean is
    `m[t] = (1 - a) m[t-1] + a x[t]`, divided by `w[t] = (1 - a) w[t-1] + a`, so that the first
    frames see a plain mean of what has been heard (the bias correction of Kingma and Ba 2014). It
    starts from zeros, as every state of a stream does.

    Args:
        frames: Time constant, in timesteps.
    """

    def __init__(self, frames: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # masks come as an argument; none is lost here
        if frames < 1:
            raise ValueError(f"`frames` must be at least 1. Received: frames={frames}")
        self.frames = float(frames)
        self._decay = 1.0 - 1.0 / self.frames
        steps = np.arange(_BLOCK)
        lag = steps[:, None] - steps
        triangle = np.where(lag >= 0, self._decay ** np.maximum(lag, 0) / self.frames, 0.0)
        self.triangle = triangle.astype("float32")  # (_BLOCK, _BLOCK)
        self.fading = (self._decay ** (steps + 1.0)).astype("float32")[:, None]
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps (batch, timesteps, features) to the same shape.

        Padding on the right needs no mask: the past of a valid frame holds valid frames only.
        The recurrence runs over blocks; inside a block it is a product with a triangular matrix.
        """
        batch, timesteps, features = tf.unstack(tf.shape(inputs))
        count = -(-timesteps // _BLOCK)
        padded = tf.pad(inputs, [[0, 0], [0, count * _BLOCK - timesteps], [0, 0]])
        blocks = tf.reshape(padded, [batch, count, _BLOCK, features])
        within = tf.matmul(self.triangle, blocks)  # (batch, blocks, _BLOCK, features)
        ends = tf.transpose(within[:, :, -1], [1, 0, 2])  # (blocks, batch, features)
        carried = tf.scan(lambda m, end: self._decay**_BLOCK * m + end, ends)
        before = tf.concat([tf.zeros_like(ends[:1]), carried[:-1]], axis=0)
        before = tf.transpose(before, [1, 0, 2])[:, :, None]  # (batch, blocks, 1, features)
        means = within + self.fading * before
        means = tf.reshape(means, [batch, count * _BLOCK, features])[:, :timesteps]
        # A sum of positive numbers: `1 - decay**t` would cancel for the first frames.
        weights = tf.cumsum(self._decay ** tf.cast(tf.range(timesteps), inputs.dtype) / self.frames)
        return inputs - means / weights[:, None]

    def step(
        self, inputs: tf.Tensor, states: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """As `call`, from a state on."""
        m, w, outputs = states["mean"], states["weight"], []
        for t in range(inputs.shape[1]):
            x, m, w = self._advance(inputs[:, t], m, w)
            outputs.append(x)
        return tf.stack(outputs, axis=1), {"mean": m, "weight": w}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int, ...]]:
        """What `step` carries along, a shape each, without the batch."""
        features = input_shape[-1]
        assert features is not None
        return {"mean": (features,), "weight": (1,)}

    def _advance(self, x: tf.Tensor, m: tf.Tensor, w: tf.Tensor) -> tuple:
        rate = 1.0 / self.frames
        m = (1.0 - rate) * m + rate * x  # (batch, features)
        w = (1.0 - rate) * w + rate  # (batch, 1)
        return x - m / w, m, w

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), "frames": self.frames}
