"""What is known of trials: `trial.json` in the folder of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rnnapp.runs import write_json
from rnnapp.tuning.objectives import Metrics, Objective, front
from rnnapp.tuning.plan import trial_folder

RULE, FIRST = 6, 3  # when failures are the rule: more than half of so many; or all of the first


@dataclass(frozen=True)
class Record:
    """A trial.

    Args:
        number: From 0.
        state: "running", "completed", "pruned" (stopped early, never exported) or "failed".
        settings: The assignments that it differs by from others.
        worker: Who runs it.
        attempts: How often it was begun.
        begun: When, in seconds of the epoch.
        quality: By the task's objective, of the best epoch on validation data.
        cost: What is made small: an error rate, or the logarithm of a perplexity.
        epochs: That were trained.
        parameters: Of the model.
        bytes: Size of the measured file.
        us: Median time of a step, or of a call where there are none, in microseconds.
        quantized: `measure`, `quality` and `model_quality` by the certificate, of that file.
        seconds: Time by stage, `total` among them.
        stage: Where it failed, or where the file failed that was to be measured.
        error: Why.
    """

    number: int
    state: Literal["running", "completed", "pruned", "failed"]
    settings: tuple[str, ...]
    worker: str = ""
    attempts: int = 1
    begun: float = 0.0
    quality: float | None = None
    cost: float | None = None
    epochs: int = 0
    parameters: int = 0
    bytes: int | None = None
    us: float | None = None
    quantized: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    stage: str = ""
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether it has come to an end."""
        return self.state != "running"

    @property
    def fault(self) -> str:
        """What went wrong with it, on a line; "" if nothing did."""
        if not self.error:
            return ""
        what = "failed" if self.state == "failed" else "was not measured: it failed"
        return f"{what} in {self.stage}: {self.error.splitlines()[0]}"

    @property
    def metrics(self) -> Metrics:
        """What an oracle is told."""
        if self.state == "failed" or self.cost is None:
            return {"failed": 1.0}
        measured = {"bytes": self.bytes, "us": self.us}
        return {"cost": self.cost, **{n: float(v) for n, v in measured.items() if v is not None}}

    @property
    def values(self) -> dict[str, Any]:
        """What was tried, by path."""
        pairs = (each.partition("=") for each in self.settings)
        return {path: json.loads(text) for path, _, text in pairs}

    def write(self, folder: Path) -> None:
        """Writes it into a search's folder, whole or not at all."""
        trial_folder(folder, self.number).mkdir(parents=True, exist_ok=True)
        write_json(trial_folder(folder, self.number) / "trial.json", asdict(self))


def read(folder: Path, number: int) -> Record | None:
    """A trial of a search's folder; None if it was never begun."""
    path = trial_folder(folder, number) / "trial.json"
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return replace(Record(**values), settings=tuple(values["settings"]))


def read_all(folder: Path) -> list[Record]:
    """The trials of a search's folder, in order."""

    def found() -> Iterator[Record]:
        for path in sorted((folder / "trials").glob("*/trial.json")):
            if record := read(folder, int(path.parent.name)):
                yield record

    return list(found())


def failures_rule(failed: list[bool]) -> bool:
    """Whether failures are the rule: all of the first three, or more than half of six or more.

    Args:
        failed: Of each finished trial, in the order in which they ended.
    """
    return (len(failed) >= FIRST and all(failed[:FIRST]) and all(failed)) or (
        len(failed) >= RULE and 2 * sum(failed) > len(failed)
    )


def best(trials: list[Record], objective: Objective) -> Record | None:
    """The trial of the least cost among those that break no bound, the smaller file of two alike.

    Of a front, it is the end of best quality. None if there is no such trial.
    """
    whole = [each for each in trials if each.state in ("completed", "pruned")]
    if objective.measured:
        whole = [each for each in whole if each.bytes is not None and each.us is not None]
    within = [each for each in whole if not objective.excess(each.metrics)]
    return min(within, key=_rank, default=None)


def _rank(record: Record) -> tuple[float, float, int]:
    assert record.cost is not None
    return record.cost, record.bytes or float("inf"), record.number


def on_front(trials: list[Record]) -> list[Record]:
    """The trials that none beats in quality, size and latency at once, the best quality first."""
    found = [trials[place] for place in front([each.metrics for each in trials])]
    return sorted(found, key=_rank)


def unmet(trials: list[Record], objective: Objective) -> str:
    """Which bounds nothing met, and what came nearest; for when there is no best trial."""
    known = [each for each in trials if each.finished and {"bytes", "us"} <= each.metrics.keys()]
    if not known:
        return "No trial was trained and measured."
    over = {each.number: objective.excess(each.metrics) for each in known}
    nearest = min(known, key=lambda each: (sum(over[each.number].values()), _rank(each)))
    alone = [name for name in objective.bounds if all(name in found for found in over.values())]
    which = " nor ".join(_BOUNDS[name].format(objective.bounds[name]) for name in alone)
    said = f"No trial met {which}" if alone else "Each bound was met, but no trial met them all"
    return (
        f"{said}. The nearest is trial {nearest.number}: {shown_size(nearest.bytes)}, "
        f"{nearest.us:.1f} µs, quality {nearest.quality:.4g}, by {' '.join(nearest.settings)}. "
        "Give way on the bound, or search where models are smaller (--tune units=8..32:log)."
    )


_BOUNDS = {"bytes": "--max-size {:g} bytes", "us": "--max-step-us {:g}"}


def shown_size(size: int | None) -> str:
    """A size for people."""
    return "" if size is None else f"{size / 1000:.1f} kB"
