"""How much each hyperparameter mattered, as far as some trials can tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnapp.tuning.records import Record
from rnnapp.tuning.space import Choice, Space, Tunable

LEAST_TRIALS = 8


@dataclass(frozen=True)
class Importance:
    """What a random forest makes of trials.

    Args:
        trials: How many it has seen.
        explained: Share of the variance of trials that a tree has not seen (out of bag R²); what is
            near zero or below explains nothing.
        drops: By path, the mean and the deviation of what is lost of R² if a field's values are
            shuffled among the trials; the greatest first.
    """

    trials: int
    explained: float
    drops: dict[str, tuple[float, float]]

    @property
    def verdict(self) -> str:
        """What may be read from it."""
        if self.explained <= 0.1:
            return (
                f"After {self.trials} trials no pattern stands out: a forest explains "
                f"{max(self.explained, 0):.0%} of trials that it has not seen. The bars are noise."
            )
        return (
            f"A forest explains {self.explained:.0%} of trials that it has not seen, out of "
            f"{self.trials}. Bars whose whiskers reach zero say nothing."
        )


def importance(found: list[Record], space: Space) -> Importance | None:
    """What mattered for quality; None of too few trials.

    Permutation importance of a random forest (Breiman 2001).

    Args:
        found: Trials; those that failed do not count.
        space: What was tuned.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    known = [record for record in found if record.cost is not None and record.state != "failed"]
    costs = np.array([record.cost for record in known], float)
    if len(known) < LEAST_TRIALS or np.ptp(costs) == 0:
        return None
    table = columns(known, space)
    forest = RandomForestRegressor(200, oob_score=True, min_samples_leaf=2, random_state=0)
    forest.fit(table, costs)
    shuffled = permutation_importance(forest, table, costs, n_repeats=20, random_state=0)
    drops = {
        path: (float(mean), float(deviation))
        for path, mean, deviation in zip(
            space, shuffled.importances_mean, shuffled.importances_std, strict=True
        )
    }
    ranked = dict(sorted(drops.items(), key=lambda each: -each[1][0]))
    return Importance(len(known), float(forest.oob_score_), ranked)


def columns(found: list[Record], space: Space) -> np.ndarray:
    """Where each value lies in its range, float (trials, fields), from 0 to 1."""
    rows = [[place(space[path], record.values[path]) for path in space] for record in found]
    return np.array(rows, float).reshape(len(found), len(space))


def place(tunable: Tunable, value: float) -> float:
    """Where a value lies in a range or among choices, from 0 to 1."""
    if isinstance(tunable, Choice):
        return tunable.values.index(value) / max(len(tunable.values) - 1, 1)
    low, high = tunable.low, tunable.high
    if tunable.log:
        low, high, value = np.log([low, high, value])
    return float((value - low) / (high - low))
