"""A written C program on this machine: compiled, loaded, and run as any other artefact."""

from __future__ import annotations

import ctypes
import json
import math
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rnnapp.device import TensorInfo
from rnnapp.device.stepper import NEXT

INTERFACE = "model.json"

_COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-std=c99", "-O3", "-shared", "-fPIC")
_TIMEOUT_SECONDS = 300


class CompilationError(RuntimeError):
    """The C compiler refuses the sources; the message has its first words."""


def missing() -> str | None:
    """Why C cannot be compiled on this machine; None if it can."""
    if _compiler() is None:
        return "no C compiler: install gcc or clang, or name one by CC"
    return None


def compiler_version() -> str:
    """What the C compiler says of itself: name and version, in a line."""
    asked = [*(_compiler() or _COMPILERS[:1]), "--version"]
    said = subprocess.run(asked, capture_output=True, text=True, errors="replace").stdout
    return said.partition("\n")[0] or "unknown"


def _compiler() -> list[str] | None:
    """The command of the C compiler, which CC may name, with arguments if need be."""
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [[name] for name in _COMPILERS]:
        if shutil.which(command[0]):
            return command
    return None


@contextmanager
def load(folder: Path, program: str = "model") -> Iterator[Step]:
    """Compiles a folder of sources, and loads what comes of it.

    Args:
        folder: As `write` or `write_front` made it.
        program: "model", or "front" for a front end alone.

    Yields:
        The program, with the signature `step`.

    Raises:
        FileNotFoundError: If the folder holds no such sources.
        CompilationError: If there is no compiler, or it refuses them.
    """
    interface = json.loads((folder / f"{program}.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / f"{program}.so"
        _compile([folder / name for name in (f"{program}.c", "rnn.c")], library)
        yield Step(str(folder), ctypes.CDLL(str(library)), interface)


def _compile(sources: list[Path], library: Path) -> None:
    compiler = _compiler()
    if compiler is None:
        raise CompilationError(f"{sources[0]} cannot be compiled: {missing()}")
    program, *own = compiler  # its own arguments come last, and win
    command = [program, *_FLAGS, *own, *map(str, sources), "-o", str(library), "-lm"]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS
    )
    if done.returncode:
        raise CompilationError(
            f"`{shlex.join(command)}` failed. It said: {done.stderr.strip()[:1500]}"
        )


class Step:
    """A compiled step.

    Args:
        name: What errors call it.
        library: The shared library.
        interface: What its JSON file says: of the outputs, the last one is what the function
            fills, and those before lie in its struct, behind the states.
    """

    def __init__(self, name: str, library: ctypes.CDLL, interface: dict) -> None:
        self.name, self.signatures = name, ["step"]
        self._function = library[interface["function"]]
        dtypes = (np.float32, interface["input_dtype"], np.float32)
        self._function.argtypes = [np.ctypeslib.ndpointer(dtype, flags="C") for dtype in dtypes]
        self._function.restype = None
        self._floats = interface["state_bytes"] // 4
        self._inputs, self._outputs = (
            {name: tuple(shape) for name, shape in interface[part].items()}
            for part in ("inputs", "outputs")
        )
        self._data, *self._states = self._inputs
        self._dtypes = {self._data: np.dtype(interface["input_dtype"])}
        *self._kept, self._filled = self._outputs

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the inputs of the step: new input, then the states."""
        self._check(signature)
        return self._infos(self._inputs)

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the outputs of the step: the answers, then the new states."""
        self._check(signature)
        following = {NEXT + name: self._inputs[name] for name in self._states}
        return self._infos({**self._outputs, **following})

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs one step.

        Args:
            signature: "step".
            **inputs: Values by name, as `inputs` describes them.

        Returns:
            float32 values of each output, by name.

        Raises:
            ValueError: There is no such signature, or the inputs are not the signature's.
        """
        self._check(signature)
        shapes = {name: np.shape(value) for name, value in inputs.items()}
        if shapes != self._inputs:
            raise ValueError(f"The inputs must be {self._inputs}. Received: {shapes}")
        # The struct: the states in their order, outputs that it keeps, and room to work in.
        struct = np.zeros(self._floats, np.float32)
        held = [self._inputs[name] for name in self._states]
        held += [self._outputs[name] for name in self._kept]
        places = np.split(struct, np.cumsum([math.prod(shape) for shape in held]))
        views = [place.reshape(shape) for place, shape in zip(places, held, strict=False)]
        for name, view in zip(self._states, views, strict=False):
            view[:] = inputs[name]
        filled = np.zeros(self._outputs[self._filled], np.float32)
        new = np.ascontiguousarray(inputs[self._data], self._dtypes[self._data])
        self._function(struct, new, filled)
        names = [*(NEXT + name for name in self._states), *self._kept]
        return {self._filled: filled, **dict(zip(names, views, strict=True))}

    def _check(self, signature: str) -> None:
        if signature not in self.signatures:
            raise ValueError(f"{self.name} must have the signature `{signature}`. It has: step")

    def _infos(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(name, shape, self._dtypes.get(name, np.dtype(np.float32)))
            for name, shape in shapes.items()
        }
