"""Trials of milliseconds, whose cost is a known function of what was drawn.

Run as a module it is a chief or a worker of a search of such trials, each of which takes a second.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnapp.tuning.__main__ import main
from rnnapp.tuning.objectives import Metrics
from rnnapp.tuning.plan import Plan, beat_of
from rnnapp.tuning.records import Record, read
from rnnapp.tuning.space import settings_of

SECONDS = 1.0


class Fake:
    """Models are best at 100 units, and weigh and take as much as they have."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        worker: str = "worker-1",
        seconds: float = SECONDS,
        failing: frozenset[int] = frozenset(),
    ) -> None:
        self.plan, self.folder, self.worker = plan, folder, worker
        self.seconds, self.failing = seconds, failing
        self.ran: list[int] = []

    def __call__(self, number: int, values: Mapping[str, Any]) -> Metrics:
        """Runs a trial, unless it is finished."""
        known = read(self.folder, number)
        if known and known.finished:
            return known.metrics
        self.ran.append(number)
        settings = tuple(settings_of(self.plan.space, values))
        record = Record(number, "running", settings, self.worker, begun=time.time())
        record.write(self.folder)
        beat_of(self.folder, self.worker).parent.mkdir(exist_ok=True)
        beat_of(self.folder, self.worker).touch()
        time.sleep(self.seconds)
        record = finished(record, failed=number in self.failing)
        record.write(self.folder)
        with (self.folder / "ended.txt").open("a") as file:
            file.write(f"{number}\n")
        return record.metrics


def finished(record: Record, failed: bool = False) -> Record:
    """What becomes of a trial."""
    units = record.values["model.units"]
    cost = abs(units - 100) / 200
    found = {"quality": 1 - cost, "cost": cost, "bytes": 400 * units, "us": units / 10}
    outcome = {"stage": "training", "error": "ValueError: NaN"} if failed else found
    state = "failed" if failed else "completed"
    fields = {name: getattr(record, name) for name in ("number", "settings", "worker")}
    return Record(state=state, **fields, **outcome)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(runner=Fake)
