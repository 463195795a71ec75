"""Convolutions over time that never look ahead."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("rnnapp")
class CausalConv(keras.layers.Layer):
    """A causal convolution over (time, frequency), batch normalisation and ReLU.

    Output `t` ends with input frame `(t + 1) * stride_time - 1`, so a stream makes one output of
    every `stride_time` frames, with the last `kernel_time - stride_time` frames as its state.

    Args:
        filters: Output channels.
        kernel_time: Frames that the kernel spans.
        kernel_frequency: Bands that the kernel spans; 0 spans them all.
        stride_time: Frames from an output to the next.
        stride_frequency: Bands from an output to the next.
    """

    def __init__(
        self,
        filters: int,
        kernel_time: int,
        kernel_frequency: int,
        stride_time: int = 1,
        stride_frequency: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.settings = {
            "filters": filters,
            "kernel_time": kernel_time,
            "kernel_frequency": kernel_frequency,
            "stride_time": stride_time,
            "stride_frequency": stride_frequency,
        }
        self.stride_time = stride_time
        self.past = kernel_time - stride_time
        if self.past < 0:
            raise ValueError(
                f"`kernel_time` must be at least stride_time={stride_time}, or frames would be "
                f"left out. Received: kernel_time={kernel_time}"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel for inputs (batch, timesteps, bands, channels)."""
        s, bands = self.settings, input_shape[2]
        assert bands is not None
        # "same" over frequency is done by hand, because over time the convolution is "valid".
        span = s["kernel_frequency"] or bands
        stride = s["stride_frequency"] if s["kernel_frequency"] else 1
        outputs = -(-bands // stride) if s["kernel_frequency"] else 1
        total = max(0, (outputs - 1) * stride + span - bands)
        self.band_padding = [total // 2, total - total // 2]
        self.convolution = keras.layers.Conv2D(
            s["filters"], (s["kernel_time"], span), (s["stride_time"], stride), use_bias=False
        )
        self.normalization = keras.layers.BatchNormalization()
        self.convolution.build(input_shape)
        self.output_bands = outputs
        self.normalization.build((None, None, outputs, s["filters"]))
        self.built = True

    def call(
        self, inputs: tf.Tensor, mask: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Maps (batch, timesteps, bands, channels) to (batch, timesteps', bands', filters).

        Args:
            inputs: Float frames.
            mask: Bool (batch, timesteps') of the *outputs*: padding stays out of the statistics.
            training: Normalise by the batch.
        """
        return self._convolve(
            tf.pad(inputs, [[0, 0], [self.past, 0], [0, 0], [0, 0]]), mask, training
        )

    def step(
        self, inputs: tf.Tensor, states: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """As `call`, from a state on."""
        if not self.past:
            return self._convolve(inputs), {}
        joined = tf.concat([states["frames"], inputs], axis=1)
        return self._convolve(joined), {"frames": joined[:, joined.shape[1] - self.past :]}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int, ...]]:
        """What `step` carries along, a shape each, without the batch."""
        bands, channels = input_shape[2], input_shape[3]
        assert bands is not None and channels is not None
        return {"frames": (self.past, bands, channels)} if self.past else {}

    def _convolve(
        self, frames: tf.Tensor, mask: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        x = self.convolution(tf.pad(frames, [[0, 0], [0, 0], self.band_padding, [0, 0]]))
        if mask is not None:
            mask = tf.broadcast_to(mask[..., None], tf.shape(x)[:3])  # (batch, timesteps', bands')
        return tf.nn.relu(self.normalization(x, training=training, mask=mask))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: the mask comes as an argument, and a mask of frames does not fit an image."""

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], mask_shape: object = None
    ) -> tuple[int | None, ...]:
        """(batch, timesteps, bands, channels) becomes (batch, timesteps', bands', filters)."""
        s, (batch, timesteps, bands, _) = self.settings, inputs_shape
        assert bands is not None
        bands = -(-bands // s["stride_frequency"]) if s["kernel_frequency"] else 1
        return batch, timesteps and timesteps // s["stride_time"], bands, s["filters"]

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), **self.settings}
