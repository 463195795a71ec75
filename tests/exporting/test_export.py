"""An export is there whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from rnnapp import FORMATS, Run, export, verify
from rnnapp.exporting import export as exporting
from rnnapp.exporting.export import NEEDED
from rnnapp.exporting.formats import Source
from rnnapp.manifests import read_manifest


def refuse(source: Source, folder: Path, names: list[str]) -> list[str]:
    """A writer that fails half-way."""
    (folder / "serving").mkdir()
    raise OSError(28, "No space left on device")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """SavedModels cannot be written."""
    broken = dataclasses.replace(FORMATS["saved_model"], write=refuse)
    monkeypatch.setitem(FORMATS, "saved_model", broken)


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.usefixtures("failing")
def test_a_failure_leaves_nothing(finished: Run, tmp_path: Path) -> None:
    """Neither half an export nor the scratch folder, into which it would have grown."""
    with pytest.raises(OSError, match="No space left"):
        export(finished, tmp_path / "export", formats=["saved_model"])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("failing")
def test_a_failure_spares_the_export_before(finished: Run, exported: Path, tmp_path: Path) -> None:
    """Whoever serves from that folder goes on serving."""
    folder = shutil.copytree(exported, tmp_path / "export")
    before = contents(folder)
    with pytest.raises(OSError, match="No space left"):
        export(finished, folder, formats=["saved_model"], overwrite=True)
    assert [folder] == list(tmp_path.iterdir())
    assert contents(folder) == before


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_failure_of_the_last_rename_spares_the_export_before(
    error: BaseException,
    finished: Run,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the two renames, the old export has left its place."""
    folder = shutil.copytree(exported, tmp_path / "export")
    before, rename = contents(folder), Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == folder and not list(self.iterdir()):  # the new export, which is empty here
            raise error
        return rename(self, target)

    monkeypatch.setattr(exporting, "write", lambda run, new, *rest: new.mkdir())
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(type(error)):
        export(finished, folder, overwrite=True)
    assert contents(folder) == before


