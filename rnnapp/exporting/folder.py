"""What an export folder holds: artefacts, their certificate, manifest, card and report."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnapp import overrides, plots, progress
from rnnapp.exporting import c99, card, report
from rnnapp.exporting.certificate import certify, failures
from rnnapp.exporting.formats import FORMATS, Format, Source
from rnnapp.exporting.reference import Reference
from rnnapp.exporting.runtimes import RUNTIMES, version_of
from rnnapp.layers.streaming import NotCausalError, StepModel
from rnnapp.replay import Replay
from rnnapp.runs import Run, write_json

if TYPE_CHECKING:
    import keras

MODEL, REPLAY = "source/model.keras", "source/replay.npz"


class ExportError(RuntimeError):
    """An artefact does not agree with its model; nothing was written."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export folder.

    Raises:
        ValueError: If the folder holds no export.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} must be an export folder, as `rnnapp export` writes it. "
            "Received: a path without manifest.json"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def write(run: Run, folder: Path, names: list[str], max_quality_loss: float) -> None:
    """Writes an export, and proves it.

    Args:
        run: A finished run.
        folder: A new folder.
        names: Names in `FORMATS`, or "all" alone.
        max_quality_loss: By what share of the model's accuracy an artefact may be worse.

    Raises:
        ValueError: If the model has no such format.
        ConversionError: If a converter fails.
        ExportError: If an artefact differs from the model by more than its bound.
    """
    model = run.load_model()
    (folder / "source").mkdir(parents=True)
    shutil.copyfile(run.model_path, folder / MODEL)
    shutil.copyfile(run.folder / "replay.npz", folder / REPLAY)
    source = _source(run, model, folder)
    possible, refused = _possible(names, source)
    with progress.bar("Exporting") as told:
        missing = _write_formats(source, folder, possible, told)
    if missing and names != ["all"]:
        raise next(iter(missing.values()))
    names = [name for name in possible if name not in missing]
    refused |= {name: str(error) for name, error in missing.items()}
    unit = source.stepper.input_shape[0] if source.stepper else 1
    reference = Reference(source.model, Replay.load(folder / REPLAY), unit)
    with progress.bar("Certifying") as told:
        certificate = certify(folder, names, reference, told, max_quality_loss=max_quality_loss)
    if not certificate["passed"]:
        raise ExportError(_refusal(names, failures(certificate)))
    (folder / "labels.txt").write_text("\n".join(source.labels) + "\n", encoding="utf-8")
    write_json(folder / "certificate.json", certificate)
    manifest = {
        **_manifest(run, folder),
        "formats": names,
        "refused": refused,
        "unit": unit,
        "max_quality_loss": max_quality_loss,
        "streaming": source.no_step or True,
    }
    _write_card(run, folder, manifest, certificate)
    write_json(folder / "manifest.json", manifest)


def _write_card(
    run: Run, folder: Path, manifest: dict[str, Any], certificate: dict[str, Any]
) -> None:
    """The model card, and the report with the run's pictures and how streams drift."""
    text = card.markdown(manifest, certificate)
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    pictures = sorted(run.folder.glob("*.png"))
    streams = {
        f"{check['format']} in {check['runtime']}": check["drift"]
        for check in certificate["checks"]
        if check["drift"] is not None
    }
    with tempfile.TemporaryDirectory() as scratch:
        if streams:
            drift = Path(scratch) / "streams,_step_by_step.png"
            pictures.append(plots.drift(certificate["places"], streams, drift))
        (folder / "report.html").write_text(report.page(text, pictures), encoding="utf-8")


def _source(run: Run, model: keras.Model, folder: Path) -> Source:
    """What artefacts are made from."""
    pipeline = run.load_pipeline()
    stepper, no_step = _stepper(model)
    return Source(
        folder.name,
        model,
        folder / MODEL,
        list(pipeline.labels),
        Replay.load(folder / REPLAY).time,
        folder / REPLAY,
        stepper,
        no_step,
        _settings(run, pipeline, stepper),
    )


def _possible(names: list[str], source: Source) -> tuple[list[str], dict[str, str]]:
    """The formats to write; of all, those that the model has and a runtime can prove.

    Returns:
        Names, and why others are left out.
    """
    if names == ["all"]:
        refused = {name: form.refusal(source) or _unproved(form) for name, form in FORMATS.items()}
        refused = {name: reason for name, reason in refused.items() if reason}
        return [name for name in FORMATS if name not in refused], refused
    for name in names:
        if reason := FORMATS[name].refusal(source):
            raise ValueError(f"The model has no format {name!r}: {reason}")
    return names, {}


def _unproved(form: Format) -> str:
    """Why a format cannot be proved on this machine; "" if it can."""
    absent = {name: RUNTIMES[name].absence for name in form.runtimes}
    if not all(absent.values()):
        return ""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
    return f"no runtime is at hand to prove it. {reasons}"


def _refusal(names: list[str], broken: dict[str, list[str]]) -> str:
    """What is wrong with an export, and what to do."""
    good = [name for name in names if name not in broken]
    way_out = (
        f"Leave out what fails: --formats {','.join(good)}"
        if good
        else "Not one of them agrees: look at the model first, by `rnnapp evaluate RUN`"
    )
    lines = [line for found in broken.values() for line in found]
    return "\n".join(
        ["The export does not agree with its model, so nothing was written:", *lines, way_out]
    )


def _stepper(model: Any) -> tuple[StepModel | None, str]:
    try:
        return StepModel(model), ""
    except NotCausalError as error:
        return None, str(error)


def _write_formats(
    source: Source, folder: Path, names: list[str], told: progress.Report
) -> dict[str, Exception]:
    """Writes formats, those of one kind together; returns why some could not be written."""
    done, missing = 0, dict[str, Exception]()
    for write in dict.fromkeys(FORMATS[name].write for name in names):
        told(done, len(names))
        own = [name for name in names if FORMATS[name].write is write]
        try:
            write(source, folder, own)
        except (ConnectionError, c99.UnsupportedLayerError) as error:
            # What it is made with is not to be had; or C has no kernel of a layer.
            missing |= dict.fromkeys(own, error)
        done += len(own)
    told(len(names), len(names))
    return missing


def _settings(run: Run, pipeline: Any, stepper: StepModel | None) -> dict[str, Any]:
    """What a device must know."""
    notes = {
        "sample_rate": getattr(pipeline.spec, "sample_rate", None),
        "frames_per_step": stepper.frames_per_step if stepper else None,
        "detector": run.metrics().get("detector"),
        "background_labels": [label for label in pipeline.labels if label.startswith("_")],
    }
    return {key: value for key, value in notes.items() if value is not None}


def _manifest(run: Run, folder: Path) -> dict[str, Any]:
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        "name": folder.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version_of(name) for name in ("rnnapp", "tensorflow", "keras")},
        "spec": overrides.to_dict(run.spec),
        "metrics": run.metrics(),
        "files": files,
    }


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
