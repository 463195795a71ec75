"""The prelude: other audio in front of a training clip."""

from __future__ import annotations

import numpy as np
import pytest

from rnnapp.layers import Prelude

FRAMES = np.random.default_rng(0).normal(size=(3, 20, 4)).astype("float32")
LENGTHS = np.array([200, 155, 40], np.int32)


def test_nothing_happens_outside_training() -> None:
    """An exported or evaluated model hears what it is given."""
    frames, lengths = Prelude(1.0, stride=10)(FRAMES, LENGTHS, training=False)
    np.testing.assert_array_equal(frames, FRAMES)
    np.testing.assert_array_equal(lengths, LENGTHS)


def test_each_clip_follows_another_one() -> None:
    """The clip stands whole at the end, its length grown by the very prelude before it."""
    layer = Prelude(1.0, stride=10, seed=1)
    drawn = set()
    for _ in range(20):
        frames, lengths = (np.asarray(x) for x in layer(FRAMES, LENGTHS, training=True))
        before = frames.shape[1] - FRAMES.shape[1]
        np.testing.assert_array_equal(frames[:, before:], FRAMES)
        np.testing.assert_array_equal(frames[:, :before], np.roll(FRAMES, 1, axis=0)[:, :before])
        np.testing.assert_array_equal(lengths, LENGTHS + 10 * before)
        drawn.add(before)
    assert len(drawn) > 5 and max(drawn) < FRAMES.shape[1]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_the_batches(share: float) -> None:
    """As many batches get a prelude as were asked for; 400 draws leave 0.1 for chance."""
    layer = Prelude(share, seed=2)
    longer = [layer(FRAMES, LENGTHS, training=True)[0].shape[1] > 20 for _ in range(400)]
    # A twentieth of the preludes drawn has no timestep at all.
    assert np.mean(longer) == pytest.approx(0.95 * share, abs=0.1)
