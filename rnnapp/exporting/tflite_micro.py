"""TFLite files on microcontrollers: run in TensorFlow Lite Micro, and written as C arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.device import TensorInfo, flatbuffer

# TensorFlow Lite Micro crashes where its arena is far too small: ten times the file, as its own
# guess is, and what the states of a small file may need.
_STATES_BYTES = 1 << 20


class UnsupportedModelError(ValueError):
    """TensorFlow Lite Micro cannot hold, or cannot run, the model."""


@contextmanager
def load(path: Path) -> Iterator[MicroModel]:
    """Loads a TFLite file in the interpreter of TensorFlow Lite Micro.

    Args:
        path: A TFLite file.

    Yields:
        The model.

    Raises:
        OSError: If the file is absent or cannot be read.
        UnsupportedModelError: If it has an operator that TensorFlow Lite Micro lacks.
        ValueError: If it is empty, not TFLite, or cut short.
    """
    yield MicroModel(path.read_bytes(), str(path))


class MicroModel:
    """A model in TensorFlow Lite Micro, which runs a file's first subgraph.

    It knows positions alone; their names are those of the signature of that subgraph.

    Args:
        content: The bytes of a TFLite file.
        name: What errors call it.

    Attributes:
        signatures: The signature's name.
    """

    def __init__(self, content: bytes, name: str) -> None:
        import tflite_micro

        flatbuffer.check(content, name)
        self.name = name
        signature, self._inputs, self._outputs = _positions(content, name)
        self.signatures = [signature]
        arena = 10 * len(content) + _STATES_BYTES
        with self._explained():
            self._interpreter = tflite_micro.runtime.Interpreter.from_bytes(
                content, arena_size=arena
            )

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the signature's inputs."""
        self._check(signature)
        return _infos(self._interpreter.get_input_details, self._inputs)

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the signature's outputs."""
        self._check(signature)
        return _infos(self._interpreter.get_output_details, self._outputs)

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the signature once.

        Args:
            signature: Its name.
            **inputs: Stored values by name.

        Returns:
            Stored values of each output, by name.

        Raises:
            UnsupportedModelError: If an operator fails on the types of its tensors.
            ValueError: If there is no such signature, or the inputs are not the signature's.
        """
        self._check(signature)
        if inputs.keys() != self._inputs.keys():
            raise ValueError(
                f"The inputs must be {sorted(self._inputs)}. Received: {sorted(inputs)}"
            )
        for name, value in inputs.items():
            self._interpreter.set_input(value, self._inputs[name])
        with self._explained():
            self._interpreter.invoke()
        return {n: self._interpreter.get_output(place) for n, place in self._outputs.items()}

    def _check(self, signature: str) -> None:
        if signature not in self.signatures:
            raise ValueError(
                f"{self.name} must have the signature `{signature}`. It has: {self.signatures[0]}"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Names the file in errors, of which the interpreter writes the cause to standard error."""
        try:
            yield
        except RuntimeError as error:
            raise UnsupportedModelError(
                f"{self.name} must have operators of TensorFlow Lite Micro alone: no Fourier "
                "transform, no loop over a sequence. Export its step, of features, as int8 or "
                f"int16x8. Received: {error} The cause stands on standard error."
            ) from error


def _positions(content: bytes, name: str) -> tuple[str, dict[str, int], dict[str, int]]:
    """The signature of the first subgraph, and where its inputs and outputs stand there."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    graph = model.subgraphs[0]
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            inputs, outputs = (
                {tensor.name.decode(): list(places).index(tensor.tensorIndex) for tensor in tensors}
                for tensors, places in (
                    (signature.inputs, graph.inputs),
                    (signature.outputs, graph.outputs),
                )
            )
            return signature.signatureKey.decode(), inputs, outputs
    raise UnsupportedModelError(f"{name} must have a signature of its first subgraph. It has none.")


def _infos(details: Any, positions: dict[str, int]) -> dict[str, TensorInfo]:
    """Descriptions by name, where `details` describes a position."""
    infos = {}
    for name, position in positions.items():
        found = details(position)
        quantization = found["quantization_parameters"]
        scales, zeros = quantization["scales"], quantization["zero_points"]
        shape = tuple(map(int, found["shape"]))
        stored = (float(scales[0]), int(zeros[0])) if len(scales) else ()
        infos[name] = TensorInfo(name, shape, np.dtype(found["dtype"]), *stored)
    return infos


def c_array(tflite: bytes, name: str) -> str:
    """A TFLite file as C source, aligned as TensorFlow Lite Micro asks.

    Args:
        tflite: The bytes of the file.
        name: Of the array; its length is `NAME_length`.

    Returns:
        Source that C and C++ take, for gcc, clang and what understands their attributes.

    Raises:
        ValueError: If the name is none in C.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII):
        raise ValueError(f"`name` must be a name in C. Received: name={name!r}")
    rows = (tflite[start : start + 16] for start in range(0, len(tflite), 16))
    lines = "".join(f"    {', '.join(f'0x{byte:02x}' for byte in row)},\n" for row in rows)
    return (
        # Declared first, because a constant of C++ is otherwise known in its own file alone.
        f"extern const unsigned char {name}[];\n"
        f"extern const unsigned int {name}_length;\n\n"
        f"const unsigned char {name}[] __attribute__((aligned(16))) = {{\n{lines}}};\n"
        f"const unsigned int {name}_length = {len(tflite)};\n"
    )
