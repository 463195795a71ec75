"""Blocks of samples from the default microphone, through sounddevice."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnapp.device.resampling import resampler

BLOCK_SECONDS = 0.05


def record(sample_rate: int, seconds: float | None = None) -> Iterator[np.ndarray]:
    """Record mono from the default microphone, at another rate where it lacks the one wanted.

    Args:
        sample_rate: rate of the blocks, in hertz.
        seconds: when to stop; never by default.

    Yields:
        float32 (samples,) between -1 and 1.

    Raises:
        ImportError: sounddevice or PortAudio is not installed.
        OSError: there is no microphone, or it cannot be opened.
    """
    sounddevice = _sounddevice()
    try:
        rate = _supported_rate(sounddevice, sample_rate)
        resample, frames = resampler(rate, sample_rate), round(rate * BLOCK_SECONDS)
        with sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32") as stream:
            left = np.inf if seconds is None else round(seconds * rate)
            while left > 0:
                block, overflowed = stream.read(int(min(frames, left)))  # (frames, 1)
                left -= len(block)
                if overflowed:
                    warnings.warn("Samples were lost: this device is too slow", stacklevel=2)
                yield resample(block[:, 0], last=left <= 0)
    except sounddevice.PortAudioError as error:
        raise OSError(f"A microphone must be connected and allowed. Received: {error}") from error


def _supported_rate(sounddevice: Any, sample_rate: int) -> int:
    """The rate wanted, or the microphone's own where it lacks that."""
    try:
        sounddevice.check_input_settings(channels=1, dtype="float32", samplerate=sample_rate)
    except sounddevice.PortAudioError:
        return int(sounddevice.query_devices(kind="input")["default_samplerate"])
    return sample_rate


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise ImportError("The microphone needs sounddevice: `pip install sounddevice`") from None
    except OSError:  # the wheels for Linux come without PortAudio
        raise ImportError(
            "The microphone needs PortAudio: `apt install libportaudio2` on Debian"
        ) from None
    return sounddevice
