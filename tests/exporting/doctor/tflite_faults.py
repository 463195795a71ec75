"""Faulty .tflite files, one kind of fault each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rnnapp.exporting import metadata

from .tables import WEIGHTS, Tables, counter, dense, recurrent, whole_numbers

Builder = Callable[[Path], Path]
ELSEWHERE = ["ai_edge_litert"]


def _broken_weights(value: float) -> np.ndarray:
    weights = WEIGHTS.copy()
    weights[1, 2] = value
    return weights


def _unused(name: str, version: int = 1) -> Tables:
    tables = dense()
    tables.code(name, version)
    return tables


def _cut() -> Tables:
    """The weights' buffer is gone, as after a rewrite that lost it."""
    tables = dense()
    tables.model.buffers[1].data = None
    return tables


def _uncomputed_output() -> Tables:
    tables = dense()
    tables.last.operators.pop()
    return tables


def _broken_scale() -> Tables:
    tables = whole_numbers()
    tables.last.tensors[0].quantization.scale = [float("nan")]
    return tables


def _uninitialized() -> Tables:
    tables = counter()
    del tables.model.subgraphs[1], tables.model.subgraphs[0].operators[0]
    del tables.model.subgraphs[0].operators[-1]
    return tables


def _in_a_loop() -> Tables:
    """The loop's body reads a variable that comes as its argument, and nobody fills it."""
    tables = Tables()
    x, place, after = (tables.tensor("x", (1,)), tables.tensor("place", (), "RESOURCE"), 2)
    tables.tensor("after", (1,))
    tables.operator("VAR_HANDLE", [], [place], schema.VarHandleOptionsT(sharedName=b"kernel"))
    loop = schema.WhileOptionsT(condSubgraphIndex=1, bodySubgraphIndex=2)
    tables.tensor("place_after", (), "RESOURCE")
    tables.operator("WHILE", [x, place], [after, 3], loop)
    tables.signature("predict", {"x": x}, {"y": after})
    tables.subgraph("cond")
    tables.last.inputs = [tables.tensor("x", (1,)), tables.tensor("place", (), "RESOURCE")]
    zero, less = tables.constant("zero", np.zeros(1, np.float32)), tables.tensor("less", (), "BOOL")
    tables.operator("LESS", [0, zero], [less])
    tables.last.outputs = [less]
    tables.subgraph("body")
    tables.last.inputs = [tables.tensor("x", (1,)), tables.tensor("place", (), "RESOURCE")]
    tables.tensor("kernel", (1,))
    tables.operator("READ_VARIABLE", [1], [2])
    tables.tensor("y", (1,))
    tables.operator("ADD", [0, 2], [3], schema.AddOptionsT())
    tables.last.outputs = [3, 1]
    return tables


def _random() -> Tables:
    """The product is multiplied by noise, as dropout does."""
    tables = dense()
    shape, noise = tables.constant("shape", np.array([1, 3], np.int32)), tables.tensor("n", (1, 3))
    y = tables.tensor("z", (1, 3))
    tables.operator("RANDOM_UNIFORM", [shape], [noise], schema.RandomOptionsT())
    tables.operator("MUL", [3, noise], [y], schema.MulOptionsT())
    tables.last.outputs = [y]
    tables.model.signatureDefs[0].outputs[0].tensorIndex = y
    return tables


def _unrolled() -> Tables:
    """Sixty timesteps of one recurrence, one after the other."""
    tables = Tables()
    x = h = tables.tensor("x", (1, 3))
    weights = tables.constant("weights", np.eye(3, dtype=np.float32))
    for number in range(60):
        after = tables.tensor(f"h{number}", (1, 3))
        options = schema.FullyConnectedOptionsT()
        tables.operator("FULLY_CONNECTED", [h, weights, -1], [after], options)
        h = after
    tables.signature("predict", {"x": x}, {"y": h})
    return tables


