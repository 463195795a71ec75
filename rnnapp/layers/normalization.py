"""A mean that a stream can know: the running mean of the frames heard so far."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


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
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps (batch, timesteps, features) to the same shape.

        Padding on the right needs no mask: the past of a valid frame holds valid frames only.
        """
        steps = tf.transpose(inputs, [1, 0, 2])  # (timesteps, batch, features)
        size = tf.shape(steps)[0]

        def body(t: tf.Tensor, m: tf.Tensor, w: tf.Tensor, out: tf.TensorArray) -> tuple:
            x, m, w = self._advance(steps[t], m, w)
            return t + 1, m, w, out.write(t, x)

        start = (
            tf.constant(0),
            tf.zeros_like(inputs[:, 0]),
            tf.zeros_like(inputs[:, 0, :1]),
            tf.TensorArray(inputs.dtype, size, element_shape=steps.shape[1:]),
        )
        *_, out = tf.while_loop(lambda t, *_: t < size, body, start, maximum_iterations=size)
        return tf.transpose(out.stack(), [1, 0, 2])

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
