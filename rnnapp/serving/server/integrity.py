"""Which files may be loaded: a SavedModel is code, so it must be one that an export wrote.

Checksums say that nothing was damaged or slipped in since; they do not say who made the export.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rnnapp.files import sha256
from rnnapp.manifests import MANIFEST, read_manifest

SAVED_MODELS = "serving"  # the folder of an export that holds a folder for each version
_IN_VERSION = re.compile(rf"{SAVED_MODELS}/\d+/(?P<name>.+)")


def manifest_of(export: Path, version: int) -> Path:
    """Where the checksums of a version stand.

    A version that came later brings the manifest of the export that it came from:
    `serving/2.manifest.json` beside `serving/2`. Others are in the export's own.

    Args:
        export: An export folder.
        version: The version's number.
    """
    own = export / SAVED_MODELS / f"{version}.manifest.json"
    return own if own.is_file() else export / MANIFEST


def check(export: Path, version: int) -> None:
    """Makes sure that a version's folder holds what an export wrote, and nothing else.

    Args:
        export: An export folder.
        version: The version's number.

    Raises:
        ValueError: If it does not; the message says which file.
    """
    folder, path = export / SAVED_MODELS / str(version), manifest_of(export, version)
    expected = _checksums(read_manifest(path), version, own=path.name != MANIFEST)
    if not expected:
        raise ValueError(
            f"{folder} must be in a manifest. Copy the manifest.json of the export that it comes "
            f"from to {folder}.manifest.json, or trust the folder by --trust. "
            f"Received: {path}, which does not name it"
        )
    found = {
        each.relative_to(folder).as_posix()
        for each in folder.rglob("*")
        if each.is_symlink() or not each.is_dir()  # links are not followed: they are no export's
    }
    for name in sorted(found | expected.keys()):
        if name not in expected:
            raise ValueError(f"{folder / name} must be in {path}, which does not name it")
        if name not in found:
            raise ValueError(f"{folder / name} must exist: {path} names it")
        if sha256(folder / name) != expected[name]:
            raise ValueError(f"{folder / name} must be what {path} says. It has changed since")


def _checksums(manifest: dict[str, Any], version: int, own: bool) -> dict[str, str]:
    """Those of a version's files by their path in its folder.

    In a manifest of its own, a version has the number that it had in the export it came from.
    """
    checksums = {}
    for path, entry in manifest["files"].items():
        match = _IN_VERSION.fullmatch(path)
        if match and (own or path.startswith(f"{SAVED_MODELS}/{version}/")):
            checksums[match["name"]] = str(entry["sha256"])
    return checksums
