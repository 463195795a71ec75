"""Runtimes that want versions of their own: each in a virtual environment, asked over a pipe."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from rnnapp import device
from rnnapp.device import TensorInfo, worker
from rnnapp.device.stepper import Runnable
from rnnapp.progress import Report
from rnnapp.runs import data_home

_PACKAGE = Path(device.__file__).parents[1]


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds one runtime.

    Args:
        package: The runtime's Python package.
        pin: The version of it that is installed.
        pythons: Minor versions of Python 3 that have wheels of it, the best first.
        others: What else pip installs.
    """

    package: str
    pin: str
    pythons: tuple[int, ...]
    others: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """Its interpreter; another pin has another one."""
        return data_home() / "runtimes" / f"{self.package}-{self.pin}" / "bin" / "python"

    @property
    def absence(self) -> str | None:
        """Why it cannot be used; None if it can."""
        if self.python.exists():
            return None
        return "not installed: `rnnapp verify EXPORT --install-runtimes`"

    @property
    def version(self) -> str:
        """The version of the package, as the environment says it.

        Raises:
            InstallError: If it does not know.
        """
        asked = f"from importlib import metadata; print(metadata.version({self.package!r}))"
        return _run([str(self.python), "-I", "-c", asked]).strip()

    def install(self) -> None:
        """Makes the environment, all of it or none.

        Raises:
            InstallError: If there is no Python for it, or pip fails.
        """
        target, wanted = self.python.parents[1], (f"{self.package}=={self.pin}", *self.others)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            _run([self._base(), "-m", "venv", str(made)])
            _run([str(made / "bin/python"), "-m", "pip", "install", "-q", *wanted])
            made.rename(target)  # its `bin/python` is a link, and nobody calls its scripts

    def _base(self) -> str:
        """A Python that has wheels of it."""
        if sys.version_info.minor in self.pythons:
            return sys.executable
        found = filter(None, (shutil.which(f"python3.{minor}") for minor in self.pythons))
        base = next(found, None)
        if base is None:
            wanted = " or ".join(f"3.{minor}" for minor in self.pythons)
            raise InstallError(f"{self.package} needs Python {wanted}: put one on the PATH")
        return base


class InstallError(RuntimeError):
    """A runtime could not be installed, for the reason in the message."""


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise InstallError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


TFLITE_RUNTIME = Environment("tflite_runtime", "2.14.0", (11, 10, 9), others=("numpy<2",))
MEDIAPIPE = Environment("mediapipe", "1.2.2", (11, 12, 10, 9))
ENVIRONMENTS = (TFLITE_RUNTIME, MEDIAPIPE)


def install_all(report: Report) -> None:
    """Makes the environments that are absent.

    Args:
        report: Told of progress.

    Raises:
        InstallError: If one cannot be made.
    """
    for done, environment in enumerate(ENVIRONMENTS):
        report(done, len(ENVIRONMENTS))
        if environment.absence:
            environment.install()
    report(len(ENVIRONMENTS), len(ENVIRONMENTS))


class _Worker:
    """A process that answers messages, with what it says on its standard error."""

    def __init__(
        self, command: Sequence[str | Path], complaints: IO[bytes], folder: str | None
    ) -> None:
        self._complaints = complaints
        self._process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=folder,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self.requests, self.answers = self._process.stdin, self._process.stdout

    def fail(self) -> NoReturn:
        """Raises with the process's last words."""
        self.close()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip()
        raise RuntimeError(f"{self._process.args} ended. Its last words: {said[-1000:]}")  # type: ignore[str-bytes-safe]

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self.requests.close()
        self.answers.close()
        self._process.wait()


@contextlib.contextmanager
def _working(command: Sequence[str | Path], folder: str | None = None) -> Iterator[_Worker]:
    with tempfile.TemporaryFile() as complaints:
        process = _Worker(command, complaints, folder)
        try:
            yield process
        finally:
            process.close()


class _Remote:
    """A .tflite file in another process."""

    def __init__(self, path: Path, process: _Worker) -> None:
        self.name, self._process = str(path), process
        described = json.loads(str(self._receive()["description"]))
        self.signatures = list(described)
        self._infos = {
            signature: [{info[0]: _info(*info) for info in infos} for infos in both]
            for signature, both in described.items()
        }

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's inputs."""
        return dict(self._infos[signature][0])

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's outputs."""
        return dict(self._infos[signature][1])

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature.

        Raises:
            RuntimeError: If the runtime fails, with its reason.
        """
        with contextlib.suppress(BrokenPipeError):  # its reason comes in place of the answer
            worker.send(self._process.requests, {"signature": signature, **inputs})
        outputs = self._receive()
        if "error" in outputs:
            raise RuntimeError(str(outputs["error"]))
        return outputs

    def _receive(self) -> dict[str, np.ndarray]:
        received = worker.receive(self._process.answers)
        if received is None:
            self._process.fail()
        return received


def _info(name: str, shape: list[int], dtype: str, scale: float, zero_point: int) -> TensorInfo:
    return TensorInfo(name, tuple(shape), np.dtype(dtype), scale, zero_point)


@contextlib.contextmanager
def tflite_runtime(path: Path) -> Iterator[Runnable]:
    """Loads a .tflite file in tflite-runtime.

    Args:
        path: The file.

    Yields:
        The model, in a process of its own.

    Raises:
        RuntimeError: If the process ends, with its last words.
    """
    module = f"{TFLITE_RUNTIME.package}.interpreter"
    arguments: list[str | Path] = ["-Es", "-m", worker.__name__, path.resolve(), module]
    # `-m` imports from the folder it starts in. Where rnnapp itself stands, there may be packages
    # of other versions, which would come before the environment's own.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _PACKAGE.name).symlink_to(_PACKAGE)
        with _working([TFLITE_RUNTIME.python, *arguments], folder) as process:
            yield _Remote(path, process)


class _Classifier:
    """A .tflite file in MediaPipe's AudioClassifier."""

    def __init__(self, path: Path, process: _Worker) -> None:
        self.name, self.signatures, self._process = str(path), ["predict"], process
        model = device.load(path)
        self._inputs, self._outputs = model.inputs("predict"), model.outputs("predict")

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the waveform."""
        return dict(self._inputs)

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the probabilities."""
        return dict(self._outputs)

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Classifies a window.

        Raises:
            RuntimeError: If MediaPipe fails, with its reason.
        """
        (waveform,) = inputs.values()
        name, info = next(iter(self._outputs.items()))
        with contextlib.suppress(BrokenPipeError):  # its reason comes in place of the answer
            self._process.requests.write(np.ascontiguousarray(waveform, np.float32).tobytes())
            self._process.requests.flush()
        size = 4 * math.prod(info.shape)
        content = self._process.answers.read(size)
        if len(content) < size:
            self._process.fail()
        return {name: np.frombuffer(content, np.float32).reshape(info.shape)}


@contextlib.contextmanager
def mediapipe(path: Path) -> Iterator[Runnable]:
    """Loads a .tflite file in MediaPipe's AudioClassifier.

    Args:
        path: The file, with MediaPipe's metadata.

    Yields:
        The model, in a process of its own.

    Raises:
        RuntimeError: If the process ends, with its last words.
    """
    model = device.load(path)
    samples = next(iter(model.inputs("predict").values())).shape[-1]
    rate = device.description.settings(model)["sample_rate"]
    script = Path(__file__).with_name("mediapipe_worker.py")
    arguments: list[Any] = [MEDIAPIPE.python, "-I", script, path, samples, rate]
    with _working(arguments) as process:
        yield _Classifier(path, process)
