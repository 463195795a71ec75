"""The main job, from nothing to a certificate."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import rnnapp
from rnnapp import Run, verify
from rnnapp.keeper import Keeper
from rnnapp.tasks import speech_commands

# Enough to go all the way; what comes out is not much of a listener.
SMALL = ("units=8", "num_layers=1", "epochs=2", "batch_size=32", "minutes=1")


class Killed(BaseException):
    """What a kill is to the code that it hits."""


@pytest.mark.slow
def test_quickstart_goes_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed on the way and called again, offline: voices, run, figures, export, certificate."""
    home = importlib.import_module(rnnapp._HOMES["quickstart"])
    monkeypatch.setattr(speech_commands, "DEFAULT_CLIPS_PER_WORD", 20)
    out = tmp_path / "quick start"

    def kill(self: Any, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            raise Killed
        begin(self, epoch, logs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        begin = Keeper.on_epoch_begin
        patch.setattr(Keeper, "on_epoch_begin", kill)
        home.quickstart(out, settings=SMALL)
    result = home.quickstart(out, settings=SMALL)
    run = Run.open(out / "run")
    assert run.metrics()["training"]["epochs"] == 2
    assert run.spec.model.units == 8
    assert {"accuracy", "test_misses"} <= set(result["evaluation"])
    assert result["certificate"]["passed"]
    assert {check["format"] for check in result["certificate"]["checks"]} == set(home._FORMATS)
    assert json.loads(json.dumps(result)) == result
    for part in ("voices", "run", "export"):
        assert str(out / part) in result["summary"]
    assert verify(out / "export")["passed"]


def test_other_settings_are_not_dropped(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that goes on must not answer for a model that was never trained."""
    home = importlib.import_module(rnnapp._HOMES["quickstart"])
    silent = dataclasses.replace(home.TASK, default_data=lambda folder, report: None)
    monkeypatch.setattr(home, "TASK", silent)
    shutil.copytree(finished.folder, tmp_path / "run")
    spec = dataclasses.replace(finished.spec, data=str((tmp_path / "voices").resolve()))
    Run(tmp_path / "run", spec).write_spec()
    with pytest.raises(ValueError, match=r"`settings` must be those with which .*'units=3'"):
        home.quickstart(tmp_path, settings=["units=3"])
