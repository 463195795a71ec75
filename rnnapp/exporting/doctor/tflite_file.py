"""A .tflite file as it lies there: its tables as objects, nothing of it executed."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rnnapp.device.flatbuffer import custom_operators
from rnnapp.exporting import flatbuffer
from rnnapp.exporting.doctor.findings import BadFileError

_RUNNER = ("ai_edge_litert", "tflite_runtime")
BUILTINS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
TYPES = {code: name for name, code in vars(schema.TensorType).items() if name[0] != "_"}
CUSTOM = "CUSTOM"


@dataclass(frozen=True)
class Operator:
    """An operator, with its code looked up.

    Args:
        name: The builtin operator's name, or the custom operator's own.
        custom: Whether it is a custom one.
        version: Of the operator.
        subgraph: Number of the subgraph that it stands in.
        table: It, as it is stored.
    """

    name: str
    custom: bool
    version: int
    subgraph: int
    table: Any

    @property
    def inputs(self) -> list[int]:
        """Numbers of its input tensors, without those left out."""
        return [int(i) for i in _list(self.table.inputs) if i >= 0]

    @property
    def outputs(self) -> list[int]:
        """Numbers of its output tensors."""
        return [int(i) for i in _list(self.table.outputs)]


@dataclass(frozen=True)
class Port:
    """An input or output of a signature.

    Args:
        signature: The signature's name; empty in a file without signatures.
        kind: Which of both.
        name: Its name there.
        subgraph: Number of the signature's subgraph.
        index: Number of its tensor.
        tensor: That tensor, as it is stored.
    """

    signature: str
    kind: Literal["input", "output"]
    name: str
    subgraph: int
    index: int
    tensor: Any

    def __str__(self) -> str:
        of = f" of signature `{self.signature}`" if self.signature else ""
        return f"{self.kind} `{self.name}`{of}"

    @property
    def dtype(self) -> str:
        """The name of its type."""
        return TYPES.get(self.tensor.type, str(self.tensor.type))

    @property
    def shape(self) -> list[int]:
        """Its sizes, -1 for those left open."""
        signature = _list(self.tensor.shapeSignature)
        return [int(size) for size in signature or _list(self.tensor.shape)]

    @property
    def scale(self) -> tuple[float, int] | None:
        """Its scale and zero point; None if it is not quantized, or by axis."""
        quantization = self.tensor.quantization
        if quantization is None or len(_list(quantization.scale)) != 1:
            return None
        zero_point = _list(quantization.zeroPoint)
        return float(quantization.scale[0]), int(zero_point[0]) if zero_point else 0


class TFLiteFile:
    """A .tflite file.

    Args:
        path: The file.

    Attributes:
        content: Its bytes.
        model: Its tables, which fixes may change.
        runtimes: The runtimes that its `rnnapp.json` names, by default those of our own runner;
            None if it has none, for then it may go anywhere.

    Raises:
        BadFileError: If it is cut short or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, path.read_bytes()
        try:
            custom_operators(self.content)  # reaches the last bytes
        except (struct.error, EOFError):
            size = len(self.content)
            raise BadFileError(f"{path} is cut short at {size} bytes. Copy it again") from None
        self.model = flatbuffer.unpack(self.content)
        self._files = _attached(path, self.content)
        notes = _notes(path, self._files)
        self.runtimes = None if notes is None else frozenset(notes.get("runtimes", _RUNNER))

    def operators(self) -> Iterator[Operator]:
        """Every operator, in the order in which they run."""
        for number, subgraph in enumerate(self.model.subgraphs):
            for table in _list(subgraph.operators):
                yield Operator(*self.code(table.opcodeIndex), number, table)

    def code(self, index: int) -> tuple[str, bool, int]:
        """Name, whether it is custom, and version of an operator code."""
        code = self.model.operatorCodes[index]
        # Files from before 2020 know the deprecated field only.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = BUILTINS.get(number, f"operator {number}")
        if name == CUSTOM:
            return text(code.customCode), True, code.version
        return name, False, code.version

    def ports(self) -> Iterator[Port]:
        """Every input and output of every signature; without signatures, of the first subgraph."""
        for definition in _list(self.model.signatureDefs):
            key, number = text(definition.signatureKey), definition.subgraphIndex
            tensors = self.model.subgraphs[number].tensors
            for entry in _list(definition.inputs):
                at = entry.tensorIndex
                yield Port(key, "input", text(entry.name), number, at, tensors[at])
            for entry in _list(definition.outputs):
                at = entry.tensorIndex
                yield Port(key, "output", text(entry.name), number, at, tensors[at])
        if not _list(self.model.signatureDefs):
            first = self.model.subgraphs[0]
            for at in map(int, _list(first.inputs)):
                yield Port("", "input", text(first.tensors[at].name), 0, at, first.tensors[at])
            for at in map(int, _list(first.outputs)):
                yield Port("", "output", text(first.tensors[at].name), 0, at, first.tensors[at])

    def place(self, subgraph: int) -> str:
        """What people know a subgraph by: its signature, or else its name."""
        for definition in _list(self.model.signatureDefs):
            if definition.subgraphIndex == subgraph:
                return f"signature `{text(definition.signatureKey)}`"
        return f"subgraph {subgraph} `{text(self.model.subgraphs[subgraph].name)}`"

    def is_constant(self, tensor: Any) -> bool:
        """Whether a tensor's values are stored, in the flatbuffer or behind it."""
        buffer = self.model.buffers[tensor.buffer]
        stored = buffer.data is not None and len(buffer.data) > 0
        return bool(stored or buffer.size or getattr(tensor, "externalBuffer", 0))

    def floats(self, tensor: Any) -> np.ndarray | None:
        """A tensor's stored values, flat; None if it has none in here, or is not of floats."""
        dtype = {"FLOAT16": np.float16, "FLOAT32": np.float32, "FLOAT64": np.float64}
        data = self.model.buffers[tensor.buffer].data
        kind = TYPES.get(tensor.type)
        if kind not in dtype or data is None:
            return None
        return np.frombuffer(bytes(data), dtype[kind])

    def write(self, path: Path) -> None:
        """Writes the tables as they are now, and the files that were attached.

        Raises:
            ValueError: If weights lie outside of the tables.
        """
        if any(buffer.size for buffer in self.model.buffers):
            raise ValueError(
                f"{self.path} keeps weights behind its tables, as files over 2 GB do: it cannot "
                "be written anew. Convert it again instead"
            )
        path.write_bytes(flatbuffer.pack(self.model, len(self.content)))
        if self._files:
            with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
                for info, content in self._files.items():
                    archive.writestr(info, content)


def text(value: bytes | str | None) -> str:
    """A string of a flatbuffer."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _list(vector: Any) -> Any:
    """A vector of a flatbuffer, empty where it was left out."""
    return [] if vector is None else vector if isinstance(vector, list) else vector.tolist()


def _attached(path: Path, content: bytes) -> dict[zipfile.ZipInfo, bytes]:
    """The files in the zip behind the flatbuffer."""
    stream = io.BytesIO(content)
    if not zipfile.is_zipfile(stream):
        return {}
    try:
        with zipfile.ZipFile(stream) as archive:
            return {info: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise BadFileError(f"{path}: attached files are damaged: {error}. Copy it again") from error


def _notes(path: Path, files: dict[zipfile.ZipInfo, bytes]) -> dict[str, Any] | None:
    """What `rnnapp.json` says of the file; None if it has none."""
    notes = [content for info, content in files.items() if info.filename == "rnnapp.json"]
    try:
        said = json.loads(notes[0]) if notes else None
    except ValueError as error:
        raise BadFileError(f"{path}: rnnapp.json must be JSON. {error}") from error
    return said if isinstance(said, dict) else None
