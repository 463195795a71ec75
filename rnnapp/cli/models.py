"""The `rnnapp` command."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnapp import progress

app = typer.Typer(
    name="rnnapp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train a recurrent model once; ship it to TF Serving and to devices, with proof that "
    "they agree.\n\nBegin with `rnnapp quickstart`.",
)

CHECK_FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, as in `--set units=128 --set epochs=40`; may be repeated. "
        "`rnnapp list --settings TASK` shows all of them.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="A folder `DATA/word/*.wav`, several with commas between, or "
        "`tfds:NAME`; the task makes its own data where none is given.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
BadInput = Annotated[
    str | None,
    typer.Option(metavar="skip|stop", help="Leave out files that cannot be read, or stop."),
]


def main() -> None:
    """Runs the command; what a user can mend becomes a message, not a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.showwarning = _show_warning
    try:
        app()
    except _failures() as error:
        progress.console().print(f"[red]error:[/red] {_escaped(error)}")
        sys.exit(CHECK_FAILED if isinstance(error, RuntimeError) else WRONG_USE)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # what typer makes of Control-C
            progress.console().print("Stopped. A training goes on with --resume.")
        raise


# Where the errors live whose message is for the user, and which are no mistakes of the user's.
FAILURES = {
    "rnnapp.exporting.export": "ExportError",
    "rnnapp.exporting.tf_c_api": "CApiError",
    "rnnapp.exporting.tflite": "ConversionError",
    "rnnapp.keeper": "TrainingError",
    "pipelines.voices.base": "SynthesisError",
}


def _failures() -> tuple[type[Exception], ...]:
    """Errors whose message is for the user; what was never imported was not raised either."""
    homes = [(sys.modules[home], name) for home, name in FAILURES.items() if home in sys.modules]
    return (ValueError, OSError, ImportError, *(getattr(home, name) for home, name in homes))


def _escaped(error: BaseException | str) -> str:
    from rich.markup import escape

    return escape(str(error))


def _show_warning(message: Any, category: type, *_: Any, **__: Any) -> None:
    progress.console().print(f"[yellow]warning:[/yellow] {_escaped(message)}")


def _print(value: Any, as_json: bool, text: str) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False) if as_json else text)


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
            _words(words),
            out,
            clips_per_word=clips,
            language=language,
            seed=seed,
            engines=_shares(engines) if engines else None,
            voices=_words(voices) if voices else None,
            unknown_words=_words(unknown) if unknown else None,
            progress=report,
        )
    print(f"{out}: train on it with\n  rnnapp train speech_commands --data {out}")


def _shares(text: str) -> tuple[str, ...] | dict[str, float]:
    """Names with commas between, or the share of each."""
    names = _words(text)
    if not any("=" in name for name in names):
        return names
    try:
        return {name: float(share) for name, _, share in (n.partition("=") for n in names)}
    except ValueError:
        raise ValueError(
            "`--engines` must be names, or a share for each as in `espeak=3,kokoro=1`. "
            f"Received: {text}"
        ) from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


@app.command()
def train(
    task: Annotated[str, typer.Argument(help="`rnnapp list` shows the tasks.")],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; `runs/TASK` by default.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="A named bundle of settings; `rnnapp list` shows them.")
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
    _print(figures, as_json, "\n".join(lines))


@app.command()
def predict(
    source: Annotated[Path, typer.Argument(help="A run folder or an export folder.")],
    inputs: Annotated[list[Path], typer.Argument(help="Files to answer.")],
    on_bad_input: BadInput = None,
    as_json: AsJson = False,
) -> None:
    """Answers files with a trained or an exported model."""
    import rnnapp

    answers = rnnapp.predict(source, inputs, on_bad_input=on_bad_input or "skip")
    if as_json:
        print(json.dumps({"answers": answers}, indent=2, ensure_ascii=False))
    for each in answers:
        if "error" in each:
            progress.console().print(f"[red]error:[/red] {_escaped(each['error'])}")
        elif not as_json:
            label = each["label"]
            print(f"{each['input']}  {label}  {each['probabilities'][label]:.2f}")
    if any("error" in each for each in answers):
        raise typer.Exit(CHECK_FAILED)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="`exported/NAME` by default.")] = None,
    formats: Annotated[
        str, typer.Option(help="Names from `rnnapp list`, with commas between.")
    ] = "all",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export.")] = False,
    as_json: AsJson = False,
) -> None:
    """Exports a trained model, and proves that every file agrees with it."""
    import rnnapp
    from rnnapp.exporting.export import read_manifest

    folder = rnnapp.export(run, out, formats=_words(formats), overwrite=overwrite)
    certificate = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    result = {
        "folder": str(folder),
        "files": read_manifest(folder)["files"],
        "certificate": certificate,
    }
    _print(
        result,
        as_json,
        f"{_table(certificate)}\n{folder}: all of them agree with the model. "
        f"Read {folder / 'MODEL_CARD.md'}",
    )


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="An export folder.")],
    as_json: AsJson = False,
) -> None:
    """Replays an export's certificate in every runtime that is installed."""
    import rnnapp

    certificate = rnnapp.verify(folder)
    changed = "".join(f"\nchanged since the export: {name}" for name in certificate["changed"])
    _print(certificate, as_json, _table(certificate) + changed)
    if not certificate["passed"]:
        raise typer.Exit(CHECK_FAILED)


def _table(certificate: dict[str, Any]) -> str:
    from rnnapp.exporting.certificate import table

    rows = table(certificate)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


@app.command()
def listen(
    model: Annotated[Path, typer.Argument(metavar="FILE.tflite", help="With signature `step`.")],
    wav: Annotated[Path | None, typer.Option(help="A recording, any rate or channels.")] = None,
    mic: Annotated[bool, typer.Option("--mic", help="The default microphone.")] = False,
    threshold: Annotated[float | None, typer.Option(help="The model's own by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Listens to a recording or a microphone with an exported model, without TensorFlow."""
    from rnnapp.device.__main__ import main as device_main

    arguments = [
        str(model),
        *(["--wav", str(wav)] if wav else []),
        *(["--mic"] if mic else []),
        *(["--threshold", str(threshold)] if threshold is not None else []),
        *(["--json"] if as_json else []),
    ]
    raise typer.Exit(device_main(arguments))
