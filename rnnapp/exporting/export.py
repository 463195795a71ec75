"""The verbs `export` and `verify`: a run becomes an export folder, and an export is checked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rnnapp.layers  # noqa: F401  registers what a model is made of
from rnnapp import progress
from rnnapp.exporting.certificate import MAX_QUALITY_LOSS, certify
from rnnapp.exporting.folder import MODEL, REPLAY, write
from rnnapp.exporting.formats import FORMATS
from rnnapp.exporting.proof import ExportError
from rnnapp.exporting.reference import reference_of
from rnnapp.files import sha256
from rnnapp.manifests import read_manifest
from rnnapp.replay import Replay
from rnnapp.runs import Run

__all__ = ["ExportError", "export", "verify"]

NEEDED = {"files", "formats", "max_quality_loss", "streaming", "unit"}  # what `verify` reads


def export(
    run: str | os.PathLike | Run,
    out: str | os.PathLike | None = None,
    *,
    formats: Sequence[str] = ("all",),
    overwrite: bool = False,
    max_quality_loss: float = MAX_QUALITY_LOSS,
) -> Path:
    """Exports a trained model and proves that every artefact agrees with it.

    Args:
        run: A run folder.
        out: The export folder; `exported/NAME OF THE RUN` by default.
        formats: Names in `FORMATS`, or "all" that the model has and this machine can prove.
        overwrite: Replace an export that stands there. That takes two renames, between which
            nothing stands there; if the second fails, the old one is moved back.
        max_quality_loss: By what share of the model's quality an artefact may be worse, from 0
            to less than 1.

    Returns:
        The export folder.

    Raises:
        ValueError: If a name or the share is wrong, the model has no such format, or `out` exists.
        ConversionError: If a converter fails.
        ExportError: If an artefact differs from the model by more than its bound.
        OSError: If the disk is full, or `out` was taken meanwhile; the message then says where
            the finished export is.
    """
    check_share(max_quality_loss)
    names = _format_names(formats)
    run = run if isinstance(run, Run) else Run.open(run)
    target = Path(out or Path("exported") / run.folder.resolve().name)
    if target.exists() and not overwrite:
        raise ValueError(
            f"{target} must not exist yet. Replace it by --overwrite, or choose "
            "another folder by --out."
        )
    if target.exists():
        read_manifest(target, NEEDED)  # nothing but an export is replaced
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, on the same disk, so that the finished folder has but to be renamed.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        folder = Path(scratch) / target.name
        write(run, folder, names, max_quality_loss)
        _publish(folder, target, overwrite)
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
    manifest = read_manifest(folder, NEEDED)
    changed = [
        name
        for name, entry in manifest["files"].items()
        if not (folder / name).is_file() or sha256(folder / name) != entry["sha256"]
    ]
    if changed:  # not run: a changed file may crash its runtime, and a SavedModel is code
        return {"passed": False, "changed": changed, "checks": [], "not_run": [], "unproved": []}
    model = keras.models.load_model(folder / MODEL, compile=False)
    replay, streams = Replay.load(folder / REPLAY), manifest["streaming"] is True
    reference = reference_of(model, replay, manifest["unit"], streams)
    with progress.bar("Verifying") as report:
        certificate = certify(
            folder,
            manifest["formats"],
            reference,
            report,
            max_quality_loss=manifest["max_quality_loss"],
        )
    return {**certificate, "changed": changed}


def _publish(folder: Path, target: Path, overwrite: bool) -> None:
    """Moves a finished export to `target`; where that cannot be, beside it, with an error."""
    try:
        _take_place(folder, target, folder.with_name(f"{folder.name}-replaced"), overwrite)
    except (OSError, ValueError) as error:  # minutes of work are not thrown away
        kept = folder.rename(target.with_name(folder.parent.name.removeprefix(".")))
        raise OSError(
            f"The finished export is in {kept}: move it to where it shall be. "
            f"It could not become {target}: {error}"
        ) from error


def _take_place(folder: Path, target: Path, replaced: Path, overwrite: bool) -> None:
    """Moves `folder` to `target`; what stood there goes to `replaced`, or back if that fails."""
    try:
        if overwrite and target.exists():
            read_manifest(target, NEEDED)  # it may have appeared since the export began
            target.rename(replaced)
        folder.rename(target)  # fails where something is, unless it is an empty folder
    except BaseException:  # Control-C as well: `replaced` is about to go with the scratch folder
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise


def check_share(loss: float) -> None:
    """Checks `max_quality_loss`: 1 would let everything through; not a number, nothing.

    Args:
        loss: What was asked for.

    Raises:
        ValueError: If it is no share below one.
    """
    if not 0 <= loss < 1:
        raise ValueError(
            "`max_quality_loss` must be a share from 0 to less than 1, such as 0.01 for one "
            f"percent. Received: max_quality_loss={loss}"
        )


def _format_names(formats: Sequence[str]) -> list[str]:
    """The names, in the order of `FORMATS`; "all" stays "all"."""
    if not formats:
        raise ValueError(
            "`formats` must name at least one format. Received: none. "
            f"Valid names: all, {', '.join(FORMATS)}"
        )
    for name in formats:
        if name not in (*FORMATS, "all"):
            raise ValueError(f"There is no format {name!r}. Valid names: all, {', '.join(FORMATS)}")
    return ["all"] if "all" in formats else [name for name in FORMATS if name in formats]
