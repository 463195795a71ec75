"""TFLite files in TensorFlow Lite Micro, the runtime of microcontrollers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rnnapp import device
from rnnapp.device import TensorInfo
from rnnapp.exporting import flatbuffer


class UnsupportedModelError(ValueError):
    """TensorFlow Lite Micro cannot hold, or cannot run, the model."""


class MicroModel:
    """A model in TensorFlow Lite Micro, which runs a file's first subgraph.

    It knows positions alone; their names are those of the signature of that subgraph.

    Args:
        content: The bytes of a TFLite file.
        name: What errors call it.
        arena_bytes: The memory that it works in; plenty by default.

    Attributes:
        signatures: The signature's name.

    Raises:
        UnsupportedModelError: If it has an operator that TensorFlow Lite Micro lacks.
        ValueError: If it is empty, not TFLite, or cut short.
    """

    def __init__(self, content: bytes, name: str, arena_bytes: int | None = None) -> None:
        import tflite_micro

        device.flatbuffer.check(content, name)
        self.name = name
        signature, self._inputs, self._outputs = positions(content, name)
        self.signatures = [signature]
        with self._explained():
            self._interpreter = tflite_micro.runtime.Interpreter.from_bytes(
                content, arena_size=arena_bytes or plenty(content)
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


def plenty(content: bytes) -> int:
    """Bytes of an arena that no file needs: TensorFlow Lite Micro crashes in some that are smaller.

    Args:
        content: The bytes of the file.
    """
    graphs = flatbuffer.unpack(content).subgraphs
    tensors = (tensor for graph in graphs for tensor in graph.tensors)
    # As if all lay there at once, of the largest type, and what the interpreter knows of each.
    numbers = sum(math.prod(tensor.shape) for tensor in tensors if tensor.shape is not None)
    return 8 * numbers + 10 * len(content) + (1 << 20)


def positions(content: bytes, name: str) -> tuple[str, dict[str, int], dict[str, int]]:
    """The signature of a file's first subgraph, and where its inputs and outputs stand there.

    Args:
        content: The bytes of the file.
        name: What errors call it.

    Returns:
        The signature's name, and the positions of its inputs and of its outputs by name.

    Raises:
        UnsupportedModelError: If the subgraph has no signature.
    """
    model = flatbuffer.unpack(content)
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
