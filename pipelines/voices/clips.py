"""From what an engine says to a clip: trimmed, whole, at one rate, somewhere in its second."""

from __future__ import annotations

import numpy as np
import soxr

from pipelines.voices.base import Engine

_SILENT_DB = -45.0  # below the loudest frame; a weak "f" is far below its vowel
_FRAME_SECONDS = 0.01
_MARGIN_SECONDS = 0.02
_PEAKS_DB = (-18.0, -1.0)
_TRIES = 4


class NoSpeech(ValueError):
    """An engine said nothing, or nothing that fits."""


def speak(
    engine: Engine,
    voice: str,
    text: str,
    rate: float,
    pitch: float,
    *,
    sample_rate: int,
    clip_seconds: float,
    seed: int,
) -> np.ndarray:
    """One clip with a whole text in it, at a place and a level that the seed draws.

    A text that does not fit is said again, faster.

    Args:
        engine: Who speaks.
        voice: One of its voices.
        text: What to say.
        rate: Words a minute.
        pitch: 50 is the voice's own.
        sample_rate: Of the result, in hertz.
        clip_seconds: Length of the result, in seconds.
        seed: Draws place and level.

    Returns:
        The clip, float32 (clip_seconds * sample_rate,), zeros around the speech.

    Raises:
        NoSpeech: If the text yields no sound, or is longer than the clip however fast it is said.
    """
    length = round(clip_seconds * sample_rate)
    faster = rate
    for _ in range(_TRIES):
        samples, source_rate = engine.synthesize(text, voice, faster, pitch)
        speech = trim(samples, source_rate)
        if len(speech) == 0:
            raise NoSpeech(f"{text!r} must be sayable; {engine.name}.{voice} says nothing.")
        speech = soxr.resample(speech, source_rate, sample_rate)
        if len(speech) <= length:
            return _place(speech, length, np.random.default_rng(seed))
        faster *= 1.1 * len(speech) / length
    raise NoSpeech(
        f"`clip_seconds` must be long enough for {text!r}: {engine.name}.{voice} needs "
        f"{len(speech) / sample_rate:.2f} s at its fastest. Received: clip_seconds={clip_seconds}"
    )


def trim(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Cuts the silence off both ends and fades the new ends.

    Args:
        samples: float (samples,).
        sample_rate: In hertz.

    Returns:
        float32 (fewer samples,); empty where there is no sound.
    """
    frame = round(_FRAME_SECONDS * sample_rate)
    frames = np.pad(samples, (0, -len(samples) % frame)).reshape(-1, frame)
    energy = np.square(frames, dtype=np.float64).sum(axis=1)
    if not energy.any():
        return np.zeros(0, np.float32)
    loud = np.flatnonzero(energy > energy.max() * 10 ** (_SILENT_DB / 10))
    margin = round(_MARGIN_SECONDS * sample_rate)
    start = max(loud[0] * frame - margin, 0)
    speech = samples[start : (loud[-1] + 1) * frame + margin].astype(np.float32)
    fade = np.linspace(0, 1, min(margin, len(speech)), dtype=np.float32)
    speech[: len(fade)] *= fade
    speech[len(speech) - len(fade) :] *= fade[::-1]
    return speech


def _place(speech: np.ndarray, length: int, draws: np.random.Generator) -> np.ndarray:
    """Puts speech somewhere in a clip of zeros, at some level."""
    clip = np.zeros(length, np.float32)
    start = draws.integers(length - len(speech) + 1)
    peak = 10 ** (draws.uniform(*_PEAKS_DB) / 20)
    clip[start : start + len(speech)] = speech * (peak / np.abs(speech).max())
    return clip
