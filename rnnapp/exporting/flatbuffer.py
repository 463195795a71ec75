"""Rewriting TFLite flatbuffers: smaller ones, half-precision weights, two models made one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_HALVED_ELEMENTS = 1024  # fewer save nothing


def compact(content: bytes) -> bytes:
    """Drops what only takes space: names of inner tensors, empty tables and empty buffers.

    The weights of a small recurrent layer weigh less than the tables of the graph around them.
    Signatures keep the names of their inputs and outputs.

    Args:
        content: A TFLite flatbuffer.

    Returns:
        The same model, smaller.
    """
    model = unpack(content)
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
    return pack(model, len(content))


def halved(content: bytes, layers: Iterable[Any] | None = None) -> bytes:
    """Stores weights of more than 1,024 elements as float16; they are used as float32.

    TensorFlow's own conversion halves every constant. Rounded to 11 bits, an audio front end's
    window leaks a loud band into the silent ones, which costs more than all weights together.

    Args:
        content: A TFLite flatbuffer as the converter names its tensors.
        layers: The model's Keras layers. What those compute with that have no weights stays exact.
            None halves all constants of that size.

    Returns:
        The same model with a DEQUANTIZE before each such weight.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    builtin = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes.append(_operator_code(schema, builtin, version=3))
    code = len(model.operatorCodes) - 1
    halves: dict[int, int] = {}
    names = None if layers is None else [layer.name for layer in layers if layer.weights]
    trained = re.compile("") if names is None else _scope_of(names)
    for subgraph, tensor in list(_tensors(model)):
        data = model.buffers[tensor.buffer].data
        floats = tensor.type == schema.TensorType.FLOAT32 and data is not None
        if not (floats and len(data) > 4 * _HALVED_ELEMENTS):
            continue
        if not trained.search(tensor.name.decode()):
            continue
        if tensor.buffer not in halves:
            half = np.frombuffer(bytes(data), np.float32).astype(np.float16)
            halves[tensor.buffer] = len(model.buffers)
            model.buffers.append(schema.BufferT(data=np.frombuffer(half.tobytes(), np.uint8)))
        _dequantize(schema, subgraph, tensor, halves[tensor.buffer], code)
    for buffer in halves.keys() - {tensor.buffer for _, tensor in _tensors(model)}:
        model.buffers[buffer].data = None
    return pack(model, len(content))


def _dequantize(schema: Any, subgraph: Any, tensor: Any, buffer: int, code: int) -> None:
    """Has a constant computed from one of half precision, before anything else."""
    half = schema.TensorType.FLOAT16
    stored = schema.TensorT(shape=tensor.shape, type=half, buffer=buffer, name=b"half")
    subgraph.tensors.append(stored)
    tensor.buffer = 0  # computed from now on
    place = next(i for i, other in enumerate(subgraph.tensors) if other is tensor)
    source = len(subgraph.tensors) - 1
    operator = schema.OperatorT(opcodeIndex=code, inputs=[source], outputs=[place])
    subgraph.operators.insert(0, operator)


def chained(front: bytes, body: bytes, between: str) -> bytes:
    """Joins two models of one subgraph and one signature: the second hears what the first says.

    Each is converted by itself, to a precision of its own, which no converter can do inside one
    graph.

    Args:
        front: A TFLite flatbuffer with an output `between`.
        body: Another, with a signature of the same name and an input `between`.
        between: The name, which the joined signature does not have any more.

    Returns:
        One flatbuffer with the remaining inputs and outputs of both.
    """
    model, tail = unpack(front), unpack(body)
    graph, more = model.subgraphs[0], tail.subgraphs[0]
    signature, its = model.signatureDefs[0], tail.signatureDefs[0]
    buffers, tensors, codes = len(model.buffers), len(graph.tensors), len(model.operatorCodes)
    source = _take(signature.outputs, between)
    target = _take(its.inputs, between)

    def moved(indices: Iterable[int]) -> list[int]:
        places = (source if i == target else i + tensors if i >= 0 else i for i in indices)
        return list(places)

    for tensor in more.tensors:
        tensor.buffer = tensor.buffer + buffers - 1 if tensor.buffer else 0
    for operator in more.operators:
        operator.opcodeIndex += codes
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
    for entry in [*its.inputs, *its.outputs]:
        entry.tensorIndex += tensors
    model.buffers += tail.buffers[1:]
    model.operatorCodes += tail.operatorCodes
    graph.tensors += more.tensors
    graph.operators += more.operators
    graph.inputs = [*graph.inputs, *moved(i for i in more.inputs if i != target)]
    graph.outputs = [*(i for i in graph.outputs if i != source), *moved(more.outputs)]
    signature.inputs += its.inputs
    signature.outputs += its.outputs
    return pack(model, len(front) + len(body))


def _take(entries: list[Any], name: str) -> int:
    """Takes a tensor out of a signature, and says which it was."""
    (place,) = (i for i, entry in enumerate(entries) if entry.name.decode() == name)
    return int(entries.pop(place).tensorIndex)


def _scope_of(layers: list[str]) -> re.Pattern[str]:
    """Finds tensors of layers by name: TensorFlow numbers a layer's scope when it calls it again.

    Content would not do, since the converter folds batch normalization into kernels.
    """
    return re.compile(rf"(?:^|[/;])(?:{'|'.join(map(re.escape, layers))})(?:_\d+)?/")


def _operator_code(schema: Any, builtin: int, version: int) -> Any:
    # Old readers look at the deprecated field, new ones at the greater of the two.
    return schema.OperatorCodeT(deprecatedBuiltinCode=builtin, builtinCode=builtin, version=version)


def _tensors(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every tensor, with the subgraph that it belongs to."""
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            yield subgraph, tensor


def unpack(content: bytes) -> Any:
    """A TFLite flatbuffer as objects, which may be changed.

    Args:
        content: The file.
    """
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(bytearray(content), 0)


def pack(model: Any, size: int) -> bytes:
    """The flatbuffer of what `unpack` gave.

    Args:
        model: The objects.
        size: About as many bytes as it will have.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):
        """Aligns what buffers hold to 16 bytes, as the format asks and Python's objects do not."""

        def CreateNumpyVector(self, x: np.ndarray) -> int:
            if x.dtype == np.uint8:
                self.Prep(16, x.nbytes)
            return super().CreateNumpyVector(x)

    builder = Builder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
