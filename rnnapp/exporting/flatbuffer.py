"""Rewriting TFLite flatbuffers: smaller ones that compute the same, and half-precision weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# Smaller constants stay exact: a window, a filter bank or a decay in half precision changes what
# the model hears, and saves nothing.
_WEIGHT_ELEMENTS = 1024


def compact(content: bytes) -> bytes:
    """Drops what only takes space: names of inner tensors, empty tables and empty buffers.

    The weights of a small recurrent layer weigh less than the tables of the graph around them.
    Signatures keep the names of their inputs and outputs.

    Args:
        content: A TFLite flatbuffer.

    Returns:
        The same model, smaller.
    """
    model = _unpack(content)
    kept, places = [model.buffers[0]], {}  # the first buffer stands for "computed, not stored"

    def place(index: int) -> int:
        data = model.buffers[index].data
        if data is None or not len(data):
            return 0
        if index not in places:
            places[index] = len(kept)
            kept.append(model.buffers[index])
        return places[index]

    for _, tensor in _tensors(model):
        tensor.name, tensor.buffer = b"", place(tensor.buffer)
        if tensor.quantization is not None and tensor.quantization.scale is None:
            tensor.quantization = None
    for metadata in model.metadata or []:
        metadata.buffer = place(metadata.buffer)
    model.buffers = kept
    return _pack(model, len(content))


def halved(content: bytes) -> bytes:
    """Stores weights of more than 1,024 elements as float16; they are used as float32.

    TensorFlow's own conversion halves every constant. Rounded to 11 bits, an audio front end's
    window leaks a loud band into the silent ones, which costs more than all weights together.

    Args:
        content: A float32 TFLite flatbuffer.

    Returns:
        The same model with a DEQUANTIZE before each such weight.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = _unpack(content)
    codes, kinds = schema.BuiltinOperator, schema.TensorType
    model.operatorCodes.append(_operator_code(schema, codes.DEQUANTIZE, version=3))
    code = len(model.operatorCodes) - 1
    halves: dict[int, int] = {}
    for subgraph, tensor in list(_tensors(model)):
        data = model.buffers[tensor.buffer].data
        if tensor.type != kinds.FLOAT32 or data is None or len(data) <= 4 * _WEIGHT_ELEMENTS:
            continue
        if tensor.buffer not in halves:
            half = np.frombuffer(bytes(data), np.float32).astype(np.float16)
            halves[tensor.buffer] = len(model.buffers)
            model.buffers.append(schema.BufferT(data=np.frombuffer(half.tobytes(), np.uint8)))
        stored = schema.TensorT(
            shape=tensor.shape, type=kinds.FLOAT16, buffer=halves[tensor.buffer], name=b"half"
        )
        subgraph.tensors.append(stored)
        tensor.buffer = 0  # computed from now on
        place = next(i for i, other in enumerate(subgraph.tensors) if other is tensor)
        operator = schema.OperatorT(
            opcodeIndex=code, inputs=[len(subgraph.tensors) - 1], outputs=[place]
        )
        subgraph.operators.insert(0, operator)
    for buffer in halves:
        model.buffers[buffer].data = None
    return _pack(model, len(content))


def _operator_code(schema: Any, builtin: int, version: int) -> Any:
    # Old readers look at the deprecated field, new ones at the greater of the two.
    return schema.OperatorCodeT(deprecatedBuiltinCode=builtin, builtinCode=builtin, version=version)


def _tensors(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every tensor, with the subgraph that it belongs to."""
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            yield subgraph, tensor


def _unpack(content: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(bytearray(content), 0)


def _pack(model: Any, size: int) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
