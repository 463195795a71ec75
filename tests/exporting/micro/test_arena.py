"""The memory that a model needs is found by trying, and no trial takes its caller along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rnnapp.exporting import flatbuffer
from rnnapp.exporting.micro import arena
from rnnapp.exporting.micro.interpreter import UnsupportedModelError
from rnnapp.exporting.micro.trial import GRAIN

from .conftest import NO_FRONT, body, integers

# A fresh process, which may crash.
STEP = "import pathlib, sys; from rnnapp.exporting.micro import trial; "
STEP += "trial.step(pathlib.Path(sys.argv[1]).read_bytes(), int(sys.argv[2]))"


def test_the_smallest_is_enough_and_less_is_not(tmp_path: Path) -> None:
    """What a header says is what a device must have, and no more."""
    path = tmp_path / "step.tflite"
    path.write_bytes(body(integers(NO_FRONT), 8))
    found = arena.measured(path)
    assert found % GRAIN == 0
    for size, enough in ((found, True), (found - GRAIN, False)):
        command = [sys.executable, "-c", STEP, str(path), str(size)]
        assert (subprocess.run(command, capture_output=True).returncode == 0) == enough


def test_what_lacks_an_operator_is_refused_by_its_name(tmp_path: Path) -> None:
    """In one line, for a list of what was left out."""
    path = tmp_path / "front.tflite"
    path.write_bytes(integers("log_mel").front_step)
    with pytest.raises(UnsupportedModelError, match="cannot run the model.*RFFT2D") as caught:
        arena.measured(path)
    assert "\n" not in str(caught.value)


def test_a_crash_becomes_an_error(tmp_path: Path) -> None:
    """A file that ends the runtime's process must not end an export."""
    path, model = tmp_path / "crash.tflite", flatbuffer.unpack(body(integers(NO_FRONT), 8))
    model.subgraphs[0].operators[0].inputs = [10**9]  # memory of nobody
    path.write_bytes(flatbuffer.pack(model, 1024))
    with pytest.raises(UnsupportedModelError, match="It ended with -"):
        arena.measured(path)
