"""Runtimes in environments of their own: made whole or not at all, and asked over a pipe."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rnnapp
from rnnapp import device, verify
from rnnapp.exporting import environments
from rnnapp.exporting.environments import (
    MEDIAPIPE,
    TFLITE_RUNTIME,
    Environment,
    InstallError,
    install_all,
)
from rnnapp.exporting.runtimes import RUNTIMES


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python's LiteRT in the place of tflite-runtime: the same talk, without installing."""
    monkeypatch.setattr(Environment, "python", property(lambda self: Path(sys.executable)))
    monkeypatch.setattr(environments, "TFLITE_RUNTIME", Environment("ai_edge_litert", "0", ()))


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the place of a Python; it says that there is no memory, and ends."""

    def put(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\necho out of memory >&2\n")
        path.chmod(0o755)
        monkeypatch.setattr(Environment, "python", property(lambda self: path))

    return put


@pytest.mark.usefixtures("here")
def test_a_file_in_another_process_answers_alike(exported: Path) -> None:
    """Names, shapes and bits cross the pipe; a refused call leaves the process alive."""
    path = exported / "device" / "float.tflite"
    near, generator = device.load(path), np.random.default_rng(0)
    with environments.tflite_runtime(path) as far:
        assert far.signatures == near.signatures
        for signature in near.signatures:
            assert far.inputs(signature) == near.inputs(signature)
            assert far.outputs(signature) == near.outputs(signature)
            inputs = {
                name: generator.uniform(-1, 1, info.shape).astype(info.dtype)
                for name, info in near.inputs(signature).items()
            }
            theirs = far.run(signature, **inputs)
            for name, value in near.run(signature, **inputs).items():
                np.testing.assert_array_equal(theirs[name], value, err_msg=name)
            with pytest.raises(RuntimeError, match="(?i)input"):
                far.run(signature, nothing=np.zeros(1, np.float32))


@pytest.mark.usefixtures("here")
def test_a_process_that_ends_says_why(tmp_path: Path) -> None:
    """Its last words, not a pipe that broke."""
    (tmp_path / "model.tflite").write_bytes(b"nonsense")
    with (
        pytest.raises(RuntimeError, match="(?s)ended. Its last words.*must be a TFLite file"),
        environments.tflite_runtime(tmp_path / "model.tflite"),
    ):
        pass


@pytest.mark.usefixtures("here")
def test_a_process_that_ends_amid_a_call_says_why(
    exported: Path, dying: Callable[[str], None]
) -> None:
    """A call that is larger than a pipe breaks it; half an answer is none."""
    waveform, path = np.zeros(100_000, np.float32), exported / "device" / "float.tflite"
    dying(f'{sys.executable} "$@" < /dev/null')  # describes the file, and has no more to do
    with (
        environments.tflite_runtime(path) as far,
        pytest.raises(RuntimeError, match="ended. Its last words: out of memory"),
    ):
        far.run("predict", waveform=waveform)
    for script in ("", "head -c 400000 > /dev/null; printf half."):
        dying(script)
        with (
            environments.mediapipe(exported / "device" / "mediapipe.tflite") as far,
            pytest.raises(RuntimeError, match="ended. Its last words: out of memory"),
        ):
            far.run("predict", waveform=waveform)


@pytest.mark.usefixtures("here")
def test_a_process_takes_only_rnnapp_from_here(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rnnapp is installed, other packages lie beside it, of versions for another Python."""
    package = Path(rnnapp.__file__).parent
    shutil.copytree(package / "device", tmp_path / "rnnapp" / "device")
    shutil.copy(package / "__init__.py", tmp_path / "rnnapp")
    (tmp_path / "numpy.py").write_text("raise ImportError('a numpy for another Python')")
    monkeypatch.setattr(environments, "_PACKAGE", tmp_path / "rnnapp")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with environments.tflite_runtime(exported / "device" / "float.tflite") as far:
        assert "predict" in far.signatures


@pytest.mark.usefixtures("here")
def test_no_other_runtime_answers_in_its_name(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What LiteRT has answered is no proof of another runtime."""
    monkeypatch.setattr(environments, "TFLITE_RUNTIME", Environment("no_such_runtime", "0", ()))
    path = exported / "device" / "float.tflite"
    with (
        pytest.raises(RuntimeError, match=r"no_such_runtime\.interpreter must be installed"),
        environments.tflite_runtime(path),
    ):
        pass


@pytest.mark.usefixtures("here")
def test_versions_are_asked_of_the_runtimes() -> None:
    """A certificate names what has run, not what was to be installed."""
    assert Environment("numpy", "0.0", ()).version == np.__version__
    assert re.search(r"\w+ .*\d+\.\d+", RUNTIMES["c99"].version)  # the compiler's
    assert re.search(r"Chrom.* \d+\.\d+", RUNTIMES["chromium"].version)  # not Playwright's


def test_an_older_pin_is_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old environment would be certified under the new number."""
    monkeypatch.setenv("RNNAPP_HOME", str(tmp_path))
    old, new = Environment("runtime", "1.0", ()), Environment("runtime", "2.0", ())
    old.python.parent.mkdir(parents=True)
    old.python.touch()
    assert old.absence is None and new.absence


def test_a_failed_installation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an environment would be taken for a whole one."""
    monkeypatch.setenv("RNNAPP_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    broken = Environment("broken", "1.0", (sys.version_info.minor,))
    assert "--install-runtimes" in str(broken.absence)
    with pytest.raises(InstallError, match=r"pip install -q broken==1\.0` failed"):
        broken.install()
    assert not list((tmp_path / "runtimes").iterdir())
    with pytest.raises(InstallError, match=r"ancient needs Python 3\.2: put one on the PATH"):
        Environment("ancient", "1.0", (2,)).install()


@pytest.mark.slow
def test_old_runtimes_agree_as_well(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tflite-runtime 2.14 with numpy 1, and MediaPipe: every file that is for them."""
    monkeypatch.setenv("RNNAPP_HOME", str(tmp_path))
    install_all(lambda done, total: None)
    assert TFLITE_RUNTIME.absence is MEDIAPIPE.absence is None
    certificate = verify(exported)
    assert certificate["passed"]
    ran = {(check["format"], check["runtime"]) for check in certificate["checks"]}
    assert ("mediapipe", "mediapipe") in ran
    files = ("tflite_float", "tflite_dynamic", "tflite_float16")
    assert {(name, "tflite_runtime") for name in files} <= ran
