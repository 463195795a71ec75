"""What the doctor is shown: any file, whole or not, and our own exports."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from rnnapp.exporting.doctor import Finding, diagnose
from rnnapp.exporting.doctor.checks import CHECKS
from rnnapp.exporting.runtimes import RUNTIMES

from . import keras_faults, saved_model_faults, tflite_faults
from .tables import dense, recurrent

TABLES = (keras_faults.FAULTS, saved_model_faults.FAULTS, tflite_faults.FAULTS)


def test_every_check_has_its_planted_fault() -> None:
    """A check that nothing trips may be dead; and a code stands for one thing in a kind of file."""
    for checks, faults in zip(CHECKS.values(), TABLES, strict=True):
        codes = [check.code for check in checks]
        assert len(codes) == len(set(codes))
        assert set(codes) == {name.partition("/")[0] for name in faults}


def test_checks_name_runtimes_that_there_are() -> None:
    """By any other name a check would never be left out."""
    named = {name for checks in CHECKS.values() for check in checks for name in check.runtimes}
    assert named <= set(RUNTIMES)


def test_our_own_exports_are_left_in_peace(exported: Path) -> None:
    """In every format: whoever writes files should know what is wrong with them."""
    graphs = [path.parent for path in exported.rglob("saved_model.pb")]
    models = [*graphs, *exported.rglob("*.tflite"), *exported.rglob("*.keras")]
    assert len(models) >= 5
    assert {path: findings for path in models if (findings := diagnose(path))} == {}


def test_errors_come_first(tmp_path: Path) -> None:
    """They are what a reader looks for."""
    tables = dense(kind="INT64", open=[-1, 4], activation="BeamSearch")
    severities = [finding.severity for finding in diagnose(tables.write(tmp_path))]
    assert severities == ["error", "warning", "warning"]


def test_a_finding_does_not_change(tmp_path: Path) -> None:
    """It is a record of what was seen."""
    finding = diagnose(recurrent().write(tmp_path))[0]
    assert isinstance(finding, Finding)
    with pytest.raises(FrozenInstanceError):
        finding.code = "other"  # type: ignore[misc]


def _zip(folder: Path, **members: str) -> Path:
    path = folder / "bad.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


def _written(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _cut(builder: Callable[[Path], Path], place: str = "") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = builder(folder)
        victim = path / place
        victim.write_bytes(victim.read_bytes()[:-40])
        return path

    return write


def _of_models(folder: Path) -> Path:
    (folder / "export" / "device").mkdir(parents=True)
    dense().write(folder / "export" / "device")
    return folder / "export"


BAD = {
    "nothing": (lambda folder: folder / "nowhere.tflite", "Received: no such path"),
    "empty": (_written("bad.tflite", b""), "Received: an empty file"),
    "text": (_written("bad.tflite", b"Dear Sir,"), "Received: b'Dear Sir'"),
    "hdf5": (_written("bad.h5", b"\x89HDF\r\n\x1a\n"), "HDF5 file of Keras 2.*save it as .keras"),
    "folder": (lambda folder: folder, "Received: a folder without models"),
    "folder of models": (_of_models, r"pass one of .*device/model\.tflite"),
    "cut tflite": (_cut(lambda folder: dense().write(folder)), "is cut short at"),
    "tflite of noise": (_written("bad.tflite", b"\x20\0\0\0TFL3" + b"\x07" * 99), "bad.tflite"),
    "notes": (
        lambda folder: _with_notes(dense().write(folder)),
        r"model\.tflite: rnnapp\.json must be JSON",
    ),
    "cut keras": (_cut(keras_faults.sound), "is damaged"),
    "other zip": (lambda folder: _zip(folder, readme__txt="hello"), r"a zip with readme\.txt"),
    "no json": (lambda folder: _zip(folder, config__json="{"), r"config\.json must be JSON"),
    "other json": (lambda folder: _zip(folder, config__json="[1]"), r"bad\.keras is damaged, or"),
    "broken weights": (
        lambda folder: _zip(folder, config__json="{}", model__weights__h5="?"),
        r"model\.weights\.h5 is damaged",
    ),
    "saved model of noise": (_written("1/saved_model.pb", b"\x08\x01\x12\xff"), "saved_model.pb"),
    "empty saved model": (_written("1/saved_model.pb", b""), "must hold a graph"),
    "cut variables": (
        _cut(saved_model_faults.dense(), "variables/variables.data-00000-of-00001"),
        "variables is damaged",
    ),
    "cut index": (
        _cut(saved_model_faults.dense(), "variables/variables.index"),
        "variables is damaged",
    ),
}


def _with_notes(path: Path) -> Path:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("rnnapp.json", "{")
    return path


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str, tmp_path: Path) -> None:
    """With the file, and with what it should be."""
    build, message = BAD[name]
    path = build(tmp_path)
    with pytest.raises(ValueError, match=f"(?s){message}") as raised:
        diagnose(path)
    assert str(path) in str(raised.value) or path.name in str(raised.value)


def test_a_graph_stands_for_its_folder(tmp_path: Path) -> None:
    """That is the file one sees in a SavedModel."""
    path = saved_model_faults.FAULTS["batchless-outputs/scalar"](tmp_path)
    assert diagnose(path / "saved_model.pb") == diagnose(path)


def test_damage_anywhere_is_an_error_or_seen(tmp_path: Path) -> None:
    """Three bytes of a file, wherever they lie: no crash, and nothing but our own errors."""
    generator, path = random.Random(0), tmp_path / "model.tflite"
    whole = recurrent().content()
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[generator.randrange(8, len(whole))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            json.dumps([finding.reason for finding in diagnose(path)])
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert 0 < refused < 60


def test_the_file_is_only_read(tmp_path: Path) -> None:
    """Not a byte of it changes, and nothing appears beside it."""
    path = saved_model_faults.FAULTS["random-operators/dropout"](tmp_path)
    kept = shutil.copytree(path, tmp_path / "kept")
    diagnose(path)
    listed = [
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        for root in (path, kept)
    ]
    assert listed[0] == listed[1]
