"""Averaging begins when validation gets no better, and is the mean of all weights since."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from rnnapp.averaging import TriggeredAverage


def averaging(patience: int) -> tuple[keras.Variable, TriggeredAverage]:
    """A weight, and its average."""
    weight = keras.Variable(np.zeros(3, np.float32))
    return weight, TriggeredAverage([weight], patience)


@pytest.mark.parametrize(
    ("patience", "losses", "triggers"),
    [
        (1, [3, 2, 2.5], None),  # over the least, which is not older than an epoch
        (1, [3, 2, 1.9, 2.5], 3),
        (2, [3, 2, 2.5, 2.4], None),
        (2, [3, 2, 2.5, 2.4, 2.3], 4),
        (2, [5, 4, 3, 2, 1], None),
        (3, [1, 2, 2, 2, 2], 4),
    ],
)
def test_a_loss_over_the_least_before_the_last_ones_triggers(
    patience: int, losses: list[float], triggers: int | None
) -> None:
    """By the paper's rule: over the least of all epochs but the last `patience` ones."""
    _, average = averaging(patience)
    for epoch, loss in enumerate(losses):
        average.note(loss)
        expected = epoch >= patience and loss > min(losses[: max(0, epoch - patience)] + [np.inf])
        assert bool(average.running.numpy()) == (triggers is not None and epoch >= triggers)
        assert not expected or average.running.numpy()


def test_the_average_is_the_mean_since_the_trigger() -> None:
    """Before, it is the weights themselves; after, each step counts as much as any other."""
    weight, average = averaging(1)
    draw, seen = np.random.default_rng(0), []
    for step in range(12):
        weight.assign(draw.normal(size=3))
        if step == 5:
            average.running.assign(1.0)
        average.update()
        seen.append(weight.numpy())
        ((of, mean),) = average.mapping()
        assert of is weight
        expected = np.mean(seen[5:], axis=0) if step >= 5 else seen[-1]
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-6)  # float32
    with keras.StatelessScope(average.mapping()):
        np.testing.assert_allclose(weight.value, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(weight.value, seen[-1])
