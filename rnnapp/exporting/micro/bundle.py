"""A bundle: the step of a model as an array, its front end in C, and how a program calls them.

TensorFlow Lite Micro has no Fourier transform as TFLite files have it, and a front end does not
bear integers: it is written in C, and hands its features to the model.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnapp.device import TensorInfo
from rnnapp.device.stepper import NEXT, Runnable
from rnnapp.exporting import c99, flatbuffer
from rnnapp.exporting.c99 import writer
from rnnapp.exporting.micro import arena
from rnnapp.exporting.micro.interpreter import MicroModel, positions

if TYPE_CHECKING:
    import keras

_PACKAGE = "rnnapp.exporting.micro"
_MODEL = "model.tflite"
_FEATURES = "features"  # as `signatures.FEATURES`, which would load TensorFlow
# Types of features, in C and of the interpreter's tensors.
_CTYPES = {"float32": ("float", "f"), "int32": ("int32_t", "i32")}
# Words that TensorFlow Lite Micro spells otherwise than the others.
_SPELLINGS = {"Matmul": "MatMul", "Cumsum": "CumSum", "Padv2": "PadV2", "Lstm": "LSTM"}


def write(model: keras.Model, labels: Sequence[str], body: Path, folder: Path) -> None:
    """Writes what a program for a microcontroller is built from, or nothing.

    Args:
        model: A causal functional model.
        labels: The names of the classes.
        body: The step of what follows its front end, a TFLite file whose states and answers are
            floats.
        folder: Where the files go; made if need be.

    Raises:
        ImportError: If TensorFlow Lite Micro is not installed.
        UnsupportedLayerError: If a layer of the front end has no kernel in C.
        UnsupportedModelError: If TensorFlow Lite Micro cannot run the body.
    """
    from rnnapp.layers.streaming import has_front  # loads Keras

    content = body.read_bytes()
    fields = {
        "name": model.name,
        "arena": arena.measured(body),  # first: what crashes there is not loaded here
        "labels": writer.strings(labels),
        "num_labels": len(labels),
        **_array(content),
        **_places(content),
        **_example(c99.write_front(model, folder) if has_front(model) else None),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MODEL).write_bytes(content)
    writer.filled(_PACKAGE, ("model.h", "model.c", "README.md"), folder, fields)


@contextmanager
def load(folder: Path) -> Iterator[Runnable]:
    """Runs what `write` made: the model in TensorFlow Lite Micro, behind its compiled front end.

    Args:
        folder: A bundle.

    Yields:
        Both as one, with the signature `step`.

    Raises:
        CompilationError: If it has a front end, and there is no compiler, or it refuses that.
        UnsupportedModelError: If TensorFlow Lite Micro cannot run the model.
    """
    body = MicroModel((folder / _MODEL).read_bytes(), str(folder))
    if not (folder / "front.c").exists():
        yield body
        return
    with c99.load(folder, "front") as front:
        yield Chain(front, body)


class Chain:
    """Two steps as one: the second hears the features that the first one makes.

    Args:
        front: A step with the output `features`.
        body: A step with that input.
    """

    def __init__(self, front: Runnable, body: Runnable) -> None:
        self.name, self.signatures = body.name, ["step"]
        self._front, self._body = front, body

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the inputs of both."""
        return _without_features(self._front.inputs(signature) | self._body.inputs(signature))

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the outputs of both."""
        return _without_features(self._front.outputs(signature) | self._body.outputs(signature))

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs one after the other."""
        heard = {name: inputs.pop(name) for name in self._front.inputs(signature)}
        made = self._front.run(signature, **heard)
        features = {_FEATURES: made.pop(_FEATURES)}
        return made | self._body.run(signature, **features, **inputs)


def _without_features(infos: dict[str, TensorInfo]) -> dict[str, TensorInfo]:
    return {name: info for name, info in infos.items() if name != _FEATURES}


def operators(body: bytes) -> list[str]:
    """What must be added to a resolver of TensorFlow Lite Micro.

    Args:
        body: A TFLite file.

    Returns:
        Operators in the spelling of its methods `Add...`, in alphabetical order.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    codes = {code.builtinCode for code in flatbuffer.unpack(body).operatorCodes}
    words = ([word.title() for word in names[code].split("_")] for code in codes)
    return sorted("".join(_SPELLINGS.get(word, word) for word in name) for name in words)


def _array(body: bytes) -> dict[str, object]:
    """The file as C has it, and the operators that it takes."""
    rows = (body[start : start + 16] for start in range(0, len(body), 16))
    adders = [f"Add{name}" for name in operators(body)]
    return {
        "bytes": len(body),
        "array": "\n".join(f"    {', '.join(f'0x{byte:02x}' for byte in row)}," for row in rows),
        "num_operators": len(adders),
        "operators": "\n".join(textwrap.wrap(", ".join(adders), 96, subsequent_indent=" * ")),
        "adders": "\n".join(f"    resolver.{adder}();" for adder in adders),
    }


def _places(body: bytes) -> dict[str, object]:
    """Where the interpreter, which knows no names, has the inputs and outputs."""
    model = MicroModel(body, "the model")
    infos = model.inputs("step") | model.outputs("step")
    shapes = {name: info.shape for name, info in infos.items()}
    _, inputs, outputs = positions(body, model.name)
    answers = [name for name in outputs if not name.startswith(NEXT)]
    states = [name for name in inputs if name != _FEATURES]
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    constants = [_place("INPUT", _FEATURES, inputs, shapes)]
    constants += [_place("OUTPUT", name, outputs, shapes) for name in sorted(answers)]
    ctype, member = _CTYPES[infos[_FEATURES].dtype.name]
    return {
        "ctype": ctype,
        "member": member,
        "num_features": sizes[_FEATURES],
        "places": "\n".join(constants),
        "num_states": len(states),
        "state_floats": sum(sizes[name] for name in states),
        "states": "\n".join(
            f"    {{{inputs[name]}, {outputs[NEXT + name]}, {sizes[name]}}},"
            f"  /* {name}, {_by(shapes[name])} */"
            for name in states
        ),
    }


def _place(end: str, name: str, places: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> str:
    """An entry of an enumeration."""
    return f"    RNNAPP_{end}_{name.upper()} = {places[name]},  /* {_by(shapes[name])} */"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _example(front: dict[str, object] | None) -> dict[str, object]:
    """What the example in the README has of a front end, if there is one."""
    if front is None:
        return {
            "front": "",
            "include": "",
            "stream": "",
            "hear": "// Fill `features` with those of the next step.",
            "caution": "",
        }
    return {
        "front": f"\n| front end | {front['flash']} bytes of flash, {front['ram']} bytes of RAM |",
        "include": '#include "front.h"\n',
        "stream": "\nstatic rnnapp_front front;  // likewise",
        "hear": "float samples[RNNAPP_INPUT_SIZE];\n"
        f"        // Fill `samples` with the next step of a stream: {front['input']}.\n"
        "        rnnapp_front_step(&front, samples, features);",
        "caution": "\n\nDo not compile `rnn.c` with `-ffast-math`. `front.json` is for tools.",
    }
