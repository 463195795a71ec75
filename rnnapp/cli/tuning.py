"""The command that searches for good settings."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnapp import progress
from rnnapp.cli.common import AsJson, Data, Settings, app, show, words_of

if TYPE_CHECKING:
    from rnnapp.tuning.plan import Plan
    from rnnapp.tuning.tune import Tuned


@app.command()
def tune(
    task: Annotated[str, typer.Argument(help="`rnnapp list` shows the tasks.")],
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="The search's folder; `tuned/TASK` by default.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A named bundle of settings to begin from.")
    ] = None,
    set_: Settings = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--tune",
            metavar="KEY=RANGE",
            help="Another range than the declared one, or a further field: `units=16..256:log` "
            "(evenly among orders of magnitude), `dropout=0.0..0.3`, `cell=gru,lstm`; may be "
            "repeated. What `--set` names is fixed.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="KEYS", help="Tune nothing but these, as in `units,learning_rate`."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="How many in all; 20 if there are no `--hours` either.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="After these, begin no more trials.")] = None,
    search: Annotated[
        str, typer.Option(help="bayesian, random, or hyperband (many short trainings first).")
    ] = "bayesian",
    objective: Annotated[
        str,
        typer.Option(help="quality (on validation data); pareto: quality, size and latency."),
    ] = "quality",
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the exported file, as in 60KB.")
    ] = None,
    max_step_us: Annotated[
        float | None, typer.Option(help="Of a step on this machine, in microseconds.")
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="The export that is measured: step_int8 for a model that streams sounds, else "
            "tflite_dynamic, by default.",
        ),
    ] = None,
    max_quality_loss: Annotated[
        float,
        typer.Option(
            help="By what share of its model's quality that file may be worse; else it is not "
            "measured, and where size or time count, the trial fails."
        ),
    ] = 0.01,
    export: Annotated[
        bool, typer.Option("--export/--no-export", help="Export and measure each trial.")
    ] = True,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune",
            help="Stop trials early that look hopeless; not where size or time count, too.",
        ),
    ] = True,
    workers: Annotated[
        int, typer.Option(help="Processes that try at the same time, and share the cores.")
    ] = 1,
    patience: Annotated[
        float,
        typer.Option(
            help="Seconds without a step of training, or an end of an export, after which a worker "
            "counts as hanging: it is killed, and takes up its trial again."
        ),
    ] = 1200.0,
    seed: Annotated[int, typer.Option(help="Another seed tries other settings.")] = 0,
    hosts: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Run nothing here: print what to run on each of these machines, as in `ada,bob`; "
            "the chief runs on the first.",
        ),
    ] = None,
    kubernetes: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Run nothing here: print a manifest of Jobs for `--workers` of this image.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Searches for the settings by which a task is learnt best.

    Each trial is a run folder; all of them are measured on validation data, exported, and timed as
    on a device. The best run is in `OUT/best`, and `OUT/report.html` shows the search. The same
    command goes on with a search that was stopped; a higher `--trials` goes on with one that ended.

    Small enough for a microcontroller:
    `rnnapp tune speech_commands --max-size 60KB --max-step-us 80 --tune units=8..64:log`

    What smaller and faster models cost: `rnnapp tune speech_commands --objective pareto`
    """
    import rnnapp
    from rnnapp.specs import require
    from rnnapp.tuning.plan import Plan

    settings = [*([f"preset={preset}"] if preset else []), *(set_ or [])]
    asked: dict[str, Any] = {
        "settings": settings,
        "ranges": ranges or [],
        "only": words_of(only or ""),
        "search": search,
        "objective": objective,
        "max_size": max_size,
        "max_step_us": max_step_us,
        "export": export,
        "format": format_,
        "max_quality_loss": max_quality_loss,
        "prune": prune,
        "seed": seed,
    }
    if hosts or kubernetes:
        require(hours is None, "hours", "left out where nothing is started here", hours)
        print(_elsewhere(Plan.of(task, data, **asked), out, trials, hosts, kubernetes, workers))
        return
    budget: dict[str, Any] = {"trials": trials, "hours": hours, "workers": workers}
    done = rnnapp.tune(task, data, out, patience_seconds=patience, **budget, **asked)
    result = {
        "folder": str(done.folder),
        "best": asdict(done.best),
        "front": [asdict(record) for record in done.front],
        "trials": [asdict(record) for record in done.trials],
        "test": done.test,
    }
    show(result, as_json, _summary(done))


def _elsewhere(
    plan: Plan,
    out: Path | None,
    trials: int | None,
    hosts: str | None,
    image: str | None,
    workers: int,
) -> str:
    """What to run on other machines, for a search whose folder is made here."""
    from rnnapp.specs import require
    from rnnapp.tuning import hosts as machines
    from rnnapp.tuning.tune import DEFAULT_TRIALS, folder_of, require_positive

    require_positive(trials=trials, workers=workers)
    require(plan.data is not None, "data", "given: each machine would make its own", plan.data)
    folder = folder_of(plan.task, out).resolve()
    trials = trials or DEFAULT_TRIALS
    if image:
        told = machines.manifest(folder, image, workers, trials)
    else:
        told = machines.commands(folder, words_of(hosts or ""), trials)
        progress.console().print(machines.NOTES, markup=False)
    plan.begin(folder)
    plan.write(folder)
    return told


def _summary(done: Tuned) -> str:
    """The best trial, and how to go on."""
    from rnnapp.tuning.records import shown_size

    best = done.best
    states = [record.state for record in done.trials]
    counts = ", ".join(f"{states.count(each)} {each}" for each in dict.fromkeys(states))
    figures = [f"quality {best.quality:.4g}"]
    if best.us is not None:
        figures += [shown_size(best.bytes), f"{best.us:.1f} µs a step or call"]
    settings = " ".join(f"--set {shlex.quote(each)}" for each in best.settings)
    return (
        f"{len(states)} trials ({counts}). Best: trial {best.number}, {', '.join(figures)}, by\n"
        f"  {settings}\nNext:\n  rnnapp export {done.run}\n"
        f"and see {done.folder / 'report.html'}"
    )
