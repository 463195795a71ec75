"""Rewriting .tflite files at their borders, where whole numbers come and go."""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from rnnapp.exporting.doctor.tflite_file import Port, TFLiteFile
from rnnapp.exporting.doctor.tflite_tensors import QUANTIZED, states

_OPERATORS = schema.BuiltinOperator
_TYPES = schema.TensorType


def with_float_ports(file: TFLiteFile) -> None:
    """Gives quantized inputs and outputs as floats: the runtime quantizes, not the program."""
    for port in [port for port in file.ports() if port.dtype in QUANTIZED and port.scale]:
        outside = _like(port.tensor, type=_TYPES.FLOAT32, quantization=None)
        if port.kind == "input":
            code = _code(file, _OPERATORS.QUANTIZE, 2 if port.dtype == "INT16" else 1)
        else:
            code = _code(file, _OPERATORS.DEQUANTIZE, 3 if port.dtype == "INT16" else 2)
        _place(file, port, outside, code)


def with_equal_scales(file: TFLiteFile) -> None:
    """Gives each state in the scale in which the next call takes it."""
    for start, end in states(file):
        if start.scale != end.scale:
            outside = _like(end.tensor, quantization=copy.deepcopy(start.tensor.quantization))
            _place(file, end, outside, _code(file, _OPERATORS.QUANTIZE, 2))


def _place(file: TFLiteFile, port: Port, outside: Any, code: int) -> None:
    """Puts an operator between a port and the tensor that now takes its place."""
    subgraph = file.model.subgraphs[port.subgraph]
    subgraph.tensors.append(outside)
    new, old = len(subgraph.tensors) - 1, port.index
    first = port.kind == "input"
    ends = ([new], [old]) if first else ([old], [new])
    operator = schema.OperatorT(opcodeIndex=code, inputs=ends[0], outputs=ends[1])
    subgraph.operators.insert(0 if first else len(subgraph.operators), operator)
    borders = subgraph.inputs if first else subgraph.outputs
    changed = [new if int(index) == old else int(index) for index in borders]
    if first:
        subgraph.inputs = changed
    else:
        subgraph.outputs = changed
    for definition in file.model.signatureDefs or []:
        if definition.subgraphIndex == port.subgraph:
            for entry in (definition.inputs if first else definition.outputs) or []:
                entry.tensorIndex = new if entry.tensorIndex == old else entry.tensorIndex


def _like(tensor: Any, **changes: Any) -> Any:
    """A computed tensor of a tensor's shape."""
    other = copy.deepcopy(tensor)
    other.buffer, other.name = 0, b"outside"
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def _code(file: TFLiteFile, builtin: int, version: int) -> int:
    """The number of an operator code, which is added if it is not there."""
    for index in range(len(file.model.operatorCodes)):
        code = file.model.operatorCodes[index]
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
            code.version = max(code.version, version)
            return index
    file.model.operatorCodes.append(
        schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=builtin, version=version)
    )
    return len(file.model.operatorCodes) - 1
