"""`manifest.json`: what an export was made from, and what it holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


def read_manifest(export: Path, needs: Iterable[str] = ()) -> dict[str, Any]:
    """An export's manifest.

    Args:
        export: An export folder, or a manifest under another name.
        needs: What it must have beside `files`.

    Returns:
        What it holds.

    Raises:
        ValueError: If there is none, or one of something else.
    """
    named = export.suffix == ".json" and not export.is_dir()
    path = export if named else export / MANIFEST
    must = f"{path.parent} must be an export folder, as `rnnapp export` writes it. Received: "
    if not path.is_file():
        raise ValueError(f"{must}a path without {path.name}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{must}{path}, which is no JSON: {error}") from error
    # Web pages and browser extensions have a manifest.json as well.
    needed = {"files", *needs}
    if not isinstance(manifest, dict) or not manifest.keys() >= needed:
        raise ValueError(f"{must}{path}, which is no object with {', '.join(sorted(needed))}")
    return manifest
