"""A run goes on with what it was begun with, from anywhere, or says what has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnapp import Run, train, training
from rnnapp.runs import absolute

from .conftest import TINY
from .test_training import Killed


@pytest.fixture
def own_tones(tones: Path, tmp_path: Path) -> Path:
    """A copy of the tones, to be changed."""
    return shutil.copytree(tones, tmp_path / "tones")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Begins or resumes a run in `tmp_path / "run"`, which is killed before its first step."""

    def kill(*_: Any) -> None:
        raise Killed

    def begin(task: str = "speech_commands", data: Path | str | None = None, **given: Any) -> None:
        with pytest.raises(Killed):
            train(task, data, tmp_path / "run", **given)

    monkeypatch.setattr(training, "_fit", kill)
    return begin


@pytest.mark.parametrize("wrong", ["model", "data"])
def test_what_cannot_be_trained_is_no_run(
    own_tones: Path, start: Callable[..., None], tmp_path: Path, wrong: str
) -> None:
    """After mending the model or the data, the same command must do."""
    validation = own_tones / "validation_list.txt"
    names = validation.read_text()
    if wrong == "data":
        validation.write_text("")
    settings = [*TINY, "pooling=attention", f"num_heads={5 if wrong == 'model' else 4}"]
    message = "num_heads" if wrong == "model" else "The validation split must not be empty"
    with pytest.raises(ValueError, match=message):
        train("speech_commands", own_tones, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()
    validation.write_text(names)
    start(data=own_tones, settings=[*settings, "num_heads=4"])


def test_a_run_goes_on_from_anywhere(
    own_tones: Path, start: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data named from one directory are found from another; to repeat what was given is no harm."""
    monkeypatch.chdir(tmp_path)
    start(data="tones", settings=TINY)
    assert Run.open("run").spec.data == str(own_tones.resolve())
    start(data="tones", settings=["units=12", TINY[0]], resume=True)
    monkeypatch.chdir("/")
    start(resume=True)


def test_every_name_in_a_list_becomes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a comma is one folder; what is no path stays a name."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c,d"):
        Path(name).mkdir()
    home = str(tmp_path.resolve())
    assert absolute("a, b,tfds:x/y") == f"{home}/a,{home}/b,tfds:x/y"
    assert absolute("c,d") == f"{home}/c,d"
    assert absolute(Path("b")) == f"{home}/b" and absolute("none") == "none"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "nonsense"}, "`task` must be 'speech_commands', with which .*run was begun"),
        ({"data": "/no/such/folder"}, "`data` must be '.*tones', with which .*run was begun"),
        ({"settings": ["units=12", "epochs=7"]}, r"`settings` must be .*\['epochs=7'\]"),
    ],
)
def test_a_resumed_run_is_the_one_that_was_asked_for(
    tones: Path, start: Callable[..., None], tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    """To ignore what was given would pass an old run off for a new one."""
    start(data=tones, settings=TINY)
    with pytest.raises(ValueError, match=message):
        train(**{"task": "speech_commands", "out": tmp_path / "run", "resume": True, **given})


def test_settings_that_undo_a_preset_s_are_those_of_the_run(
    tones: Path, start: Callable[..., None], tmp_path: Path
) -> None:
    """Given again as they were, they say the same as a whole, if not one by one."""
    settings = ["preset=crnn", *TINY, "epochs=9", "epochs=2"]
    start(data=tones, settings=settings)
    run = Run.open(tmp_path / "run")
    training._require_as_begun(run, "speech_commands", None, settings)
    with pytest.raises(ValueError, match=r"`settings` must be .*\['preset=crnn'.*'epochs=9'\]"):
        training._require_as_begun(run, "speech_commands", None, settings[:-1])


def remove(data: Path) -> None:
    """Takes a clip away."""
    (data / "high" / "train3_nohash_0.wav").unlink()


def add(data: Path) -> None:
    """Brings a clip of a new speaker."""
    shutil.copy(data / "high" / "train3_nohash_0.wav", data / "high" / "new_nohash_0.wav")


def relist(data: Path) -> None:
    """Moves a clip into another split."""
    with (data / "testing_list.txt").open("a") as file:
        file.write("\nhigh/train3_nohash_0.wav")


def rename(data: Path) -> None:
    """Gives a class another name."""
    (data / "testing_list.txt").unlink()
    (data / "validation_list.txt").unlink()
    (data / "low").rename(data / "lower")


@pytest.mark.filterwarnings("ignore:.*bad inputs were skipped")  # of the class nobody knows
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, r"1 missing, for one .*train3_nohash_0\.wav,high"),
        (add, r"1 added, for one .*new_nohash_0\.wav,high"),
        (relist, r"1 added, for one .*,test,.*; 1 missing, for one .*,train,"),
        (rename, r"\d+ missing, for one"),
    ],
)
def test_a_run_does_not_go_on_with_other_data(
    own_tones: Path,
    start: Callable[..., None],
    tmp_path: Path,
    change: Callable[[Path], None],
    message: str,
) -> None:
    """Other clips lead to other weights, and other labels to wrong ones."""
    start(data=own_tones, settings=TINY)
    kept = {path: path.read_bytes() for path in (tmp_path / "run" / "pipeline").iterdir()}
    change(own_tones)
    with pytest.raises(ValueError, match=f"must hold the examples .*run was begun.*{message}"):
        train("speech_commands", out=tmp_path / "run", resume=True)
    assert {path: path.read_bytes() for path in kept} == kept
