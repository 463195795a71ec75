"""The audio front end as a layer: one graph in training, serving and streaming."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Magnitudes under this are silence: far under a quiet voice, and far enough over the rounding of a
# float32 FFT that every runtime agrees on the logarithm.
FLOOR = 1e-3


def mel_matrix(
    num_mel_bins: int, num_bins: int, sample_rate: int, lower_hz: float, upper_hz: float
) -> np.ndarray:
    """Triangular filters, evenly spaced on the mel scale.

    Args:
        num_mel_bins: Filters.
        num_bins: Bins of the spectrum, from 0 Hz to half the sample rate.
        sample_rate: In hertz.
        lower_hz: Lower edge of the lowest filter.
        upper_hz: Upper edge of the highest filter.

    Returns:
        Weights, float32, (num_mel_bins, num_bins).
    """
    weights = tf.signal.linear_to_mel_weight_matrix(
        num_mel_bins, num_bins, sample_rate, lower_hz, upper_hz
    )
    return np.transpose(weights.numpy())


def diagonal_blocks(matrix: np.ndarray, count: int) -> list[tuple[int, int, np.ndarray]]:
    """A banded matrix as blocks of rows, each with only the columns that it needs.

    A filter bank is nearly diagonal. Whole, it is mostly zeros, which on a device weigh something
    beside a small recurrent layer.

    Args:
        matrix: Floats (rows, columns).
        count: Blocks.

    Returns:
        (first column, last column + 1, block) each, from the first rows to the last.
    """
    blocks = []
    for rows in np.array_split(matrix, count):
        used = np.flatnonzero(rows.any(axis=0))
        start, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        blocks.append((start, stop, rows[:, start:stop]))
    return blocks


def dct_matrix(num_mfcc: int, num_mel_bins: int) -> np.ndarray:
    """The orthonormal DCT-II as a constant: TFLite has no builtin for `tf.signal.dct`.

    Args:
        num_mfcc: Coefficients, from the mean upwards.
        num_mel_bins: Bands.

    Returns:
        Weights, float32, (num_mfcc, num_mel_bins).
    """
    bins = np.arange(num_mel_bins) + 0.5
    basis = np.cos(np.pi / num_mel_bins * np.outer(np.arange(num_mfcc), bins))
    basis *= np.sqrt(2.0 / num_mel_bins)
    basis[0] /= np.sqrt(2.0)
    return basis.astype("float32")


@keras.saving.register_keras_serializable("rnnapp")
class LogMel(keras.layers.Layer):
    """Log-mel (or MFCC) frames of a waveform.

    Framing is causal: the waveform is preceded by `frame_length - frame_step` zeros, so that frame
    `t` ends with sample `(t + 1) * frame_step`. A stream that starts from a state of zeros
    therefore gives the very frames of the whole clip, from the first step on.

    Args:
        sample_rate: Of the waveform, in hertz.
        frame_length: Samples in a frame.
        frame_step: Samples from a frame to the next.
        num_mel_bins: Bands.
        lower_hz: Lower edge of the lowest band.
        upper_hz: Upper edge of the highest band.
        num_mfcc: Cepstral coefficients; 0 for log-mel.
        min_timesteps: Frames that even an empty waveform gives, of zeros: a convolution with
            strides would leave nothing of fewer.
    """

    def __init__(
        self,
        sample_rate: int,
        frame_length: int = 400,
        frame_step: int = 160,
        num_mel_bins: int = 40,
        lower_hz: float = 60.0,
        upper_hz: float = 7600.0,
        num_mfcc: int = 0,
        min_timesteps: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if upper_hz > sample_rate / 2:
            raise ValueError(
                f"`upper_hz` must be at most half of sample_rate={sample_rate}. "
                f"Received: upper_hz={upper_hz}"
            )
        self.settings = {
            "sample_rate": sample_rate,
            "frame_length": frame_length,
            "frame_step": frame_step,
            "num_mel_bins": num_mel_bins,
            "lower_hz": lower_hz,
            "upper_hz": upper_hz,
            "num_mfcc": num_mfcc,
            "min_timesteps": min_timesteps,
        }
        self.frame_length, self.frame_step = frame_length, frame_step
        self.min_samples = min_timesteps * frame_step
        self.num_features = num_mfcc or num_mel_bins
        self.fft_length = 1 << (frame_length - 1).bit_length()
        num_bins = self.fft_length // 2 + 1
        mel = mel_matrix(num_mel_bins, num_bins, sample_rate, lower_hz, upper_hz)
        self.mel_blocks = diagonal_blocks(mel, min(8, num_mel_bins))
        self.dct = dct_matrix(num_mfcc, num_mel_bins) if num_mfcc else None
        self.built = True

    def call(self, waveform: tf.Tensor) -> tf.Tensor:
        """Maps float32 (batch, samples) to (batch, samples // frame_step, features)."""
        samples = waveform.shape[1]
        if samples is None:
            missing = tf.maximum(0, self.min_samples - tf.shape(waveform)[1])
        else:
            missing = max(0, self.min_samples - samples)
        return self._frames(tf.pad(waveform, [[0, 0], [self.tail, missing]]))

    def step(
        self, samples: tf.Tensor, states: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The frames that new samples complete, given the tail of those before."""
        joined = tf.concat([states["samples"], samples], axis=1)
        tail = joined[:, joined.shape[1] - self.tail :]
        return self._frames(joined), {"samples": tail}

    def state_shapes(self, input_shape: tuple[int | None, ...]) -> dict[str, tuple[int, ...]]:
        """What `step` carries along, a shape each, without the batch."""
        return {"samples": (self.tail,)}

    @property
    def tail(self) -> int:
        """Samples that a frame shares with those before it."""
        return self.frame_length - self.frame_step

    def _frames(self, waveform: tf.Tensor) -> tf.Tensor:
        spectrum = tf.abs(
            tf.signal.stft(waveform, self.frame_length, self.frame_step, self.fft_length)
        )  # (batch, timesteps, bins)
        # The constants stand on the left: on the right, dynamic-range quantization would round
        # them to int8 along with the spectrum, in which soft bands lie far under the loud ones.
        bands = [
            tf.matmul(block[None], spectrum[..., start:stop], transpose_b=True)
            for start, stop, block in self.mel_blocks
        ]
        frames = tf.math.log(tf.concat(bands, axis=1) + FLOOR)  # (batch, mel, timesteps)
        if self.dct is not None:
            frames = tf.matmul(self.dct[None], frames)  # (batch, mfcc, timesteps)
        return tf.transpose(frames, [0, 2, 1])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(batch, samples) becomes (batch, timesteps, features)."""
        batch, samples = input_shape
        timesteps = None if samples is None else max(samples, self.min_samples) // self.frame_step
        return batch, timesteps, self.num_features

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), **self.settings}
