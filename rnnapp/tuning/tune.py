"""The verb `tune`: a search over a task's settings, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnapp.exporting.certificate import MAX_QUALITY_LOSS
from rnnapp.runs import Run, write_json
from rnnapp.specs import require
from rnnapp.tuning import records, table
from rnnapp.tuning.crew import PATIENCE_SECONDS, Crew
from rnnapp.tuning.plan import CHIEF_LOCK, Plan, TuningError, alone, trial_folder
from rnnapp.tuning.records import Record

DEFAULT_TRIALS = 20
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Tuned:
    """A search that has ended.

    Args:
        folder: Its folder; `best` in it is the best run, `report.html` tells of all.
        trials: All of them.
        best: The best.
        front: Those that none beats in quality, size and latency at once.
        test: Figures of the best on the test split.
    """

    folder: Path
    trials: list[Record]
    best: Record
    front: list[Record]
    test: dict[str, Any]

    @property
    def run(self) -> Path:
        """The best run, as `rnnapp export` takes it."""
        return self.folder / "best"


def tune(
    task: str,
    data: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    *,
    settings: Sequence[str] = (),
    ranges: Sequence[str] = (),
    only: Sequence[str] = (),
    trials: int | None = None,
    hours: float | None = None,
    search: str = "bayesian",
    objective: str = "quality",
    max_size: str | int | None = None,
    max_step_us: float | None = None,
    export: bool = True,
    format: str | None = None,
    max_quality_loss: float = MAX_QUALITY_LOSS,
    prune: bool = True,
    workers: int = 1,
    seed: int = 0,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Tuned:
    """Searches for the settings by which a task is learnt best, for a device if need be.

    Called again with the same folder it goes on, with more trials or hours if those are given, and
    with another objective or other bounds if they are.

    Args:
        task: One of `rnnapp.TASKS`.
        data: As in `rnnapp.train`.
        out: The search's folder; `tuned/TASK` by default.
        settings: `key=value` assignments that all trials have; what they name is not tuned.
        ranges: `key=LOW..HIGH[:log]` or `key=VALUE,VALUE`: other ranges than the declared ones, or
            further fields.
        only: Fields; nothing but these is tuned. All that have a range by default.
        trials: How many, those of earlier calls included; 20 if neither this nor `hours` is given.
        hours: After how many hours of this call no trial begins any more.
        search: "bayesian", "random" or "hyperband".
        objective: "quality", on validation data; or "pareto", the front of quality, size, latency.
        max_size: What the exported file may weigh, in bytes or as in "60KB".
        max_step_us: What one step may take on this machine, in microseconds.
        export: Whether to export trials and measure them.
        format: What is measured; see `Plan`.
        max_quality_loss: By what share of its model's quality that file may be worse; else it is
            not measured, and where size or time count, the trial fails.
        prune: Whether to stop hopeless trials early; see `Plan`.
        workers: Processes that try at the same time.
        seed: Of what is drawn.
        patience_seconds: How long a worker may give no sign of life before it is killed.

    Returns:
        The finished search.

    Raises:
        ValueError: If a name, value, range or bound is wrong, or `out` holds another search, or is
            in use.
        TuningError: If trials fail as a rule, or none is within the bounds.
    """
    plan = Plan.of(
        task,
        data,
        settings=settings,
        ranges=ranges,
        only=only,
        objective=objective,
        max_size=max_size,
        max_step_us=max_step_us,
        search=search,
        export=export,
        format=format,
        max_quality_loss=max_quality_loss,
        prune=prune,
        seed=seed,
    )
    require_positive(trials=trials, hours=hours, workers=workers)
    trials = DEFAULT_TRIALS if trials is None and hours is None else trials
    until = None if hours is None else time.time() + 3600 * hours
    folder = folder_of(task, out)
    plan.begin(folder)
    with alone(folder / "lock", "another `rnnapp tune`"):
        with alone(folder / CHIEF_LOCK, "a chief of another machine, perhaps,"):
            plan.write(folder)
            Run(folder, plan.spec).data()  # made once, not by each worker
        begun = time.time()
        crew = Crew(folder, workers, trials, until, patience_seconds=patience_seconds)
        follow(crew, plan, trials)
        return conclude(folder, since=begun)


def require_positive(**budget: float | None) -> None:
    """Makes sure that what is given of a budget is above zero."""
    for name, value in budget.items():
        require(value is None or value > 0, name, "above zero", value)


def folder_of(task: str, out: str | os.PathLike | None) -> Path:
    """A search's folder, by default `tuned/TASK`."""
    return Path(out or Path("tuned") / task)


def follow(crew: Crew, plan: Plan, trials: int | None) -> None:
    """Tends a crew until its search ends, and shows how it gets on."""
    shown = table.following(crew.folder, plan.objective, plan.metric[0], trials)
    with crew, shown as show:
        while True:
            found = records.read_all(crew.folder)
            show(found)
            if not crew.tend(sum(record.finished for record in found)):
                show(records.read_all(crew.folder))
                return
            time.sleep(POLL_SECONDS)


def conclude(folder: Path, since: float = 0.0) -> Tuned:
    """Leaves the best run and the report in a search's folder; the test split is looked at here.

    Args:
        folder: The search's folder.
        since: When the call began, in seconds of the epoch: failures before may be mended.

    Raises:
        TuningError: If there is no best run; the report is there all the same.
    """
    from rnnapp.tuning import report

    plan, found = Plan.open(folder), records.read_all(folder)
    best = records.best(found, plan.objective)
    test = _keep(folder, best) if best else {}
    report.write(folder, plan, found, best, test)
    ended = [record for record in found if record.finished and record.begun >= since]
    if records.failures_rule([record.state == "failed" for record in ended]):
        kept = (
            f"\nThe best of the others, trial {best.number}, is {folder / 'best'}." if best else ""
        )
        raise TuningError(_failures(ended) + kept)
    if best is None:
        raise TuningError(f"{records.unmet(found, plan.objective)} See {folder / 'report.html'}")
    return Tuned(folder, found, best, records.on_front(found), test)


def _failures(ended: list[Record]) -> str:
    """Why a search stopped, by the reasons of its trials."""
    failed = [record for record in ended if record.state == "failed"]
    reasons: dict[str, list[int]] = {}
    for record in failed:
        reasons.setdefault(f"in {record.stage}: {record.error}", []).append(record.number)
    lines = [f"trial {', '.join(map(str, which))} {why}" for why, which in reasons.items()]
    return (
        f"{len(failed)} of {len(ended)} trials failed, so the search stopped:\n"
        + "\n".join(lines)
        + "\nMend it, or keep off it by --tune and --set; trials that fail at export alone can be "
        "had by --no-export or another --format. A search of other settings wants another --out."
    )


def _keep(folder: Path, best: Record) -> dict[str, Any]:
    """Copies the best run to `best` and tries it on the test split, unless that was done.

    Returns:
        The figures of the test split, or the `error` that kept it from being tried.
    """
    from rnnapp.evaluation import evaluate

    kept, note, part = (folder / name for name in ("best", "best.json", "partial-best"))
    if note.exists():
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["trial"] == best.number:
            return known["test"]
    for stale in (part, kept):
        shutil.rmtree(stale, ignore_errors=True)
    shutil.copytree(trial_folder(folder, best.number) / "run", part)
    part.rename(kept)
    try:
        test = evaluate(kept)
    except ValueError as error:  # data without a test split
        test = {"error": str(error)}
    write_json(note, {"trial": best.number, "test": test})
    return test
