"""Noise has the colour asked for, and lasts as long as it must."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipelines import noise

from .test_effects import RATE, float32, int32


def test_coloured_noise_has_its_slope() -> None:
    """Pink noise falls by 3 dB an octave, brown by 6."""
    for exponent in (0.0, 1.0, 2.0):
        spectrum = np.abs(np.fft.rfft(noise.coloured(exponent, 2**18, 16000, 0))) ** 2
        hertz = np.fft.rfftfreq(2**18, 1 / RATE)
        low = 10 * np.log10(spectrum[(hertz > 200) & (hertz < 220)].mean())
        high = 10 * np.log10(spectrum[(hertz > 3200) & (hertz < 3520)].mean())
        assert low - high == pytest.approx(exponent * 10 * np.log10(16), abs=1)


def test_noise_starts_over_where_it_is_short() -> None:
    """A stretch longer than its noise repeats it without a gap, whatever its start."""
    ramp = tf.constant(np.arange(30, dtype=np.int16).reshape(3, 10))
    bank = noise.NoiseBank(ramp, int32(0), int32(3))
    drawn = bank.cut(float32(0, 0.3, 0.99), float32(0, 0.4, 0.99), 75).numpy() * 32768
    assert drawn.shape == (3, 75) and drawn[:, 0].tolist() == [0, 10, 20]
    assert (np.diff(drawn) % 30 == 1).all()
