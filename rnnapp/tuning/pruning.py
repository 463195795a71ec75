"""Early ends of hopeless trials, and the sign of life that a training gives."""

from __future__ import annotations

import csv
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

LEAST_OTHERS = 4  # a median of fewer is chance
LEAST_SHARE = 0.25  # of the epochs: before that, curves cross


class Watch(keras.callbacks.Callback):
    """Beats in each step, and stops a training that is worse than the median of others.

    The median rule of Golovin et al. 2017 (Google Vizier), on the best that each has reached by an
    epoch.

    Args:
        beat: Called in each step.
        objective: The metric and "max" or "min", as a task names them.
        epochs: Of a whole training.
        curves: The metric's values so far, an epoch each, of this training and of others; None
            never stops.
    """

    def __init__(
        self,
        beat: Callable[[], None],
        objective: tuple[str, str],
        epochs: int,
        curves: Callable[[], tuple[list[float], list[list[float]]]] | None,
    ) -> None:
        super().__init__()
        self.beat, self.curves, self.epochs = beat, curves, epochs
        self.sign = -1 if objective[1] == "max" else 1
        self.pruned = False

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Beats."""
        self.beat()

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Beats."""
        self.beat()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Judges the training so far."""
        done = epoch + 1
        if self.curves is None or not LEAST_SHARE * self.epochs <= done < self.epochs:
            return
        own, others = self.curves()
        costs = [[self.sign * value for value in curve] for curve in (own, *others)]
        if hopeless(costs[0], costs[1:]):
            self.pruned = self.model.stop_training = True


def hopeless(costs: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether the best cost so far is over the median of what the others had reached by then.

    Args:
        costs: Of the trial, an epoch each.
        others: Likewise; those that have not come so far do not count.
    """
    epochs = len(costs)
    reached = [_best(curve[:epochs]) for curve in others if len(curve) >= epochs]
    return len(reached) >= LEAST_OTHERS and _best(costs) > statistics.median(reached)


def _best(costs: Sequence[float]) -> float:
    return min((cost for cost in costs if not math.isnan(cost)), default=math.inf)


def curve(history: Path, monitor: str) -> list[float]:
    """The values of a run's metric, an epoch each; empty where there is no history yet."""
    if not history.is_file():
        return []
    with history.open(newline="", encoding="utf-8") as file:
        return [float(row[monitor]) for row in csv.DictReader(file)]


def running_best(values: Sequence[float], direction: str) -> list[float]:
    """The best value by each epoch."""
    return list(itertools.accumulate(values, max if direction == "max" else min))
