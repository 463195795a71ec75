"""One way to load and run a .tflite file, on ai-edge-litert or on its forerunner tflite-runtime."""

from __future__ import annotations

import importlib
import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.device import flatbuffer

RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


@dataclass(frozen=True)
class TensorInfo:
    """Shape, dtype and quantization of a signature's input or output.

    Args:
        name: its name in the signature.
        shape: its static shape.
        dtype: what is stored.
        scale: real value of one stored unit; 0 where the tensor is not quantized.
        zero_point: stored value of the real 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float = 0.0
    zero_point: int = 0

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Turn real values into stored ones, saturating at the ends of the dtype.

        Args:
            values: real values of this shape.

        Returns:
            Stored values of this shape and dtype.

        Raises:
            ValueError: the shape differs.
            TypeError: the values do not fit the dtype, such as floats for token ids.
        """
        values = np.asarray(values)
        if values.shape != self.shape:
            raise ValueError(
                f"`{self.name}` must have shape {self.shape}. Received: {values.shape}"
            )
        if self.scale:
            limits = np.iinfo(self.dtype)
            stored = np.rint(values / self.scale) + self.zero_point
            return np.clip(stored, limits.min, limits.max).astype(self.dtype)
        if not np.can_cast(values.dtype, self.dtype, "same_kind"):
            raise TypeError(f"`{self.name}` must be {self.dtype}. Received: {values.dtype}")
        return values.astype(self.dtype, copy=False)

    def dequantize(self, stored: np.ndarray) -> np.ndarray:
        """Turn stored values into real ones.

        Args:
            stored: values of this dtype.

        Returns:
            float32 values of the same shape; `stored` itself where it is not quantized.
        """
        if not self.scale:
            return stored
        return (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


class Model:
    """A loaded .tflite file, run by signature and by name; `load` makes it.

    Args:
        content: the bytes of the file.
        name: what errors call it.
        path: where it came from, if from a file.
        num_threads: threads of the interpreter.
        runtime: as in `load`.

    Attributes:
        signatures: the signatures' names.
        files: associated files by name, from the zip that TFLite metadata appends to the model.
    """

    def __init__(
        self,
        content: bytes,
        name: str,
        path: Path | None = None,
        num_threads: int = 1,
        runtime: str | None = None,
    ) -> None:
        flatbuffer.check(content, name)
        self.name, self.path = name, path
        self.files = _associated_files(content)
        interpreter = _interpreter_class([runtime] if runtime else RUNTIMES)
        self._interpreter = interpreter(model_content=content, num_threads=num_threads)
        self.signatures = list(self._interpreter.get_signature_list())
        self._runners: dict[str, Any] = {}

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describe the inputs of a signature.

        Args:
            signature: its name.

        Returns:
            The description of each input, by name.

        Raises:
            ValueError: there is no such signature.
        """
        return _describe(self._runner(signature).get_input_details())

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describe the outputs of a signature.

        Args:
            signature: its name.

        Returns:
            The description of each output, by name.

        Raises:
            ValueError: there is no such signature.
        """
        return _describe(self._runner(signature).get_output_details())

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a signature once on values as the file stores them.

        Args:
            signature: its name.
            **inputs: stored values by name (`TensorInfo.quantize` makes them). Their shapes are
                not checked: the runtime would resize the graph to them.

        Returns:
            Stored values of each output, by name.

        Raises:
            ValueError: there is no such signature, or the inputs are not the signature's.
        """
        return self._runner(signature)(**inputs)

    def _runner(self, signature: str) -> Any:
        """The runtime's callable for a signature, made once."""
        if signature not in self.signatures:
            raise ValueError(
                f"{self.name} must have the signature `{signature}`. "
                f"It has: {', '.join(self.signatures) or 'none'}"
            )
        if signature not in self._runners:
            self._runners[signature] = self._interpreter.get_signature_runner(signature)
        return self._runners[signature]


def load(
    model: str | os.PathLike[str] | bytes, num_threads: int = 1, runtime: str | None = None
) -> Model:
    """Load a .tflite file.

    Args:
        model: its path or its bytes.
        num_threads: threads of the interpreter; one is fastest for small step models.
        runtime: the one of `RUNTIMES` that must run it; by default the first that is installed.

    Returns:
        The model, ready to run.

    Raises:
        OSError: the file is absent or cannot be read.
        ValueError: it is empty, not TFLite, cut short, or needs TensorFlow (Flex) operators.
        ImportError: no such runtime is installed.
    """
    if isinstance(model, bytes):
        return Model(model, "the model", num_threads=num_threads, runtime=runtime)
    path = Path(model)
    return Model(path.read_bytes(), str(path), path, num_threads, runtime)


def _interpreter_class(runtimes: Sequence[str]) -> Any:
    """The `Interpreter` of the first runtime that is installed."""
    for module in runtimes:
        try:
            return importlib.import_module(module).Interpreter
        except ModuleNotFoundError as error:
            if error.name != module.partition(".")[0]:
                raise  # the runtime is installed, but something that it needs is not
    raise ImportError(
        f"{' or '.join(runtimes)} must be installed: `pip install ai-edge-litert`, or on Python "
        '3.11 and older `pip install tflite-runtime "numpy<2"`'
    )


def _associated_files(content: bytes) -> dict[str, bytes]:
    """Files in the zip behind the flatbuffer; none where there is no zip."""
    stream = io.BytesIO(content)
    if not zipfile.is_zipfile(stream):
        return {}
    with zipfile.ZipFile(stream) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _describe(details: dict[str, dict[str, Any]]) -> dict[str, TensorInfo]:
    """The runtime's details as `TensorInfo`, by name."""
    infos = {}
    for name, detail in details.items():
        shape, dtype = tuple(map(int, detail["shape"])), np.dtype(detail["dtype"])
        infos[name] = TensorInfo(name, shape, dtype, *detail["quantization"])
    return infos