def _spectrum() -> Tables:
    """int8 in and out, and a spectrum between, which microcontrollers cannot compute."""
    tables = Tables()
    x, y = (tables.tensor(name, (1, 8), "INT8", (0.1, 0)) for name in ("x", "y"))
    numbers = [tables.tensor("real", (1, 8)), tables.tensor("complex", (1, 5), "COMPLEX64")]
    tables.operator("DEQUANTIZE", [x], numbers[:1], version=2)
    length = tables.constant("length", np.array([1, 8], np.int32))
    tables.operator("RFFT2D", [numbers[0], length], numbers[1:])
    magnitude = tables.tensor("magnitude", (1, 5))
    tables.operator("COMPLEX_ABS", numbers[1:], [magnitude])
    tables.operator("QUANTIZE", [magnitude], [y])
    tables.signature("predict", {"x": x}, {"y": y})
    return tables


def _for_mediapipe(folder: Path) -> Path:
    """Metadata of an audio classifier, on two subgraphs."""
    tables = dense()
    tables.subgraph("body")
    tables.model.signatureDefs[0].inputs[0].name = b"waveform"
    path, content = folder / "model.tflite", tables.content()
    description = metadata.of_signatures(content, name="words", sample_rate=16_000)
    path.write_bytes(metadata.described(content, description))
    return path


# Each is `CODE/CASE`, and has that fault and no other.
FAULTS: dict[str, Builder] = {
    "flex-operators/tensor list": lambda folder: dense(activation="FlexTensorListStack").write(
        folder
    ),
    "flex-operators/string": lambda folder: dense(activation="FlexStringLength").write(folder),
    "custom-operators/beam": lambda folder: dense(activation="BeamSearch").write(folder),
    "unknown-operators/of the future": lambda folder: dense(version=40).write(folder),
    "unknown-operators/without a kernel": lambda folder: dense(
        activation="STABLEHLO_LOGISTIC"
    ).write(folder),
    "unused-operators/flex": lambda folder: _unused("FlexErf").write(folder),
    "unused-operators/new": lambda folder: _unused("TANH", 40).write(folder),
    "too-new-operators/a scale for each row": lambda folder: dense(version=12).write(folder),
    "missing-weights/cut": lambda folder: _cut().write(folder),
    "missing-weights/output": lambda folder: _uncomputed_output().write(folder),
    "missing-weights/variable": lambda folder: _uninitialized().write(folder),
    "missing-weights/variable in a loop": lambda folder: _in_a_loop().write(folder),
    "non-finite-weights/nan": lambda folder: dense(weights=_broken_weights(np.nan)).write(folder),
    "non-finite-weights/infinite": lambda folder: dense(weights=_broken_weights(np.inf)).write(
        folder
    ),
    "non-finite-weights/scale": lambda folder: _broken_scale().write(folder, runtimes=ELSEWHERE),
    "open-shapes/batch": lambda folder: dense(open=[-1, 4]).write(folder),
    "open-shapes/length": lambda folder: dense(open=[1, -1]).write(folder),
    "hidden-state/recurrent": lambda folder: recurrent().write(folder),
    "kept-state/variable": lambda folder: counter().write(folder),
    "browser-types/int8": lambda folder: whole_numbers().write(folder),
    "browser-types/int64": lambda folder: dense(kind="INT64").write(folder),
    "state-scales/int8": lambda folder: whole_numbers((0.1, 0.12)).write(
        folder, runtimes=ELSEWHERE
    ),
    "micro-operators/spectrum": lambda folder: _spectrum().write(folder, runtimes=["tflite_micro"]),
    "odd-inputs/float64": lambda folder: dense(kind="FLOAT64").write(folder),
    "odd-inputs/string": lambda folder: dense(kind="STRING").write(folder),
    "random-operators/dropout": lambda folder: _random().write(folder),
    "long-unrolled/sixty": lambda folder: _unrolled().write(folder),
    "mediapipe-subgraphs/two": _for_mediapipe,
}
