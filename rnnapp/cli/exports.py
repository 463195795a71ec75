"""The commands that export models, and prove what was exported."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnapp import progress
from rnnapp.cli.common import CHECK_FAILED, AsJson, app, show, words_of

if TYPE_CHECKING:
    from rnnapp.exporting.doctor import Finding


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="`exported/NAME` by default.")] = None,
    formats: Annotated[
        str, typer.Option(help="Names from `rnnapp list`, with commas between.")
    ] = "all",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export.")] = False,
    max_quality_loss: Annotated[
        float,
        typer.Option(
            help="By what share of the model's quality a file may be worse, from 0 to less than 1."
        ),
    ] = 0.01,
    as_json: AsJson = False,
) -> None:
    """Exports a trained model, and proves that every file agrees with it."""
    import rnnapp
    from rnnapp.manifests import read_manifest

    folder = rnnapp.export(
        run,
        out,
        formats=words_of(formats),
        overwrite=overwrite,
        max_quality_loss=max_quality_loss,
    )
    certificate = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    manifest = read_manifest(folder)
    result = {
        "folder": str(folder),
        "files": manifest["files"],
        "refused": manifest["refused"],
        "float_parts": manifest["float_parts"],
        "certificate": certificate,
    }
    lines = [
        _table(certificate),
        *_notes(manifest),
        f"{folder}: all of them agree with the model. Read {folder / 'MODEL_CARD.md'}",
    ]
    show(result, as_json, "\n".join(lines))


def _notes(manifest: dict[str, Any]) -> list[str]:
    """What an export has not, and what is not all integers, a line each."""
    return [f"left out: {name}: {why}" for name, why in manifest["refused"].items()] + [
        f"{name}: integers alone lost too much, so floats in {', '.join(parts)}"
        for name, parts in manifest["float_parts"].items()
    ]


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="An export folder.")],
    install_runtimes: Annotated[
        bool,
        typer.Option(
            "--install-runtimes",
            help="First make environments for tflite-runtime and MediaPipe, which want versions "
            "of their own.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replays an export's certificate in every runtime that is installed."""
    import rnnapp
    from rnnapp.exporting.environments import install_all

    if install_runtimes:
        with progress.bar("Installing runtimes") as report:
            install_all(report)
    certificate = rnnapp.verify(folder)
    changed = "".join(f"\nchanged since the export: {name}" for name in certificate["changed"])
    show(certificate, as_json, _table(certificate) + changed)
    if not certificate["passed"]:
        raise typer.Exit(CHECK_FAILED)


@app.command()
def doctor(
    file: Annotated[Path, typer.Argument(help="A `.keras` file, a SavedModel or a `.tflite`.")],
    fix: Annotated[
        Path | None, typer.Option(help="Write a mended copy here, where a rewrite is sure.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Says what is wrong with a model's file, whoever made it, and what to do."""
    from rnnapp.exporting import doctor as checks

    mended = checks.fix(file, fix) if fix else []
    findings = checks.diagnose(fix or file)
    result = {
        "findings": [asdict(finding) for finding in findings],
        "mended": [asdict(finding) for finding in mended],
    }
    lines = [f"mended   {each.code}: {each.where}" for each in mended]
    lines += [_finding(each) for each in findings]
    show(result, as_json, "\n".join(lines) or f"{file}: nothing was found")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(CHECK_FAILED)


def _finding(finding: Finding) -> str:
    way = " `--fix COPY` does it." if finding.fixable else ""
    return (
        f"{finding.severity:8} {finding.code}: {finding.where}\n"
        f"         {finding.reason}\n         {finding.remedy}{way}"
    )


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
