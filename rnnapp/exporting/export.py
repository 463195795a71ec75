"""The verbs `export` and `verify`: a run becomes an export folder, and an export is checked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rnnapp.layers  # noqa: F401  registers what a model is made of
from rnnapp import overrides, progress
from rnnapp.exporting import card
from rnnapp.exporting.certificate import certify, failures
from rnnapp.exporting.formats import FORMATS, Source
from rnnapp.exporting.reference import Reference
from rnnapp.exporting.runtimes import version_of
from rnnapp.layers.streaming import NotCausalError, StepModel
from rnnapp.replay import Replay
from rnnapp.runs import Run, write_json

MODEL, REPLAY = "source/model.keras", "source/replay.npz"


class ExportError(RuntimeError):
    """An artefact does not agree with its model; nothing was written."""


def export(
    run: str | os.PathLike | Run,
    out: str | os.PathLike | None = None,
    *,
    formats: Sequence[str] = ("all",),
    overwrite: bool = False,
) -> Path:
    """Exports a trained model and proves that every artefact agrees with it.

    Args:
        run: A run folder.
        out: The export folder; `exported/NAME OF THE RUN` by default.
        formats: Names in `FORMATS`, or "all".
        overwrite: Replace an export that stands there.

    Returns:
        The export folder.

    Raises:
        ValueError: If a name is wrong or `out` exists.
        ConversionError: If a converter fails.
        ExportError: If an artefact differs from the model by more than its bound.
    """
    names = _format_names(formats)
    run = run if isinstance(run, Run) else Run.open(run)
    target = Path(out or Path("exported") / run.folder.resolve().name)
    if target.exists() and not overwrite:
        raise ValueError(
            f"{target} must not exist yet. Replace it by --overwrite, or choose "
            "another folder by --out."
        )
    if target.exists():
        read_manifest(target)  # nothing but an export is replaced
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the finished folder takes its place in one rename.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        folder = Path(scratch) / target.name
        _write(run, folder, names)
        _take_place(folder, target, Path(scratch) / "replaced")
    return target


def verify(folder: str | os.PathLike) -> dict[str, Any]:
    """Replays an export's certificate in every runtime at hand.

    Args:
        folder: An export folder.

    Returns:
        The new certificate; `changed` names files that are not what the manifest says, in which
        case nothing was replayed.

    Raises:
        ValueError: If the folder holds no export.
    """
    import keras

    folder = Path(folder)
    manifest = read_manifest(folder)
    changed = [
        name
        for name, entry in manifest["files"].items()
        if not (folder / name).is_file() or _sha256(folder / name) != entry["sha256"]
    ]
    if changed:  # not run: a changed file may crash its runtime, and a SavedModel is code
        return {"passed": False, "changed": changed, "checks": [], "not_run": [], "unproved": []}
    model = keras.models.load_model(folder / MODEL, compile=False)
    reference = Reference(model, Replay.load(folder / REPLAY), manifest["unit"])
    with progress.bar("Verifying") as report:
        certificate = certify(folder, manifest["formats"], reference, report)
    return {**certificate, "changed": changed}


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


def _take_place(folder: Path, target: Path, replaced: Path) -> None:
    """Moves `folder` to `target`; what stood there goes to `replaced`, or back if that fails."""
    try:
        if target.exists():
            target.rename(replaced)
        folder.rename(target)
    except BaseException:  # Control-C as well: `replaced` is about to go with the scratch folder
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise


def _format_names(formats: Sequence[str]) -> list[str]:
    if not formats:
        raise ValueError(
            "`formats` must name at least one format. Received: none. "
            f"Valid names: all, {', '.join(FORMATS)}"
        )
    if "all" in formats:
        return list(FORMATS)
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"There is no format {name!r}. Valid names: all, {', '.join(FORMATS)}")
    return list(dict.fromkeys(formats))


def _write(run: Run, folder: Path, names: list[str]) -> None:
    """Everything that an export folder holds, into a new folder."""
    model, pipeline = run.load_model(), run.load_pipeline()
    (folder / "source").mkdir(parents=True)
    shutil.copyfile(run.model_path, folder / MODEL)
    shutil.copyfile(run.folder / "replay.npz", folder / REPLAY)
    replay = Replay.load(folder / REPLAY)
    stepper, refusal = _stepper(model)
    unit = stepper.input_shape[0] if stepper else 1
    source = Source(
        model,
        folder / MODEL,
        list(pipeline.labels),
        replay.time,
        stepper,
        _associated(run, pipeline, stepper),
    )
    with progress.bar("Exporting") as report:
        _write_formats(source, folder, names, report)
    with progress.bar("Certifying") as report:
        certificate = certify(folder, names, Reference(model, replay, unit), report)
    if not certificate["passed"]:
        raise ExportError(_refusal(names, failures(certificate)))
    (folder / "labels.txt").write_text("\n".join(source.labels) + "\n", encoding="utf-8")
    write_json(folder / "certificate.json", certificate)
    manifest = _manifest(run, folder, names, unit, refusal)
    (folder / "MODEL_CARD.md").write_text(card.markdown(manifest, certificate), encoding="utf-8")
    write_json(folder / "manifest.json", manifest)


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


def _stepper(model: Any) -> tuple[StepModel | None, str | None]:
    try:
        return StepModel(model), None
    except NotCausalError as error:
        return None, str(error)


def _write_formats(source: Source, folder: Path, names: list[str], report: progress.Report) -> None:
    writers = {FORMATS[name].write for name in names}
    done = 0
    for write in sorted(writers, key=lambda w: w.__name__):
        report(done, len(names))
        own = [name for name in names if FORMATS[name].write is write]
        write(source, folder, own)
        done += len(own)
    report(len(names), len(names))


def _associated(run: Run, pipeline: Any, stepper: StepModel | None) -> dict[str, str]:
    """What a device must know, for the zip inside each TFLite file."""
    notes = {
        "sample_rate": getattr(pipeline.spec, "sample_rate", None),
        "frames_per_step": stepper.frames_per_step if stepper else None,
        "detector": run.metrics().get("detector"),
        "background_labels": [label for label in pipeline.labels if label.startswith("_")],
    }
    known = {key: value for key, value in notes.items() if value is not None}
    return {
        "labels.txt": "\n".join(pipeline.labels) + "\n",
        "rnnapp.json": json.dumps(known, indent=2) + "\n",
    }


def _manifest(
    run: Run, folder: Path, names: list[str], unit: int, refusal: str | None
) -> dict[str, Any]:
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        "name": folder.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version_of(name) for name in ("rnnapp", "tensorflow", "keras")},
        "formats": names,
        "unit": unit,
        "streaming": refusal or True,
        "spec": overrides.to_dict(run.spec),
        "metrics": run.metrics(),
        "files": files,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
