"""A SavedModel is code: nothing is loaded that an export did not write."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnapp.serving.server.integrity import check

FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"weights"}


def write_export(folder: Path, version: int = 1) -> Path:
    """An export with a version whose files are not what TensorFlow would read."""
    entries = {}
    for name, content in FILES.items():
        path = folder / "serving" / str(version) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        entries[path.relative_to(folder).as_posix()] = {
            "sha256": hashlib.sha256(content).hexdigest()
        }
    (folder / "manifest.json").write_text(json.dumps({"name": folder.name, "files": entries}))
    return folder


def test_what_an_export_wrote_is_loaded(tmp_path: Path) -> None:
    """Or nothing would be."""
    check(write_export(tmp_path / "words"), 1)


def test_a_version_comes_with_the_manifest_of_its_export(tmp_path: Path) -> None:
    """The roll-out: another export's version 1 becomes this one's 2."""
    export, new = write_export(tmp_path / "words"), write_export(tmp_path / "new")
    shutil.copytree(new / "serving/1", export / "serving/2")
    with pytest.raises(ValueError, match=r"2\.manifest\.json"):
        check(export, 2)
    shutil.copy(new / "manifest.json", export / "serving/2.manifest.json")
    check(export, 2)
    (export / "serving/2/saved_model.pb").write_bytes(b"other")
    with pytest.raises(ValueError, match="changed since"):
        check(export, 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: (v / "saved_model.pb").write_bytes(b"evil"), "changed since"),
        (lambda v: (v / "saved_model.pb").unlink(), "must exist"),
        (lambda v: (v / "saved_model.cpb").write_bytes(b"x"), "does not name it"),
        (lambda v: (v / "variables/more").write_bytes(b"x"), "does not name it"),
        (lambda v: (v / "assets").symlink_to(v / "variables"), "does not name it"),
        (lambda v: os.mkfifo(v / "saved_model.cpb"), "does not name it"),
        (lambda v: (v.parents[1] / "manifest.json").unlink(), "must be an export folder"),
        (lambda v: (v.parents[1] / "manifest.json").write_text("{"), "no JSON"),
        (lambda v: (v.parents[1] / "manifest.json").write_text("[]"), "no object with files"),
        (lambda v: (v.parents[1] / "manifest.json").write_text('{"files": {}}'), "in a manifest"),
    ],
)
def test_anything_else_is_refused(
    tmp_path: Path, change: Callable[[Path], object], told: str
) -> None:
    """And the message says which file, and what is wrong with it."""
    export = write_export(tmp_path / "words")
    change(export / "serving" / "1")
    with pytest.raises(ValueError, match=told):
        check(export, 1)
