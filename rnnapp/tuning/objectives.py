"""What a search looks for: quality, quality under bounds, or a front of trade-offs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnnapp import overrides
from rnnapp.specs import require

Kind = Literal["quality", "pareto"]
Metrics = Mapping[str, float]
"""Of a trial: `cost`, and `bytes` and `us` where it was measured; `failed` alone, if it did."""

AXES = ("cost", "bytes", "us")
_UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "kib": 1024, "mib": 1024**2}


@dataclass(frozen=True)
class Objective:
    """What is best.

    Args:
        kind: "quality", by the metric that the task names; or "pareto", the trials that none beats
            in quality, size and latency at once.
        max_bytes: Of "quality": what the measured file may weigh at most; None for any.
        max_us: Of "quality": what a step, or a call of a model without steps, may take at most,
            in microseconds; None for any.
    """

    kind: Kind = "quality"
    max_bytes: int | None = None
    max_us: float | None = None

    def __post_init__(self) -> None:
        """Checks the fields against each other."""
        overrides.settle_types(self)
        for name, flag in (("max_bytes", "max_size"), ("max_us", "max_step_us")):
            bound = getattr(self, name)
            require(bound is None or bound > 0, flag, "above zero", bound)
        free = self.kind == "quality" or not self.bounds
        require(free, "objective", "quality, where there are bounds", self.kind)

    @property
    def bounds(self) -> dict[str, float]:
        """What measures may be at most, by name."""
        bounds = {"bytes": self.max_bytes, "us": self.max_us}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    @property
    def measured(self) -> str:
        """What of it is measured on a device's file; "" if nothing is."""
        return "pareto" if self.kind == "pareto" else " and ".join(self.bounds)

    def excess(self, metrics: Metrics) -> dict[str, float]:
        """By how much bounds are broken, as the logarithm of the ratio; infinite if unknown."""
        over = {
            name: math.log(metrics[name] / bound) if name in metrics else math.inf
            for name, bound in self.bounds.items()
        }
        return {name: value for name, value in over.items() if value > 0}

    def scores(self, trials: Sequence[Metrics], seed: Sequence[int] = (0,)) -> list[float]:
        """What an oracle is told to make small, for each trial.

        Bounds are softened, so that an oracle learns where they are: twice the bound costs as much
        as 0.69 of the quality. A front is sought by another mixture of its axes each time (ParEGO,
        Knowles 2006). What failed counts as much as the worst.

        Args:
            trials: Their metrics.
            seed: Draws the mixture.
        """
        known = [metrics for metrics in trials if "failed" not in metrics]
        if not known:
            return [0.0] * len(trials)
        found = iter(self._mixed(known, seed) if self.kind == "pareto" else map(self._soft, known))
        scores = [None if "failed" in metrics else next(found) for metrics in trials]
        worst = max(score for score in scores if score is not None)
        return [worst if score is None else score for score in scores]

    def _soft(self, metrics: Metrics) -> float:
        over = (value for value in self.excess(metrics).values() if math.isfinite(value))
        return metrics["cost"] + sum(over)

    def _mixed(self, trials: Sequence[Metrics], seed: Sequence[int]) -> list[float]:
        """The augmented Chebyshev distance to the best of each axis, which are weighted anew."""
        weights = np.random.default_rng(list(seed)).dirichlet(np.ones(len(AXES)))
        points = np.array([point(metrics) for metrics in trials])
        points = np.where(np.isfinite(points), points, np.nan)  # of pruned trials
        # Sizes and times count by their orders of magnitude.
        low = np.nanmin(points, axis=0, initial=np.inf, where=~np.isnan(points))
        high = np.nanmax(points, axis=0, initial=-np.inf, where=~np.isnan(points))
        places = (points - low) / np.where(high > low, high - low, 1.0)
        weighted = weights * np.where(np.isnan(places), 1.0, places)
        return list(map(float, weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)))


def point(metrics: Metrics) -> tuple[float, float, float]:
    """A trial's place among trade-offs: cost, and the logarithms of size and time."""
    size, time = (math.log(metrics[name]) if name in metrics else math.inf for name in AXES[1:])
    return metrics["cost"], size, time


def front(trials: Sequence[Metrics]) -> list[int]:
    """Which trials none beats: none is as good in everything, and better in something.

    Args:
        trials: Their metrics.

    Returns:
        Their places in `trials`; what failed or was not measured is not among them.
    """
    whole = {
        place: point(metrics)
        for place, metrics in enumerate(trials)
        if "failed" not in metrics and set(AXES) <= metrics.keys()
    }

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(
            theirs != mine and all(t <= m for t, m in zip(theirs, mine, strict=True))
            for theirs in whole.values()
        )

    return [place for place, mine in whole.items() if not beaten(mine)]


def parse_size(text: str) -> int:
    """Bytes, of text such as `60KB`, `1.5MB` or `64KiB`.

    Raises:
        ValueError: If it is no size.
    """
    found = re.fullmatch(r"([0-9.]+)\s*([a-zA-Z]*)", text.strip())
    try:
        assert found
        return round(float(found[1]) * _UNITS[found[2].lower()])
    except (AssertionError, KeyError, ValueError):
        raise ValueError(f"`max_size` must be such as 60KB or 1.5MB. Received: {text}") from None
