"""What can be wrong with the tensors of a .tflite file: weights, shapes, types and scales."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnapp.exporting.doctor.findings import Fault, some
from rnnapp.exporting.doctor.tflite_file import Port, TFLiteFile, text
from rnnapp.exporting.doctor.tflite_variables import never_filled

# What a JavaScript program can make and read: DATATYPES in @litertjs/core 2.5.3.
BROWSER = frozenset(("FLOAT32", "INT32", "UINT8"))
ODD = frozenset(("STRING", "FLOAT64"))
QUANTIZED = frozenset(("INT8", "INT16"))
# Words that tell a state's two ends apart.
_ROLES = frozenset(
    ("in", "input", "prev", "previous", "old", "next", "new", "out", "output", "updated")
)


def missing_weights(file: TFLiteFile) -> Iterator[Fault]:
    """Operands that nobody stores or computes, and variables that nobody fills."""
    if variables := never_filled(file):
        yield Fault(
            f"variables {some(variables)}",
            "The weights are variables that nothing fills: the first call fails, or computes "
            "with whatever lies in memory.",
            "Convert again: `from_saved_model`, or `from_concrete_functions([f], None)`, for with "
            "a Keras model as second argument TensorFlow 2.21 leaves the weights out.",
        )
    for number, names in _uncomputed(file).items():
        yield Fault(
            f"{some(names)} in {file.place(number)}",
            "The operators read tensors that are neither stored in the file nor computed: they "
            "compute with whatever lies in memory, and say nothing.",
            "The file was cut or rewritten badly: convert again.",
        )


def _uncomputed(file: TFLiteFile) -> dict[int, list[str]]:
    """Tensors without a source, by subgraph."""
    known: dict[int, set[int]] = {}
    missing: dict[int, list[str]] = {}
    for number, subgraph in enumerate(file.model.subgraphs):
        known[number] = {int(index) for index in _items(subgraph.inputs)}
        for index, tensor in enumerate(subgraph.tensors):
            empty = 0 in _items(tensor.shape)
            if file.is_constant(tensor) or tensor.isVariable or empty:
                known[number].add(index)
    for operator in file.operators():
        number, inputs = operator.subgraph, operator.inputs
        found = [_title(file, number, index) for index in inputs if index not in known[number]]
        if found:
            missing.setdefault(number, []).extend(f"{name} of {operator.name}" for name in found)
        known[number].update(operator.outputs)
    for number, subgraph in enumerate(file.model.subgraphs):
        lost = [int(i) for i in _items(subgraph.outputs) if int(i) not in known[number]]
        if lost:
            titles = [f"output {_title(file, number, index)}" for index in lost]
            missing.setdefault(number, []).extend(titles)
    return missing


def non_finite_weights(file: TFLiteFile) -> Iterator[Fault]:
    """Stored values that are no numbers."""
    bad = [
        f"{_title(file, number, index)} in {file.place(number)}"
        for number, subgraph in enumerate(file.model.subgraphs)
        for index, tensor in enumerate(subgraph.tensors)
        if _is_broken(file, tensor)
    ]
    if bad:
        yield Fault(
            some(bad),
            "Weights, or the scales of quantized ones, are NaN or infinite, and so will every "
            "answer be, everywhere.",
            "Training has diverged, or calibration saw such values: look at the Keras model "
            "first, by `rnnapp doctor MODEL.keras`.",
        )


def _is_broken(file: TFLiteFile, tensor: Any) -> bool:
    scales = [] if tensor.quantization is None else _items(tensor.quantization.scale)
    if not np.isfinite(np.asarray(scales, np.float64)).all():
        return True
    values = file.floats(tensor)
    if values is None or values.size < 2:
        return False
    if np.isnan(values).any():
        return True
    finite = np.isfinite(values)
    # Infinities alone, or among zeros, are bounds and masks.
    return bool(values[finite].any() and not finite.all())


def open_shapes(file: TFLiteFile) -> Iterator[Fault]:
    """Inputs whose size is left open."""
    found = [port for port in file.ports() if port.kind == "input" and -1 in port.shape]
    if not found:
        return
    sizes = some(f"{port} {port.shape}" for port in found)
    if any(-1 in port.shape[1:] for port in found):
        yield Fault(
            sizes,
            "The length is left open, and stored as 1. TFLite Micro and LiteRT.js do not resize: "
            "they take one timestep, and answer without a word, as does every interpreter until "
            "`resize_tensor_input` is called.",
            "Convert a signature of static shape, `tf.TensorSpec((1, timesteps, features))`.",
            fixable=False,
        )
        return
    yield Fault(
        sizes,
        "The batch is left open. TFLite Micro and LiteRT.js take one row at a time; delegates for "
        "GPUs and NPUs refuse tensors whose size follows from it, and recurrent layers become "
        "Flex operators.",
        "Convert a signature of static batch, `tf.TensorSpec((1, ...))`.",
        fixable=not any(operator.custom for operator in file.operators()),
    )


def with_static_shapes(file: TFLiteFile) -> None:
    """Keeps the sizes that are stored next to those left open, a batch of one."""
    for subgraph in file.model.subgraphs:
        for tensor in subgraph.tensors:
            tensor.shapeSignature = None


def refused_by_browsers(file: TFLiteFile) -> Iterator[Fault]:
    """Inputs and outputs of types that LiteRT.js knows nothing of."""
    found = [port for port in file.ports() if port.dtype not in BROWSER | ODD]
    if found:
        yield Fault(
            some(f"{port}, {port.dtype}" for port in found),
            f"LiteRT.js, in browsers, has tensors of {', '.join(sorted(BROWSER))} and no others.",
            "Keep float inputs and outputs, as converters do by default: the weights and the "
            "arithmetic stay whole numbers.",
            fixable=all(port.dtype in QUANTIZED and port.scale for port in found),
        )


def odd_inputs(file: TFLiteFile) -> Iterator[Fault]:
    """Inputs that hardly any kernel takes."""
    found = [port for port in file.ports() if port.kind == "input" and port.dtype in ODD]
    if found:
        yield Fault(
            some(f"{port}, {port.dtype}" for port in found),
            "Few operators have kernels for it; browsers, delegates and microcontrollers have no "
            "such tensors at all.",
            "Turn text into token ids, and float64 into float32, in the app; convert from there.",
        )


def states(file: TFLiteFile) -> list[tuple[Port, Port]]:
    """Inputs and outputs that are the two ends of a quantized state, going by their names."""
    ports = [port for port in file.ports() if port.dtype in QUANTIZED and port.scale]
    return [
        (start, end)
        for start in ports
        for end in ports
        if (start.kind, end.kind) == ("input", "output")
        and (start.signature, start.dtype, start.shape) == (end.signature, end.dtype, end.shape)
        and start.name != end.name
        and _stem(start.name) == _stem(end.name) != ()
    ]


def _stem(name: str) -> tuple[str, ...]:
    return tuple(word for word in name.lower().split("_") if word not in _ROLES)


def differing_states(file: TFLiteFile) -> Iterator[Fault]:
    """States that leave a call in another scale than the next one takes them in."""
    differing = [(start, end) for start, end in states(file) if start.scale != end.scale]
    if differing:
        yield Fault(
            some(f"`{start.name}` and `{end.name}`" for start, end in differing),
            "The scales of the two ends of a state differ: a program that hands the bytes on as "
            "they are gets another number each step, and drifts away.",
            "Requantize between the steps, as `rnnapp.device.Stepper` does; or keep float inputs "
            "and outputs.",
        )


def _title(file: TFLiteFile, subgraph: int, index: int) -> str:
    name = text(file.model.subgraphs[subgraph].tensors[index].name)
    return f"`{name}`" if name else f"tensor {index}"


def _items(vector: Any) -> list[Any]:
    return [] if vector is None else list(vector)