def test_an_export_is_replaced_when_asked(
    finished: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by accident; and nothing of the old one stays."""

    def write(run: Run, new: Path, *rest: object) -> None:
        new.mkdir()
        (new / "manifest.json").write_text("{}")

    folder = shutil.copytree(exported, tmp_path / "export")
    monkeypatch.setattr(exporting, "write", write)
    with pytest.raises(ValueError, match="export must not exist yet. Replace it by --overwrite"):
        export(finished, folder)
    assert export(finished, folder, overwrite=True) == folder
    assert contents(folder) == {Path("manifest.json"): b"{}"}
    assert list(tmp_path.iterdir()) == [folder]


def test_only_an_export_is_replaced(finished: Run, tmp_path: Path) -> None:
    """`--out ~ --overwrite` must not take a home for an export."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"must be an export folder.*without manifest\.json"):
        export(finished, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("key", [None, *sorted(NEEDED)])
def test_a_manifest_of_something_else_is_no_export(
    key: str | None, finished: Run, exported: Path, tmp_path: Path
) -> None:
    """Web pages and browser extensions have a `manifest.json`: neither run nor replaced."""
    manifest = {**read_manifest(exported), "name": "My page", "icons": []}
    kept = {name: value for name, value in manifest.items() if name != key} if key else [manifest]
    (tmp_path / "manifest.json").write_text(json.dumps(kept))
    (tmp_path / "index.html").write_text("years of work")
    before = contents(tmp_path)
    for use in (verify, lambda folder: export(finished, folder, overwrite=True)):
        with pytest.raises(ValueError, match=r"must be an export folder.*/manifest\.json.* files,"):
            use(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("size", [0, 1, 100, -2])
def test_a_damaged_manifest_is_named(size: int, exported: Path, tmp_path: Path) -> None:
    """A copy that broke off is found by its name, at whatever byte it did."""
    raw = (exported / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").write_bytes(raw[:size])
    with pytest.raises(ValueError, match=r"/manifest\.json, which is no JSON"):
        verify(tmp_path)


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_appears_during_an_export_stays(
    foreign: bool,
    overwrite: bool,
    finished: Run,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An export takes minutes; only an export goes, only when asked, and neither one is lost."""
    target = tmp_path / "export"

    def write(run: Run, new: Path, *rest: object) -> None:
        new.mkdir()
        (new / "new.txt").touch()
        shutil.copytree(exported, target)
        if foreign:
            (target / "manifest.json").write_text("{}")

    monkeypatch.setattr(exporting, "write", write)
    if overwrite and not foreign:
        assert set(contents(export(finished, target, overwrite=True))) == {Path("new.txt")}
        return
    with pytest.raises(OSError, match="The finished export is in ") as raised:
        export(finished, target, overwrite=overwrite)
    (kept,) = {*tmp_path.iterdir()} - {target}
    assert f"in {kept}:" in str(raised.value) and set(contents(kept)) == {Path("new.txt")}
    assert contents(target).keys() == contents(exported).keys()


def test_every_name_can_be_replaced(
    finished: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the old export waits to be deleted is no name that the new one may have."""
    monkeypatch.setattr(
        exporting, "write", lambda run, new, *rest: shutil.copytree(exported / "serving", new)
    )
    folder = shutil.copytree(exported, tmp_path / "replaced")
    export(finished, folder, overwrite=True)
    assert contents(folder) == contents(exported / "serving")


@pytest.mark.parametrize("loss", [1, 1.5, -0.01, float("nan"), float("inf")])
def test_a_share_is_checked_first(loss: float, tmp_path: Path) -> None:
    """One meant as one percent lets everything through; others refuse all, after minutes."""
    with pytest.raises(ValueError, match=rf"from 0 to less than 1.*max_quality_loss={loss}$"):
        export(tmp_path / "no run", tmp_path / "export", max_quality_loss=loss)


@pytest.mark.parametrize("size", [0, 2, 100, -1])
def test_damaged_sequences_are_named(size: int, copied: Path, tmp_path: Path) -> None:
    """By the file that is to be replaced: the run's own, which outlives a failed export."""
    path = copied / "replay.npz"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=re.escape(f"{path} must hold sequences, lengths")):
        export(copied, tmp_path / "export", formats=["saved_model"])


def test_other_arrays_are_no_sequences(copied: Path, tmp_path: Path) -> None:
    """What is missing is named, with its file."""
    path = copied / "replay.npz"
    np.savez(path, sequences=np.zeros((2, 3)), lengths=np.ones(2))
    with pytest.raises(ValueError, match=re.escape(f"{path} must hold") + ".*targets is not"):
        export(copied, tmp_path / "export", formats=["saved_model"])


def test_wrong_use_is_named(finished: Run, copied: Path, tmp_path: Path) -> None:
    """Names of formats, folders without a run or an export, and runs without a model."""
    valid = ", ".join(FORMATS)
    with pytest.raises(ValueError, match=f"no format 'tflite'. Valid names: all, {valid}"):
        export(finished, tmp_path / "export", formats=["tflite"])
    with pytest.raises(ValueError, match="`formats` must name at least one format"):
        export(finished, tmp_path / "export", formats=[])
    with pytest.raises(ValueError, match="must be a run folder"):
        export(tmp_path, tmp_path / "export")
    with pytest.raises(ValueError, match="must be an export folder"):
        verify(tmp_path)
    (copied / "model.keras").unlink()
    with pytest.raises(ValueError, match="rnnapp train speech_commands --out .*--resume"):
        export(copied, tmp_path / "export")
    assert not (tmp_path / "export").exists()


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(finished.folder, tmp_path / "run")


def test_a_name_is_taken_from_the_run(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rnnapp export runs/mine` writes `exported/mine`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exporting, "write", lambda run, new, *rest: new.mkdir())
    assert export(finished) == Path("exported") / finished.folder.name
    assert (tmp_path / "exported" / finished.folder.name).is_dir()
