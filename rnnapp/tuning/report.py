"""The report of a search: what was tried, what came of it, in one page with pictures."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnapp.exporting.report import page
from rnnapp.tuning import pictures, records, space
from rnnapp.tuning.importance import Importance, importance
from rnnapp.tuning.plan import Plan, trial_folder
from rnnapp.tuning.pruning import curve
from rnnapp.tuning.records import Record, shown_size

PICTURES = ("trade_offs", "parallel_coordinates", "importance", "learning_curves")


def write(
    folder: Path, plan: Plan, found: list[Record], best: Record | None, test: dict[str, Any]
) -> Path:
    """Writes `report.html` and its pictures into a search's folder.

    Args:
        folder: The search's folder.
        plan: The search.
        found: All its trials.
        best: The best, if there is one.
        test: Its figures on the test split.

    Returns:
        The page.
    """
    mattered = importance(found, plan.space)
    drawn = list(_pictures(folder, plan, found, best, mattered))
    for name in PICTURES:  # of an earlier call
        if (stale := folder / f"{name}.png") not in drawn:
            stale.unlink(missing_ok=True)
    text = "\n".join(_text(folder, plan, found, best, test, mattered))
    (folder / "report.html").write_text(page(text, drawn), encoding="utf-8")
    return folder / "report.html"


def _pictures(
    folder: Path,
    plan: Plan,
    found: list[Record],
    best: Record | None,
    mattered: Importance | None,
) -> Iterator[Path]:
    """Draws what there are trials for."""
    metric, _ = plan.metric
    known = [record for record in found if record.quality is not None]
    measured = [record for record in known if record.bytes and record.us]
    paths = {name: folder / f"{name}.png" for name in PICTURES}
    if measured:
        front = records.on_front(found)
        yield pictures.trade_offs(measured, front, metric, paths["trade_offs"])
    if known:
        yield pictures.parallel(known, plan.space, metric, paths["parallel_coordinates"])
    if mattered:
        yield pictures.importance(mattered, paths["importance"])
    runs = [(each, trial_folder(folder, each.number) / "run" / "history.csv") for each in found]
    curves = [(record, curve(path, metric)) for record, path in runs if path.is_file()]
    if curves:
        yield pictures.learning_curves(curves, best, metric, paths["learning_curves"])


def _text(
    folder: Path,
    plan: Plan,
    found: list[Record],
    best: Record | None,
    test: dict[str, Any],
    mattered: Importance | None,
) -> Iterator[str]:
    states = [record.state for record in found]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states) if state)
    yield f"# Tuning {plan.task}\n"
    yield f"{len(found)} trials ({counts}), by {plan.search} search, seed {plan.seed}.\n"
    yield from _best(folder, plan, found, best, test)
    yield "## What was tuned\n\n| setting | range |\n|---|---|"
    yield from (f"| `{path}` | {text} |" for path, text in space.table(plan.space))
    if plan.settings:
        yield f"\nIn all trials: `{' '.join(plan.settings)}`"
    yield "\n## What mattered\n"
    yield mattered.verdict if mattered else "Too few trials, or too alike, to tell."
    yield "\n## Trials\n"
    yield from _rows(plan, found)


def _best(
    folder: Path, plan: Plan, found: list[Record], best: Record | None, test: dict[str, Any]
) -> Iterator[str]:
    """The best trial, what it does on the test split, how to go on; and the front."""
    if best is None:
        yield records.unmet(found, plan.objective) + "\n"
        return
    metric, first = plan.metric[0], found[0]
    said = f"**Best: trial {best.number}**, {metric} {best.quality:.4g} on validation data"
    if first.quality is not None and plan.search != "hyperband":
        said += f" (trial {first.number}, the settings as they were: {first.quality:.4g})"
    yield f"{said}.\n"
    yield f"```\n{' '.join(f'--set {shlex.quote(each)}' for each in best.settings)}\n```\n"
    figures = [f"{k} {v:.4g}" for k, v in test.items() if isinstance(v, int | float)]
    said = f": {', '.join(figures)}" if figures else f" could not be tried: {test.get('error')}"
    yield f"On the test split, looked at for this trial alone{said}.\n"
    yield f"Go on with `rnnapp export {folder / 'best'}`.\n"
    front = records.on_front(found)
    if plan.objective.kind == "pareto" and front:
        yield "## The front\n"
        yield from _rows(plan, front)
        yield f"\nEach is a run that exports: `{trial_folder(folder, front[0].number) / 'run'}`.\n"


def _rows(plan: Plan, found: Sequence[Record]) -> Iterator[str]:
    """A table of trials."""
    names = [path.rpartition(".")[2] for path in plan.space]
    head = ["trial", "state", plan.metric[0], "size", "µs", "quantized", "epochs", "s", *names]
    yield f"| {' | '.join(head)} |\n|{'---|' * len(head)}"
    for record in found:
        cells = [str(record.number), record.state, *_figures(record)]
        cells += [str(record.values.get(path, "")) for path in plan.space]
        yield f"| {' | '.join(cells)} |"
    yield ""
    for record in found:
        if record.fault:
            yield f"- trial {record.number} {record.fault.replace('`', chr(39))}"


def _figures(record: Record) -> list[str]:
    quality = "" if record.quality is None else f"{record.quality:.4g}"
    step = "" if record.us is None else f"{record.us:.1f}"
    own, whole = (record.quantized.get(name) for name in ("quality", "model_quality"))
    quantized = "" if own is None else f"{own:.4g} of {whole:.4g}"
    seconds = f"{record.seconds.get('total', 0):.0f}"
    return [quality, shown_size(record.bytes), step, quantized, str(record.epochs), seconds]
