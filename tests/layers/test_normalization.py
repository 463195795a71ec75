"""The running mean is the weighted mean of the past."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.layers import RunningMean

from .conftest import sequences


@given(frames=st.floats(1, 200), timesteps=st.integers(1, 90))
@settings(max_examples=15, deadline=None)
def test_it_takes_off_the_mean_of_what_was_heard(frames: float, timesteps: int) -> None:
    """In closed form: a frame `k` steps ago weighs `(1 - 1 / frames) ** k`."""
    x = sequences(2, timesteps)
    ago = np.arange(timesteps)[:, None] - np.arange(timesteps)
    weights = np.where(ago >= 0, (1 - 1 / frames) ** np.maximum(ago, 0), 0)
    means = weights @ x / weights.sum(axis=1, keepdims=True)
    # Float32 sums of up to ninety numbers of size one.
    np.testing.assert_allclose(RunningMean(frames)(x), x - means, rtol=0, atol=1e-5)


@given(offset=st.floats(-10, 10), timesteps=st.integers(1, 20))
@settings(max_examples=10, deadline=None)
def test_a_constant_is_taken_off_from_the_first_frame(offset: float, timesteps: int) -> None:
    """A microphone's colour is a constant on a logarithmic scale: the model does not hear it."""
    x, layer = sequences(1, timesteps), RunningMean(50)
    # Sums of numbers of size ten.
    np.testing.assert_allclose(layer(x + np.float32(offset)), layer(x), rtol=0, atol=2e-5)


def test_a_time_constant_under_one_frame_is_refused() -> None:
    """The mean would swing beyond what was heard."""
    with pytest.raises(ValueError, match=r"`frames` must be at least 1\. Received: frames=0\.5"):
        RunningMean(0.5)
