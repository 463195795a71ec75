"""TFLite files in LiteRT's CompiledModel, the successor of the Interpreter."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp import device
from rnnapp.device import TensorInfo
from rnnapp.device.stepper import Runnable

Buffers = tuple[dict[str, Any], dict[str, Any]]
"""Of a signature's inputs and of its outputs, by name."""


class _Compiled:
    """A compiled file; what it says of its tensors comes from the Interpreter."""

    def __init__(self, path: Path, compiled: Any) -> None:
        self._compiled, self._described = compiled, device.load(path)
        self.name, self.signatures = str(path), self._described.signatures
        self._made: dict[str, Buffers] = {}

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's inputs."""
        return self._described.inputs(signature)

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's outputs."""
        return self._described.outputs(signature)

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature."""
        given, made = self._buffers(signature)
        for name, buffer in given.items():
            buffer.write(np.ascontiguousarray(inputs[name]))
        self._compiled.run_by_name(signature, given, made)
        return {
            name: made[name].read(int(np.prod(info.shape)), info.dtype).reshape(info.shape)
            for name, info in self.outputs(signature).items()
        }

    def _buffers(self, signature: str) -> Buffers:
        """The buffers of a signature, made once."""
        if signature not in self._made:
            self._made[signature] = self._new_buffers(signature)
        return self._made[signature]

    def _new_buffers(self, signature: str) -> Buffers:
        with _unheard():
            given = {
                name: self._compiled.create_input_buffer_by_name(signature, name)
                for name in self.inputs(signature)
            }
            made = {
                name: self._compiled.create_output_buffer_by_name(signature, name)
                for name in self.outputs(signature)
            }
            for name, info in self.inputs(signature).items():  # the first one looks around, too
                given[name].write(np.zeros(info.shape, info.dtype))
        return given, made

    def close(self) -> None:
        """Frees the buffers, before the model that they belong to."""
        with _unheard():
            self._made.clear()
            self._compiled = None
            gc.collect()


@contextlib.contextmanager
def load(path: Path) -> Iterator[Runnable]:
    """Loads a .tflite file, to be run on the CPU.

    Args:
        path: The file.

    Yields:
        The model.

    Raises:
        RuntimeError: If LiteRT cannot load it, with its reason.
    """
    from ai_edge_litert.compiled_model import CompiledModel

    with _unheard():
        compiled = _Compiled(path, CompiledModel.from_file(str(path)))
    try:
        yield compiled
    finally:
        compiled.close()


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keeps what native code says off the terminal: a failure's reason goes into the error."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            yield
        except RuntimeError as error:
            heard.seek(0)
            lines = heard.read().decode(errors="replace").splitlines()
            # The rest is of the accelerators that it looks for.
            said = "\n".join(x for x in lines if not x.startswith(("INFO", "WARNING")))
            raise RuntimeError(f"{error}. LiteRT said: {said.strip()}") from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)
