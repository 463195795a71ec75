"""Background noise: recorded, or coloured by the power law of its spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines import audio_files
from pipelines.audio_files import BadAudio
from pipelines.audio_spec import AudioSpec
from pipelines.base import BadInputs

_EXPONENTS = (0.0, 0.5, 1.0, 1.5, 2.0)  # white to brown
_COLOURED_SECONDS = 20
_LOWEST_HERTZ = 50.0  # what lies below is no speech, and models do not listen to it


@dataclass(frozen=True)
class NoiseBank:
    """Noises cut into blocks, so that a stretch of noise is a gather of whole rows.

    Args:
        blocks: All noises end to end, int16 (blocks, block_length).
        first: Each noise's first block, int32 (noises,).
        count: Each noise's number of blocks, int32 (noises,).
    """

    blocks: tf.Tensor
    first: tf.Tensor
    count: tf.Tensor

    def cut(self, which: tf.Tensor, begin: tf.Tensor, width: tf.Tensor | int) -> tf.Tensor:
        """Cuts stretches out of noises; a noise that is too short starts over.

        Args:
            which: Which noise, as a number in [0, 1), float32 (batch,).
            begin: Where in it, as a number in [0, 1), float32 (batch,).
            width: Samples in a stretch.

        Returns:
            Noise, float32 (batch, width).
        """
        chosen = tf.cast(which * tf.cast(tf.size(self.first), tf.float32), tf.int32)
        first, count = tf.gather(self.first, chosen), tf.gather(self.count, chosen)
        start = tf.cast(begin * tf.cast(count, tf.float32), tf.int32)
        steps = tf.range(-(-width // self.blocks.shape[1]))
        rows = first[:, None] + (start[:, None] + steps) % count[:, None]  # (batch, blocks)
        noise = tf.reshape(tf.gather(self.blocks, rows), [tf.size(which), -1])[:, :width]
        return tf.cast(noise, tf.float32) / 32768


def bank(
    recorded: list[tuple[str, float]], spec: AudioSpec, seed: int, bad: BadInputs
) -> NoiseBank | None:
    """Gathers the noise that training may hear.

    Args:
        recorded: Files, each with how many seconds from its start may be heard.
        spec: The settings; `noise` names a folder of further files.
        seed: Draws the coloured noise.
        bad: Takes the files that cannot be used.

    Returns:
        Recorded and coloured noises; None where no clip gets any.

    Raises:
        FileNotFoundError: If the folder is absent.
        ValueError: If it holds no recordings.
    """
    if not spec.augmentation.noise_probability:
        return None
    files: list[tuple[str, float | None]] = list(recorded)
    if spec.noise is not None:
        files += [(path, None) for path in recordings(spec.noise, "noise")]
    noises = [
        audio_files.to_int16(
            coloured(exponent, _COLOURED_SECONDS * spec.sample_rate, spec.sample_rate, seed)
        )
        for exponent in _EXPONENTS
    ]
    for path, seconds in files:
        try:
            samples = audio_files.read(path, spec.sample_rate, seconds=seconds)
            noises.append(audio_files.to_int16(samples))
        except BadAudio as error:
            bad.add(path, error.reason)
    return _blocks(noises, spec.sample_rate // 100)


def coloured(exponent: float, samples: int, sample_rate: int, seed: int) -> np.ndarray:
    """Gaussian noise whose power falls with frequency to the power of `exponent`.

    Args:
        exponent: 0 is white, 1 pink, 2 brown.
        samples: How many.
        sample_rate: Samples a second, in hertz.
        seed: Its seed.

    Returns:
        Noise with its peak at 0.9, float32 (samples,).
    """
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=samples))
    hertz = np.fft.rfftfreq(samples, 1 / sample_rate)
    spectrum[hertz < _LOWEST_HERTZ] = 0  # else brown noise would put most of its power there
    noise = np.fft.irfft(spectrum * np.maximum(hertz, _LOWEST_HERTZ) ** (-exponent / 2), samples)
    return (0.9 * noise / np.abs(noise).max()).astype(np.float32)


def recordings(folder: str, setting: str) -> list[str]:
    """The recordings anywhere below a folder, sorted.

    Raises:
        FileNotFoundError: If the folder is absent.
        ValueError: If it holds none.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f"`{setting}` must be a folder of recordings. "
            f"Received: {setting}={folder!r}, which does not exist."
        )
    paths = [
        str(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix.lower() in audio_files.SUFFIXES
    ]
    if not paths:
        raise ValueError(
            f"`{setting}` must be a folder of .wav, .flac or .ogg recordings. "
            f"Received: {setting}={folder!r}, which holds none."
        )
    return paths


def _blocks(noises: list[np.ndarray], block_length: int) -> NoiseBank:
    """Pads each noise to whole blocks by starting it over."""
    padded = [np.pad(noise, (0, -len(noise) % block_length), mode="wrap") for noise in noises]
    count = np.array([len(noise) // block_length for noise in padded], np.int32)
    blocks = np.concatenate(padded).reshape(-1, block_length)
    first = np.cumsum(count, dtype=np.int32) - count
    return NoiseBank(*map(tf.constant, (blocks, first, count)))
