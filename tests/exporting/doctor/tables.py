"""Small .tflite files, put together by hand: no converter makes such faults on demand."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rnnapp.exporting import flatbuffer

CODES: dict[str, int] = vars(schema.BuiltinOperator)
TYPES: dict[str, int] = vars(schema.TensorType)
DTYPES = {"float32": "FLOAT32", "int8": "INT8", "int32": "INT32", "int64": "INT64"}


class Tables:
    """A .tflite file in the making, with one subgraph more at each call of `subgraph`."""

    def __init__(self) -> None:
        self.model = schema.ModelT(
            version=3,
            buffers=[schema.BufferT()],
            operatorCodes=[],
            subgraphs=[],
            signatureDefs=[],
        )
        self.subgraph("main")

    def subgraph(self, name: str) -> None:
        """Begins a subgraph."""
        self.model.subgraphs.append(
            schema.SubGraphT(name=name.encode(), tensors=[], operators=[], inputs=[], outputs=[])
        )

    @property
    def last(self) -> Any:
        """The subgraph that is being made."""
        return self.model.subgraphs[-1]

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: str = "FLOAT32",
        scale: tuple[float, int] | None = None,
        variable: bool = False,
    ) -> int:
        """Adds a tensor that is computed, and returns its number."""
        quantization = None
        if scale:
            quantization = schema.QuantizationParametersT(scale=[scale[0]], zeroPoint=[scale[1]])
        self.last.tensors.append(
            schema.TensorT(
                name=name.encode(),
                shape=list(shape),
                type=TYPES[kind],
                quantization=quantization,
                isVariable=variable,
            )
        )
        return len(self.last.tensors) - 1

    def constant(self, name: str, values: np.ndarray) -> int:
        """Adds a tensor that is stored."""
        number = self.tensor(name, values.shape, DTYPES[str(values.dtype)])
        data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(schema.BufferT(data=data))
        self.last.tensors[number].buffer = len(self.model.buffers) - 1
        return number

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
    ) -> None:
        """Adds an operator: a builtin one, or else a custom one of that name."""
        code = self.code(name, version)
        operator = schema.OperatorT(opcodeIndex=code, inputs=[*inputs], outputs=[*outputs])
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.last.operators.append(operator)

    def code(self, name: str, version: int = 1) -> int:
        """Adds an operator code."""
        number = CODES.get(name, CODES["CUSTOM"])
        code = schema.OperatorCodeT(
            builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version
        )
        if name not in CODES:
            code.customCode = name.encode()
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def signature(self, name: str, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """Makes the last subgraph a function with named inputs and outputs."""
        self.last.inputs, self.last.outputs = [*inputs.values()], [*outputs.values()]
        self.model.signatureDefs.append(
            schema.SignatureDefT(
                signatureKey=name.encode(),
                subgraphIndex=len(self.model.subgraphs) - 1,
                inputs=[_named(key, index) for key, index in inputs.items()],
                outputs=[_named(key, index) for key, index in outputs.items()],
            )
        )

    def content(self) -> bytes:
        """The file's bytes."""
        return flatbuffer.pack(self.model, 1024)

    def write(self, folder: Path, **notes: Any) -> Path:
        """Writes the file, with `notes` as its `rnnapp.json`."""
        path = folder / "model.tflite"
        path.write_bytes(self.content())
        if notes:
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("rnnapp.json", json.dumps(notes))
        return path


def _named(name: str, index: int) -> Any:
    return schema.TensorMapT(name=name.encode(), tensorIndex=index)


WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def dense(**changes: Any) -> Tables:
    """A dense layer and a hyperbolic tangent, from `x` (1, 4) to `y` (1, 3).

    Args:
        **changes: `weights`, `version` of the product, `kind` and `open` sizes of the input.
    """
    tables = Tables()
    x = tables.tensor("x", (1, 4), changes.get("kind", "FLOAT32"))
    if "open" in changes:
        tables.last.tensors[x].shapeSignature = changes["open"]
    weights = tables.constant("weights", changes.get("weights", WEIGHTS))
    h, y = tables.tensor("h", (1, 3)), tables.tensor("y", (1, 3))
    options = schema.FullyConnectedOptionsT()
    version = changes.get("version", 1)
    tables.operator("FULLY_CONNECTED", [x, weights, -1], [h], options, version)
    tables.operator(changes.get("activation", "TANH"), [h], [y])
    tables.signature("predict", {"x": x}, {"y": y})
    return tables


def whole_numbers(scales: tuple[float, float] = (0.1, 0.1)) -> Tables:
    """A step on int8 data: `x` (1, 4) and `state` (1, 4) to `next_state`, their sum.

    Args:
        scales: Of the state as it comes in, and as it goes out.
    """
    tables = Tables()
    x = tables.tensor("x", (1, 4), "INT8", (0.05, -3))
    state = tables.tensor("state", (1, 4), "INT8", (scales[0], 7))
    after = tables.tensor("next_state", (1, 4), "INT8", (scales[1], 7))
    tables.operator("ADD", [x, state], [after], schema.AddOptionsT(), version=2)
    tables.signature("step", {"x": x, "state": state}, {"next_state": after})
    return tables


def counter() -> Tables:
    """A running sum: a resource variable that starts at zero, and that each call adds `x` to."""
    tables = Tables()

    def handle() -> int:
        number = tables.tensor("sum", (), "RESOURCE")
        options = schema.VarHandleOptionsT(sharedName=b"sum", container=b"")
        tables.operator("VAR_HANDLE", [], [number], options)
        return number

    x, before, y = (tables.tensor(name, (1, 4)) for name in ("x", "before", "y"))
    tables.operator("CALL_ONCE", [], [], schema.CallOnceOptionsT(initSubgraphIndex=1))
    place = handle()
    tables.operator("READ_VARIABLE", [place], [before])
    tables.operator("ADD", [x, before], [y], schema.AddOptionsT())
    tables.operator("ASSIGN_VARIABLE", [place, y], [])
    tables.signature("step", {"x": x}, {"y": y})
    tables.subgraph("initialize")
    zeros = tables.constant("zeros", np.zeros((1, 4), np.float32))
    tables.operator("ASSIGN_VARIABLE", [handle(), zeros], [])
    return tables


def recurrent() -> Tables:
    """A SimpleRNN in one operator, whose state is a variable tensor."""
    tables = Tables()
    x, y = tables.tensor("x", (1, 2, 4)), tables.tensor("y", (1, 2, 3))
    generator = np.random.default_rng(1)
    drawn = [generator.normal(size=size).astype(np.float32) for size in ((3, 4), (3, 3), (3,))]
    weights = [tables.constant(f"weights{number}", values) for number, values in enumerate(drawn)]
    state = tables.tensor("state", (1, 3), variable=True)
    options = schema.SequenceRNNOptionsT(
        timeMajor=False, fusedActivationFunction=schema.ActivationFunctionType.TANH
    )
    tables.operator("UNIDIRECTIONAL_SEQUENCE_RNN", [x, *weights, state], [y], options)
    tables.signature("predict", {"x": x}, {"y": y})
    return tables
