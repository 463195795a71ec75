"""From probabilities a step to events: smoothing, threshold and refractory time.

Posterior handling after Chen, Parada and Heigold, "Small-footprint keyword spotting using deep
neural networks", ICASSP 2014.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BACKGROUND_LABELS = ("_silence_", "_unknown_")
FIXED_POINT = 1 << 30  # a power of two: scaling float32 by it is exact


@dataclass(frozen=True)
class Event:
    """A label that was heard.

    Args:
        label: which.
        time_s: seconds from the start of the stream to the end of the step that decided.
        probability: smoothed probability of the label at that step.
    """

    label: str
    time_s: float
    probability: float

    def __str__(self) -> str:
        """Align the seconds, so that events print as a table."""
        return f"{self.time_s:6.2f} s  {self.label}  {self.probability:.2f}"


class Detector:
    """Turns a stream of probabilities into events.

    An event fires at the step where the smoothed probability of a foreground label rises to its
    threshold, unless another event fired within the refractory time. It must fall below the
    threshold before it can fire again, since a recurrent model may hold its answer long after the
    word. The refractory time counts for all labels: the answer often crosses a second label on
    its way up or down, and one utterance shall give one event. Commands that may follow each
    other faster than that need a shorter `refractory_ms`.

    Args:
        labels: name of each class, in the order of the probabilities.
        threshold: one for all foreground labels, or one for each by name; above 0, at most 1.
        smoothing_ms: length of the moving average, in milliseconds.
        refractory_ms: least time between two events, in milliseconds.
        step_ms: time from one row of probabilities to the next, in milliseconds.
        background_labels: labels that never fire; those that are no label are left out.

    Attributes:
        thresholds: threshold of each class, infinite for the background; (classes,).
        window: steps in the moving average.
        refractory: least number of steps between two events.

    Raises:
        ValueError: a value is out of its range, or a threshold's label is unknown or missing.
    """

    def __init__(
        self,
        labels: Sequence[str],
        threshold: float | Mapping[str, float] = 0.7,
        smoothing_ms: float = 200.0,
        refractory_ms: float = 750.0,
        step_ms: float = 10.0,
        background_labels: Sequence[str] = BACKGROUND_LABELS,
    ) -> None:
        _check_milliseconds(smoothing_ms, refractory_ms, step_ms)
        self.labels, self.step_ms = list(labels), step_ms
        self.thresholds = thresholds_for(labels, threshold, background_labels)
        self.window = max(1, round(smoothing_ms / step_ms))
        self.refractory = max(1, math.ceil(refractory_ms / step_ms - 1e-9))  # 0.3 / 0.1 > 3
        self.reset()

    def reset(self) -> None:
        """Forget the stream: time starts at 0, as though silence had been before."""
        self._past = np.zeros((self.window, len(self.labels)), np.float32)
        self._above = np.zeros(len(self.labels), bool)
        self._steps = 0
        self._ready = 0  # first step that may fire

    def update(self, probabilities: np.ndarray) -> Event | None:
        """Take the next step of the stream.

        Args:
            probabilities: (classes,).

        Returns:
            The event that fires at this step, if one does.

        Raises:
            ValueError: they are not probabilities, or not one for each label.
        """
        return next(iter(self.feed(np.asarray(probabilities)[None])), None)

    def feed(self, probabilities: np.ndarray) -> list[Event]:
        """Take the next steps of the stream, any number of them.

        Args:
            probabilities: (steps, classes).

        Returns:
            The events that fire in these steps, in order.

        Raises:
            ValueError: they are not probabilities, or not one for each label.
        """
        probabilities = np.asarray(probabilities, np.float32)
        _check_probabilities(probabilities, len(self.labels))
        if not len(probabilities):
            return []
        smoothed = smooth(probabilities, self.window, self._past)
        ready = self._ready - self._steps
        fired = fire(smoothed, self.thresholds, self.refractory, self._above, ready)
        events = [self._event(smoothed, step, label) for step, label in fired.tolist()]
        if events:
            self._ready = self._steps + int(fired[-1, 0]) + self.refractory
        self._past = np.concatenate([self._past, probabilities])[-self.window :]
        self._above = smoothed[-1] >= self.thresholds
        self._steps += len(probabilities)
        return events

    def detect(self, probabilities: np.ndarray) -> list[Event]:
        """Find the events of a whole recording; the stream at hand is not touched.

        Args:
            probabilities: (steps, classes).

        Returns:
            The events, in order: those that `update` gives row by row after `reset`.

        Raises:
            ValueError: they are not probabilities, or not one for each label.
        """
        fresh = copy.copy(self)
        fresh.reset()
        return fresh.feed(probabilities)

    def _event(self, smoothed: np.ndarray, step: int, label: int) -> Event:
        time_s = (self._steps + step + 1) * self.step_ms / 1000
        return Event(self.labels[label], time_s, float(smoothed[step, label]))


def smooth(probabilities: np.ndarray, window: int, past: np.ndarray | None = None) -> np.ndarray:
    """Moving average over the last `window` steps.

    The sums are of integers, exact in any order: a stream cut into pieces gives the same bits as
    the whole, and never drifts.

    Args:
        probabilities: (steps, classes).
        window: steps to average over.
        past: the `window` rows before; zeros by default, so that a stream starts from silence.

    Returns:
        float64 (steps, classes).
    """
    probabilities = np.asarray(probabilities, np.float32)
    if past is None:
        past = np.zeros((window, probabilities.shape[1]), np.float32)
    rows = np.concatenate([past, probabilities])  # (window + steps, classes)
    totals = np.cumsum(np.rint(rows * np.float32(FIXED_POINT)).astype(np.int64), axis=0)
    sums = totals[window:] - totals[:-window]  # (steps, classes)
    return np.asarray(sums / (window * FIXED_POINT))


def fire(
    smoothed: np.ndarray,
    thresholds: np.ndarray,
    refractory: int,
    above: np.ndarray | None = None,
    ready: int = 0,
) -> np.ndarray:
    """Find the steps at which a label fires; only crossings are looked at, so sweeps are fast.

    Args:
        smoothed: (steps, classes), from `smooth`.
        thresholds: (classes,), from `thresholds_for`.
        refractory: least number of steps between two events; at least 1.
        above: which classes stood at or above their threshold in the step before; none by default.
        ready: first step that may fire.

    Returns:
        int64 (events, 2): step and class. Where several classes cross at once, the likeliest fires.
    """
    high = smoothed >= thresholds  # (steps, classes)
    rising = high.copy()
    rising[1:] &= ~high[:-1]
    if above is not None:
        rising[:1] &= ~above
    steps = np.flatnonzero(rising) // high.shape[1]  # repeated where classes cross together
    after = np.searchsorted(steps, steps + refractory).tolist()  # next crossing that may fire
    position, chosen = int(np.searchsorted(steps, ready)), []
    while position < len(steps):
        chosen.append(position)
        position = after[position]
    fired = steps[chosen]
    labels = np.where(rising[fired], smoothed[fired], -1).argmax(axis=1)
    return np.stack([fired, labels], axis=1)


def thresholds_for(
    labels: Sequence[str],
    threshold: float | Mapping[str, float],
    background_labels: Sequence[str] = BACKGROUND_LABELS,
) -> np.ndarray:
    """Spread thresholds over the classes.

    Args:
        labels: name of each class.
        threshold: one for all foreground labels, or one for each by name; above 0, at most 1.
        background_labels: labels that never fire.

    Returns:
        float64 (classes,); infinite for the background.

    Raises:
        ValueError: a threshold is out of its range, or its label is unknown or missing.
    """
    foreground = [label for label in labels if label not in background_labels]
    if not isinstance(threshold, Mapping):
        threshold = dict.fromkeys(foreground, threshold)
    if set(threshold) != set(foreground):
        raise ValueError(
            f"`threshold` must be one number or name each of {foreground}. "
            f"Received: {sorted(threshold)}"
        )
    if not all(0 < value <= 1 for value in threshold.values()):
        raise ValueError(f"`threshold` must lie above 0 and at most at 1. Received: {threshold}")
    return np.array([threshold.get(label, np.inf) for label in labels], np.float64)


def _check_milliseconds(smoothing_ms: float, refractory_ms: float, step_ms: float) -> None:
    if not (smoothing_ms >= 0 and refractory_ms >= 0 and step_ms > 0):
        raise ValueError(
            "`smoothing_ms` and `refractory_ms` must not be negative and `step_ms` must be "
            f"positive. Received: {smoothing_ms}, {refractory_ms}, {step_ms}"
        )


def _check_probabilities(probabilities: np.ndarray, classes: int) -> None:
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        raise ValueError(
            f"Probabilities must be one for each of the {classes} labels. "
            f"Received: shape {probabilities.shape}"
        )
    # A softmax may pass 1 by rounding; NaN fails both comparisons.
    if len(probabilities) and not (probabilities.min() >= -0.001 and probabilities.max() <= 1.001):
        raise ValueError(
            "Probabilities must lie between 0 and 1. "
            f"Received: {probabilities.min()} to {probabilities.max()}"
        )
