"""Impulse responses of rooms, simulated and recorded."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines import rooms

RATE = 16000


@pytest.mark.parametrize("decay", [0.1, 0.3, 0.6])
def test_simulated_room_decays_as_asked(decay: float) -> None:
    """The echo falls by 60 dB in the decay time (Schroeder's backward integral)."""
    responses = [rooms.simulate(decay, RATE, RATE, np.random.default_rng(i)) for i in range(20)]
    left = np.mean([np.cumsum(h[::-1] ** 2)[::-1] for h in responses], axis=0)
    begin, end = round(0.06 * RATE), round((0.06 + decay / 2) * RATE)
    # The average over twenty rooms scatters by about a dB.
    assert 10 * np.log10(left[begin] / left[end]) == pytest.approx(30, abs=3)
    near = [h for h in responses if h[0] > 0.5]
    assert near and all(np.argmax(np.abs(h)) == 0 for h in near)
    assert np.sum(np.square(responses), axis=1) == pytest.approx(np.ones(20))


def test_recorded_room_begins_with_its_direct_path() -> None:
    """The delay before the first sound is cut off, a flipped polarity mended."""
    recorded = np.zeros(5000)
    recorded[700], recorded[900] = -0.8, 0.2
    response = rooms.align(recorded, 1000)
    assert np.argmax(np.abs(response)) == 0 and response[0] > 0
    assert response[200] / response[0] == pytest.approx(-0.25)
    assert np.sum(response**2) == pytest.approx(1)
