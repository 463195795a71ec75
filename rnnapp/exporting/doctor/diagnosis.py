"""The verb `doctor`: what is wrong with a model's file, and a mended copy."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from pathlib import Path

from rnnapp.exporting.doctor.checks import CHECKS
from rnnapp.exporting.doctor.findings import BadFileError, Check, Finding
from rnnapp.exporting.doctor.keras_file import KerasFile
from rnnapp.exporting.doctor.saved_model_file import GRAPH, SavedModelFile
from rnnapp.exporting.doctor.tflite_file import TFLiteFile
from rnnapp.files import replacing

ModelFile = KerasFile | SavedModelFile | TFLiteFile

# What reading a table raises where it is not what it should be.
_DAMAGE = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    struct.error,
    TypeError,
    ValueError,
)
_BEGINNINGS = {
    b"PK\x03\x04": KerasFile,
    b"\x89HDF": "an HDF5 file of Keras 2: load it in Keras and save it as .keras",
    b"\x08\x01": "a graph without its folder: pass the SavedModel's folder",
}


def diagnose(path: str | os.PathLike) -> list[Finding]:
    """Looks for everything that is known to go wrong with a model's file.

    Nothing of the file is executed, but for a .tflite with variables, which runs in the TFLite
    interpreter, in a process of its own.

    Args:
        path: A `.keras` file, a SavedModel's folder or a `.tflite` file, made by anyone.

    Returns:
        What was found, errors first; empty for a file that is sound as far as one can see.

    Raises:
        ValueError: If the path is no such file, or the file is damaged; the message names it.
    """
    path = Path(path)
    try:
        file = _open(path)
        findings = [finding for check in _checks(file) for finding in _findings(check, file)]
    except BadFileError:
        raise
    except _DAMAGE as error:
        kind = type(error).__name__
        raise BadFileError(
            f"{path} is damaged, or of a kind that is not known here ({kind}: {error}). "
            "Save or copy it again"
        ) from error
    return sorted(findings, key=lambda finding: finding.severity)


def fix(
    path: str | os.PathLike, out: str | os.PathLike, only: Collection[str] = ()
) -> list[Finding]:
    """Writes a copy in which is mended what can be without any change to what is computed.

    Args:
        path: As for `diagnose`.
        out: The copy, which must not exist yet.
        only: Codes of the findings to mend; empty for all.

    Returns:
        What was mended.

    Raises:
        ValueError: If nothing can be mended, `out` exists, a code is unknown, or the file is
            damaged.
    """
    path, out = Path(path), Path(out)
    if out.exists():
        raise ValueError(f"{out} must not exist yet: give the mended copy a path of its own.")
    _require_known(only)
    before = [finding for finding in diagnose(path) if not only or finding.code in only]
    codes = {finding.code for finding in before if finding.fixable}
    if not codes:
        found = ", ".join(finding.code for finding in before) or "nothing that is wrong"
        raise ValueError(f"Nothing in {path} can be mended by rewriting it. Found: {found}")
    file = _open(path)
    for check in _checks(file):
        if check.fix and check.code in codes:
            check.fix(file)
    assert not isinstance(file, SavedModelFile)  # nothing of theirs is fixable
    with replacing(out) as temporary:
        file.write(temporary)
    left = {(finding.code, finding.where) for finding in diagnose(out)}
    return [finding for finding in before if (finding.code, finding.where) not in left]


def _require_known(codes: Collection[str]) -> None:
    known = {check.code for checks in CHECKS.values() for check in checks if check.fix}
    for code in codes:
        if code not in known:
            names = ", ".join(sorted(known))
            raise ValueError(f"There is no mending of {code!r}. Valid names: {names}")


def _checks(file: ModelFile) -> list[Check]:
    """The checks that a file is held to."""
    return [
        check
        for check in CHECKS[type(file)]
        if not check.runtimes or file.runtimes is None or file.runtimes & set(check.runtimes)
    ]


def _findings(check: Check, file: ModelFile) -> list[Finding]:
    return [
        Finding(
            check.code,
            check.severity,
            fault.where,
            fault.reason,
            fault.remedy,
            fault.fixable and check.fix is not None,
        )
        for fault in check.find(file)
    ]


def _open(path: Path) -> ModelFile:
    """Reads a file as what its first bytes say it is."""
    if path.is_dir():
        return SavedModelFile(_saved_model(path))
    if not path.is_file():
        raise BadFileError(
            f"{path} must be a file, or a SavedModel's folder. Received: no such path"
        )
    if path.name == GRAPH:
        return SavedModelFile(path.parent)
    with path.open("rb") as stream:
        begins = stream.read(8)
    if begins[4:] == b"TFL3":
        return TFLiteFile(path)
    kind = next((kind for magic, kind in _BEGINNINGS.items() if begins.startswith(magic)), None)
    if kind is KerasFile:
        return KerasFile(path)
    received = kind or (f"{begins!r}" if begins else "an empty file")
    raise BadFileError(
        f"{path} must be a .keras file, a SavedModel's folder or a .tflite file. "
        f"Received: {received}"
    )


def _saved_model(path: Path) -> Path:
    """The folder itself, if it is a SavedModel's."""
    if (path / GRAPH).is_file():
        return path
    inside = [*path.rglob(GRAPH), *path.rglob("*.tflite"), *path.rglob("*.keras")]
    hint = ", ".join(str(found.parent if found.name == GRAPH else found) for found in inside[:8])
    raise BadFileError(
        f"{path} must be a SavedModel's folder, with {GRAPH}. Received: a folder "
        + (f"with other models in it: pass one of {hint}" if hint else "without models")
    )
