"""SpecAugment blanks what it says, in training alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.layers import SpecAugment

BATCH, TIMESTEPS, FEATURES = 6, 20, 8


def frames() -> np.ndarray:
    """Distinct numbers, float32 (BATCH, TIMESTEPS, FEATURES)."""
    size = BATCH * TIMESTEPS * FEATURES
    drawn = np.random.default_rng(0).permutation(size).astype(np.float32)
    return drawn.reshape(BATCH, TIMESTEPS, FEATURES)


@given(masks=st.integers(0, 3), longest=st.integers(0, 30), training=st.booleans())
@settings(max_examples=15, deadline=None)
def test_it_masks_at_most_what_it_says(masks: int, longest: int, training: bool) -> None:
    """A clip of which too much is gone cannot be learnt; outside training nothing is gone."""
    x = frames()
    outputs = SpecAugment(masks, longest, masks, longest, seed=1)(x, training=training).numpy()
    blank = outputs != x  # (batch, timesteps, features)
    assert training or not blank.any()
    if not training:
        return
    bands, steps = blank.all(axis=1), blank.all(axis=2)  # masked whole
    np.testing.assert_array_equal(blank, bands[:, None] | steps[:, :, None])
    assert (steps.sum(axis=1) <= masks * longest).all() or bands.all(axis=1).any()
    assert (bands.sum(axis=1) <= masks * longest).all() or steps.all(axis=1).any()
    means = np.broadcast_to(x.mean(axis=(1, 2), keepdims=True), x.shape)
    np.testing.assert_allclose(outputs[blank], means[blank], rtol=1e-5)  # sums of 160 floats


@pytest.mark.parametrize("axis", ["time", "frequency"])
def test_masks_of_all_widths_land_everywhere(axis: str) -> None:
    """Frames at the edges, and the widest mask, are drawn as the others are."""
    arguments = (1, 4, 0, 0) if axis == "time" else (0, 0, 1, 4)
    layer, x = SpecAugment(*arguments, seed=0), np.tile(frames(), (60, 1, 1))
    blank = (layer(x, training=True).numpy() != x).all(axis=2 if axis == "time" else 1)
    assert blank.any(axis=0).all()
    assert set(blank.sum(axis=1).tolist()) == {0, 1, 2, 3, 4}


def test_each_call_draws_anew_and_a_seed_draws_again() -> None:
    """Epochs differ; runs of one seed do not."""

    def drawn(seed: int) -> list[np.ndarray]:
        layer = SpecAugment(2, 5, 1, 3, seed=seed)
        return [layer(frames(), training=True).numpy() for _ in range(2)]

    (first, second), again = drawn(3), drawn(3)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal([first, second], again)
    keras.utils.set_random_seed(5)
    unseeded = SpecAugment(2, 5, 1, 3)(frames(), training=True).numpy()
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(SpecAugment(2, 5, 1, 3)(frames(), training=True), unseeded)
