"""The runner stands on numpy and a runtime alone, on old Pythons too."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rnnapp.device

from .conftest import melody
from .test_audio import write_wave

PACKAGE = Path(rnnapp.device.__file__).parent
CHECKOUT = PACKAGE.parents[1]


def test_import_loads_nothing_heavy() -> None:
    """Half a second on a laptop is ten on a small board."""
    code = "import json, sys, rnnapp.device; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "numpy" in loaded
    heavy = {"tensorflow", "keras", "scipy", "pandas", "soundfile", "ai_edge_litert", "typer"}
    assert not loaded & heavy


@pytest.mark.parametrize(
    "path",
    [PACKAGE.parent / "__init__.py", *sorted(PACKAGE.glob("*.py"))],
    ids=lambda path: path.name,
)
def test_sources_suit_python_3_9(path: Path) -> None:
    """tflite-runtime devices often have an old Python."""
    source = path.read_text("utf-8")
    ast.parse(source, feature_version=(3, 9))
    assert "from __future__ import annotations" in source


def old_python() -> str:
    """A Python that tflite-runtime 2.14 has wheels for."""
    if sys.version_info < (3, 12):
        return sys.executable
    found = shutil.which("python3.11") or shutil.which("python3.10") or shutil.which("python3.9")
    assert found, "tflite-runtime 2.14 needs Python 3.9 to 3.11: put one on the PATH"
    return found


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with tflite-runtime 2.14 and numpy 1, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([old_python(), "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "tflite-runtime==2.14.0", "numpy<2"]
    subprocess.run(install, check=True)
    return python


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a device needs of rnnapp, as the README has it copied."""
    folder = tmp_path_factory.mktemp("lamp")
    shutil.copytree(PACKAGE, folder / "rnnapp" / "device")
    shutil.copy(PACKAGE.parent / "__init__.py", folder / "rnnapp")
    return folder


def listen(
    python: Path, model: Path, recording: Path, folder: Path = CHECKOUT
) -> list[dict[str, object]]:
    """Events that the command of the rnnapp in `folder` prints under some Python."""
    done = subprocess.run(
        [str(python), "-m", "rnnapp.device", str(model), "--wav", str(recording), "--json"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=recording.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_old_runtime_hears_the_same(
    bare_python: Path, alone: Path, tones_path: Path, dynamic_path: Path, tmp_path: Path
) -> None:
    """tflite-runtime 2.14 with numpy 1, without TensorFlow or our other files: the same events."""
    absent = subprocess.run(
        [str(bare_python), "-c", "import tensorflow"], capture_output=True, text=True
    )
    assert "No module named 'tensorflow'" in absent.stderr
    recording = tmp_path / "melody.wav"
    write_wave(recording, melody(44_100)[:, None], 2, rate=44_100)
    for model in (tones_path, dynamic_path):
        here = listen(Path(sys.executable), model, recording)
        there = listen(bare_python, model, recording, alone)
        assert [event["label"] for event in here] == ["mid", "low", "top"]
        for ours, theirs in zip(here, there, strict=True):
            assert ours["label"] == theirs["label"]
            # here soxr resamples, there the own filter: a crossing may move by one step of 10 ms
            assert theirs["time_s"] == pytest.approx(ours["time_s"], abs=0.0101)
