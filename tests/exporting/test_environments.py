"""Runtimes in environments of their own: made whole or not at all, and asked over a pipe."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from rnnapp import device, verify
from rnnapp.exporting import environments
from rnnapp.exporting.environments import (
    MEDIAPIPE,
    TFLITE_RUNTIME,
    Environment,
    InstallError,
    install_all,
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python in the place of tflite-runtime's: the same conversation, without installing."""
    monkeypatch.setattr(Environment, "python", property(lambda self: Path(sys.executable)))


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


def test_a_failed_installation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an environment would be taken for a whole one."""
    monkeypatch.setenv("RNNAPP_HOME", str(tmp_path))
    broken = Environment("broken", ("/no/such/wheel.whl",), (sys.version_info.minor,))
    assert "--install-runtimes" in str(broken.absence)
    with pytest.raises(InstallError, match=r"pip install -q /no/such/wheel\.whl` failed"):
        broken.install()
    assert not list((tmp_path / "runtimes").iterdir())
    with pytest.raises(InstallError, match=r"ancient needs Python 3\.2: put one on the PATH"):
        Environment("ancient", (), (2,)).install()


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
