"""The commands that make and judge models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnapp import progress
from rnnapp.cli.common import AsJson, BadInput, Data, Settings, app, show, words_of


@app.command("list")
def list_(
    settings: Annotated[
        str | None, typer.Option(metavar="TASK", help="Every setting of a task, with its default.")
    ] = None,
) -> None:
    """Shows the tasks, cells and export formats; or a task's settings."""
    from rnnapp import CELLS, FORMATS, TASKS, overrides
    from rnnapp.tasks import task_named

    if settings:
        spec = task_named(settings).spec()
        flat = overrides.to_dict(spec)
        for path in overrides.paths(spec):
            value: Any = flat
            for name in path.split("."):
                value = value[name]
            if not isinstance(value, dict):
                print(f"{path}={json.dumps(value)}")
        return
    print("Tasks")
    for task in TASKS.values():
        print(f"  {task.name:20} {task.summary}")
        print(f"  {'':20} presets: {', '.join(task.presets) or 'none'}")
    print("Cells\n  " + ", ".join(CELLS))
    print("Formats\n" + "\n".join(f"  {name:20} {f.summary}" for name, f in FORMATS.items()))


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="A new folder for everything.")] = Path("quickstart"),
    set_: Settings = None,
) -> None:
    """The main job, offline: voices, model, exports, certificate; under five minutes."""
    import rnnapp

    result = rnnapp.quickstart(out, settings=set_ or [])
    print(result["summary"])


@app.command()
def synthesize(
    words: Annotated[str, typer.Option(help="The words, with commas between.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    clips: Annotated[int, typer.Option(help="Clips a word.")] = 200,
    language: Annotated[str, typer.Option(help="A language of espeak-ng's.")] = "en-us",
    engines: Annotated[
        str | None,
        typer.Option(
            help="Speech engines, with commas between; `espeak=3,kokoro=1` gives each its share of "
            "the clips. All installed ones by default, all voices with the same share."
        ),
    ] = None,
    voices: Annotated[
        str | None,
        typer.Option(help="Only these, as patterns such as `espeak.en-gb*,kokoro.*`."),
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(help="Words of `_unknown_`, with commas between; chosen by sound by default."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed makes other clips.")] = 0,
) -> None:
    """Makes a data set of spoken words in synthetic voices, laid out like Speech Commands."""
    from pipelines.synthesis import synthesize as make

    with progress.bar("Synthesizing") as report:
        make(
            words_of(words),
            out,
            clips_per_word=clips,
            language=language,
            seed=seed,
            engines=_shares(engines) if engines else None,
            voices=words_of(voices) if voices else None,
            unknown_words=words_of(unknown) if unknown else None,
            progress=report,
        )
    print(f"{out}: train on it with\n  rnnapp train speech_commands --data {out}")


def _shares(text: str) -> tuple[str, ...] | dict[str, float]:
    """Names with commas between, or the share of each."""
    names = words_of(text)
    if not any("=" in name for name in names):
        return names
    try:
        return {name: float(share) for name, _, share in (n.partition("=") for n in names)}
    except ValueError:
        raise ValueError(
            "`--engines` must be names, or a share for each as in `espeak=3,kokoro=1`. "
            f"Received: {text}"
        ) from None


@app.command()
def train(
    task: Annotated[str, typer.Argument(help="`rnnapp list` shows the tasks.")],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; `runs/TASK` by default.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="A named bundle of settings; `rnnapp list` shows them.")
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Begin with the weights of a finished run of the same form and task; or, to "
            "classify texts, with the encoder of a language model. The same as `--set start=RUN`.",
        ),
    ] = None,
    set_: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    on_bad_input: BadInput = None,
) -> None:
    """Trains a model and leaves it in a run folder."""
    import rnnapp

    settings = [
        *([f"preset={preset}"] if preset else []),
        *([f"start={json.dumps(str(init_from))}"] if init_from else []),
        *(set_ or []),
        *([f"on_bad_input={on_bad_input}"] if on_bad_input else []),
    ]
    run = rnnapp.train(task, data, out, settings=settings, resume=resume)
    figures = run.metrics()["training"]
    print(
        f"{run.folder}: best epoch {figures['best_epoch']} of {figures['epochs']}, "
        f"{figures['parameters']:,} parameters, {figures['seconds']:.0f} s. Next:\n"
        f"  rnnapp evaluate {run.folder}\n  rnnapp export {run.folder}"
    )


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    listen: Annotated[bool, typer.Option(help="Judge it over a long recording, too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Measures a trained model, and draws what it confuses."""
    import rnnapp

    figures = rnnapp.evaluate(run, data, split, listen=listen)
    lines = [
        f"{name:40} {value:.4g}"
        for name, value in figures.items()
        if isinstance(value, int | float)
    ]
    lines += [f"see {picture}" for picture in figures["pictures"]]
    show(figures, as_json, "\n".join(lines))
