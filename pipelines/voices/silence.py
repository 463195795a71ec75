"""What a microphone hears when nobody speaks: rooms, hum, clicks, breath, tones, near-silence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_LEVELS_DB = (-75.0, -15.0)
Draws = np.random.Generator


def silence(length: int, sample_rate: int, seed: int) -> np.ndarray:
    """A clip without speech: one or two kinds of noise over a faint hiss, at some level.

    Args:
        length: Samples.
        sample_rate: In hertz.
        seed: Draws everything.

    Returns:
        float32 (length,), its root mean square between -75 and -15 dB of full scale.
    """
    draws = np.random.default_rng(seed)
    time = np.arange(length) / sample_rate
    chosen = draws.choice(len(KINDS), size=draws.integers(1, 3), replace=False)
    clip = 1e-3 * draws.standard_normal(length)
    for kind in chosen:
        sound = KINDS[kind](time, draws)
        clip += sound / (np.sqrt(np.mean(sound**2)) + 1e-9) * draws.uniform(0.2, 1)
    level = 10 ** (draws.uniform(*_LEVELS_DB) / 20)
    clip *= level / np.sqrt(np.mean(clip**2))
    return np.clip(clip, -1, 1).astype(np.float32)


def room(time: np.ndarray, draws: Draws) -> np.ndarray:
    """Noise whose power falls with frequency, from white to brown, slowly swelling."""
    swell = 1 + draws.uniform(0, 0.6) * np.sin(2 * np.pi * (draws.uniform(0.2, 3) * time + 0.1))
    return swell * _shaped(len(time), draws, lambda f: f ** -draws.uniform(0, 2))


def hum(time: np.ndarray, draws: Draws) -> np.ndarray:
    """Mains or a motor: harmonics of a low tone."""
    base = draws.choice([50.0, 60.0, draws.uniform(30, 240)])
    return _harmonics(time, base, draws.uniform(0.5, 2), draws)


def clicks(time: np.ndarray, draws: Draws) -> np.ndarray:
    """Keys, knocks and switches: short decaying bursts."""
    sound = np.zeros_like(time)
    for onset in draws.uniform(0, time[-1], draws.integers(1, 9)):
        since = np.maximum(time - onset, 0)
        ring = np.cos(2 * np.pi * draws.uniform(200, 6000) * since)
        burst = (0.5 * ring + 0.5 * draws.standard_normal(len(time))) * (time >= onset)
        sound += draws.uniform(0.2, 1) * burst * np.exp(-since / draws.uniform(0.001, 0.03))
    return sound


def breath(time: np.ndarray, draws: Draws) -> np.ndarray:
    """Breath and rustle: a band of noise that rises and falls."""
    centre, width = draws.uniform(400, 5000), draws.uniform(0.3, 1.2)
    band = _shaped(
        len(time),
        draws,
        lambda f: np.exp(-((np.log(f * time.size / time[-1] / centre) / width) ** 2)),
    )
    middle, length = draws.uniform(0, time[-1]), draws.uniform(0.08, 0.5)
    return band * np.exp(-(((time - middle) / length) ** 2))


def tones(time: np.ndarray, draws: Draws) -> np.ndarray:
    """Music-like: a few notes of a scale, each with overtones and a decay."""
    sound = np.zeros_like(time)
    root = draws.uniform(80, 400)
    for onset in draws.uniform(-0.3, time[-1], draws.integers(1, 7)):
        pitch = root * 2 ** (draws.choice([0, 2, 4, 5, 7, 9, 11, 12, 16, 19]) / 12)
        decay = np.exp(-np.maximum(time - onset, 0) / draws.uniform(0.05, 1.5))
        note = _harmonics(time, pitch, draws.uniform(1, 3), draws)
        sound += draws.uniform(0.3, 1) * note * decay * (time >= onset)
    return sound


def still(time: np.ndarray, draws: Draws) -> np.ndarray:
    """Nothing but the faint noise of an amplifier."""
    return draws.standard_normal(len(time))


KINDS: tuple[Callable[[np.ndarray, Draws], np.ndarray], ...] = (
    room,
    room,
    hum,
    clicks,
    breath,
    tones,
    still,
)


def _shaped(length: int, draws: Draws, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """White noise filtered by a gain over frequency in cycles a sample."""
    frequency = np.maximum(np.fft.rfftfreq(length), 1 / length)
    return np.fft.irfft(np.fft.rfft(draws.standard_normal(length)) * gain(frequency), length)


def _harmonics(time: np.ndarray, base: float, slope: float, draws: Draws) -> np.ndarray:
    """A tone and its overtones, the n-th n**-slope as strong, in random phases."""
    top = min(20, int(0.45 / (time[1] - time[0]) / base))
    orders = np.arange(1, max(top, 1) + 1)
    phases = draws.uniform(0, 2 * np.pi, len(orders))
    waves = np.sin(2 * np.pi * base * orders[:, None] * time + phases[:, None])
    return (orders[:, None] ** -slope * waves).sum(axis=0)
