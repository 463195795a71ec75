"""Change the sample rate of a stream: by soxr where it is installed, else by a windowed sinc."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

ZERO_CROSSINGS = 32  # of the sinc, on each side
KAISER_BETA = 8.0  # side lobes near -80 dB
ROLL_OFF = 0.92  # cutoff as a part of the lower Nyquist frequency: the stop band begins there


class Resample(Protocol):
    """Takes the next samples of a stream and returns what is ready at the other rate."""

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """float32 (samples,) -> float32 (resampled,); `last` flushes the end."""


def resampler(source_rate: int, target_rate: int) -> Resample:
    """Make a stream resampler; its output begins with the input, free of delay.

    Args:
        source_rate: rate of the samples that come, in hertz.
        target_rate: rate of the samples wanted, in hertz.

    Returns:
        A callable that takes blocks in order, the last one with `last=True`.

    Raises:
        ValueError: a rate is not a positive integer.
    """
    for rate in (source_rate, target_rate):
        if rate != int(rate) or rate < 1:
            raise ValueError(f"A sample rate must be a positive integer. Received: {rate}")
    if source_rate == target_rate:
        return _same
    try:
        import soxr
    except ImportError:
        return SincResampler(source_rate, target_rate)
    stream: Any = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32")
    return lambda samples, last=False: stream.resample_chunk(samples, last)


def _same(samples: np.ndarray, last: bool = False) -> np.ndarray:
    return samples


class SincResampler:
    """Polyphase resampler with a Kaiser-windowed sinc.

    Method: Smith and Gossett, "A flexible sampling-rate conversion method", ICASSP 1984.

    Args:
        source_rate: rate of the samples that come, in hertz.
        target_rate: rate of the samples wanted, in hertz.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        divisor = math.gcd(source_rate, target_rate)
        self._phases, self._stride = target_rate // divisor, source_rate // divisor
        self._taps = _taps(self._phases, min(1.0, target_rate / source_rate))  # (phases, width)
        self._half = self._taps.shape[1] // 2
        self._buffer = np.zeros(self._half - 1, np.float32)
        self._position = 0  # of the next output's window in the buffer, in 1/phases of a sample

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Take the next samples of the stream.

        Args:
            samples: float32 (samples,).
            last: whether the stream ends here.

        Returns:
            float32 (resampled,); over the whole stream, ceil(samples * target / source) of them.
        """
        tail = np.zeros(self._half if last else 0, np.float32)
        self._buffer = np.concatenate([self._buffer, samples, tail])
        ready = len(self._buffer) - 2 * self._half + 1  # windows that the buffer holds
        positions = np.arange(self._position, max(ready, 0) * self._phases, self._stride)
        starts, phases = np.divmod(positions, self._phases)
        if not len(positions):
            return np.zeros(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, 2 * self._half)[starts]
        self._position += len(positions) * self._stride
        drop = min(self._position // self._phases, len(self._buffer))
        self._buffer = self._buffer[drop:]
        self._position -= drop * self._phases
        return np.einsum("ij,ij->i", windows, self._taps[phases])


def _taps(phases: int, ratio: float) -> np.ndarray:
    """Filters for each fraction of a source sample, float32 (phases, width), each of sum 1."""
    cutoff = ROLL_OFF * ratio
    half = math.ceil(ZERO_CROSSINGS / cutoff)
    fractions = np.arange(phases)[:, None] / phases  # (phases, 1)
    times = np.arange(1 - half, half + 1) - fractions  # (phases, width)
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (times / half) ** 2)))
    taps = np.sinc(cutoff * times) * window
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
