"""The trials of a search as people follow them: a live table, or a line for each that ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rnnapp import progress
from rnnapp.tuning import records
from rnnapp.tuning.objectives import Objective
from rnnapp.tuning.plan import trial_folder
from rnnapp.tuning.records import Record, shown_size

ROWS = 12
Show = Callable[[list[Record]], None]


@contextlib.contextmanager
def following(
    folder: Path, objective: Objective, metric: str, trials: int | None
) -> Iterator[Show]:
    """Something to call with all records, again and again.

    Args:
        folder: The search's folder.
        objective: Which trial is marked as the best.
        metric: What quality is called.
        trials: How many there will be, if that is known.
    """
    console = progress.console()
    if not console.is_terminal:
        yield _lines(console, metric)
        return
    from rich.live import Live

    begun = time.time()
    with Live(console=console, auto_refresh=False, transient=False) as live:

        def show(found: list[Record]) -> None:
            live.update(_table(folder, found, objective, metric, trials, begun), refresh=True)

        yield show


def _lines(console: Any, metric: str) -> Show:
    said: set[int] = set()

    def show(found: list[Record]) -> None:
        for record in found:
            if record.finished and record.number not in said:
                said.add(record.number)
                console.print(line(record, metric), markup=False)

    return show


def line(record: Record, metric: str) -> str:
    """A trial on a line."""
    if record.state == "failed":
        said = record.fault
    else:
        figures = [f"{metric} {record.quality:.4g}", *_measures(record)]
        said = "; ".join([f"{record.state}: {', '.join(figures)}", *filter(None, [record.fault])])
    return f"Trial {record.number} {said} ({' '.join(map(_short, record.settings))})"


def _measures(record: Record) -> list[str]:
    if record.bytes is None or record.us is None:
        return []
    return [shown_size(record.bytes), f"{record.us:.1f} µs"]


def _table(
    folder: Path,
    found: list[Record],
    objective: Objective,
    metric: str,
    trials: int | None,
    begun: float,
) -> Any:
    from rich.table import Table

    best = records.best(found, objective)
    table = Table(title=status(found, trials, time.time() - begun), box=None, title_justify="left")
    for column in ("trial", metric, "size", "step", "time"):
        table.add_column(column, justify="right")
    table.add_column("settings", no_wrap=True, overflow="ellipsis")  # the table stays in sight
    for record in _worth_seeing(found, best):
        marked = f"* {record.number}" if record == best else str(record.number)
        size, step = _measures(record) or ("", "")
        settings = " ".join(map(_short, record.settings))
        quality = _quality(folder, record)
        took = f"{record.seconds.get('total', time.time() - record.begun):.0f} s"
        table.add_row(marked, quality, size, step, took, settings, style=_STYLES[record.state])
    return table


_STYLES = {"running": "cyan", "completed": "", "pruned": "dim", "failed": "red"}


def _worth_seeing(found: list[Record], best: Record | None) -> list[Record]:
    """The best, and the last."""
    shown = found[-ROWS:]
    return shown if best is None or best in shown else [best, *shown]


def _quality(folder: Path, record: Record) -> str:
    if record.state == "failed":
        return "failed"
    if record.quality is not None:
        return f"{record.quality:.4g}" + (" pruned" if record.state == "pruned" else "")
    history = trial_folder(folder, record.number) / "run" / "history.csv"
    epochs = len(history.read_text(encoding="utf-8").splitlines()) - 1 if history.exists() else 0
    return f"epoch {epochs + 1}"


def status(found: list[Record], trials: int | None, seconds: float) -> str:
    """How far a search is, on a line."""
    states = [record.state for record in found]
    done = len(found) - states.count("running")
    parts = [f"{done}{f' of {trials}' if trials else ''} trials done"]
    others = [state for state in ("running", "pruned", "failed") if state in states]
    parts += [f"{states.count(state)} {state}" for state in others]
    return f"{', '.join(parts)}; {seconds / 60:.0f} min"


def _short(setting: str) -> str:
    """An assignment by the last part of its path."""
    path, _, value = setting.partition("=")
    name = path.rpartition(".")[2]
    return f"{name}={value.strip(chr(34))}"
