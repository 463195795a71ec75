"""Both resamplers keep tones in frequency, level and time, and keep out what does not fit."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnapp.device.resampling import SincResampler, resampler

RATES = [(44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (22_050, 16_000), (16_000, 11_025)]


def sine(rate: int, hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A sine of amplitude 1, float32 (samples,)."""
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.fixture(params=["soxr", "sinc"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test with soxr, and without."""
    if request.param == "sinc":
        monkeypatch.setitem(sys.modules, "soxr", None)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("part", [0.02, 0.4, 0.8])
def test_a_tone_stays_itself(source: int, target: int, part: float) -> None:
    """Frequency, level and time at once: the result is the sine sampled at the other rate."""
    hertz = part * min(source, target) / 2
    result = resampler(source, target)(sine(source, hertz), last=True)
    expected = sine(target, hertz)
    assert abs(len(result) - len(expected)) <= 1
    middle = slice(target // 10, -target // 10)  # a sine that starts or stops is no pure tone
    np.testing.assert_allclose(result[: len(expected)][middle], expected[middle], atol=2e-3)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(("source", "target"), [(s, t) for s, t in RATES if s > t])
def test_what_does_not_fit_is_kept_out(source: int, target: int) -> None:
    """A tone above the new Nyquist frequency must not fold back into the band of speech."""
    result = resampler(source, target)(sine(source, 1.1 * target / 2), last=True)
    middle = result[target // 10 : -target // 10]
    assert np.sqrt(np.mean(middle**2)) < 1e-3  # -60 dB, below the noise of a quiet room


@given(
    rates=st.sampled_from([*RATES, (7, 5), (3, 8)]),
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=8),
)
def test_any_chunks_equal_the_whole(rates: tuple[int, int], sizes: list[int]) -> None:
    """The seams between a file's blocks must not be heard, and no sample may be lost there."""
    source, target = rates
    samples = np.random.default_rng(0).normal(size=sum(sizes)).astype(np.float32)
    stream = SincResampler(source, target)
    chunks = np.split(samples, np.cumsum(sizes)[:-1])
    pieces = [stream(chunk, last=i == len(chunks) - 1) for i, chunk in enumerate(chunks)]
    whole = SincResampler(source, target)(samples, last=True)
    assert len(whole) == math.ceil(len(samples) * target / source)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("rate", [0, -1, 44_100.5])
def test_impossible_rates_are_refused(rate: float) -> None:
    """A header of zeros must not end in a division."""
    with pytest.raises(ValueError, match="positive integer"):
        resampler(rate, 16_000)  # type: ignore[arg-type]
