"""Writing the C program of a model: its sources, and what they say of themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from rnnapp.exporting.c99.library import INTERFACE
from rnnapp.exporting.c99.program import Program, Value

if TYPE_CHECKING:
    import keras

    from rnnapp.layers.streaming import StepModel

VARIANTS = ("float", "int8")

_KERNELS = ("rnn.h", "rnn.c", "main.c")
_TEMPLATES = ("model.h", "model.c", "README.md")


def write(model: keras.Model, labels: Sequence[str], folder: Path, variant: str) -> None:
    """Writes a causal model's step as C99 that needs nothing but the C library.

    Args:
        model: A functional model with one output, its logits.
        labels: The names of the classes.
        folder: Where the sources go; made if need be.
        variant: One of `VARIANTS`. With "int8", the weights of matrices are int8, their inputs are
            rounded to int8 as they come, and all else is float.

    Raises:
        NotCausalError: If the model has no step.
        UnsupportedLayerError: If a layer has no kernel in C.
        ValueError: If the variant, the input, the labels or a weight is not what it must be.
    """
    from rnnapp.exporting.c99.emitters import emit  # loads Keras, as do the others
    from rnnapp.exporting.signatures import step_specs
    from rnnapp.layers.streaming import StepModel

    if variant not in VARIANTS:
        valid = ", ".join(VARIANTS)
        raise ValueError(f"`variant` must be one of {valid}. Received: variant={variant!r}")
    stepper = StepModel(model)
    if stepper.input_dtype.name != "float32":
        raise ValueError(f"The model's input must be float32. Received: {stepper.input_dtype.name}")
    program = Program(variant == "int8", stepper.state_shapes)
    outputs = emit(stepper, program)
    shapes = [value.shape for value in outputs]
    if shapes != [(len(labels),)]:
        raise ValueError(
            f"The model must answer a step with one vector of {len(labels)} logits, one for each "
            f"label. Received: outputs of shapes {shapes}"
        )
    fields = _fields(stepper, program, labels, outputs[0])
    specs = {name: spec.shape.as_list() for name, spec in step_specs(stepper, 1).items()}
    interface = {"inputs": specs, "num_labels": len(labels), "state_bytes": fields["ram"]}
    folder.mkdir(parents=True, exist_ok=True)
    package = resources.files("rnnapp.exporting.c99")
    for name in _KERNELS:
        (folder / name).write_bytes((package / name).read_bytes())
    for name in _TEMPLATES:
        template = Template((package / f"{name}.in").read_text(encoding="utf-8"))
        (folder / name).write_text(template.substitute(fields), encoding="utf-8")
    (folder / INTERFACE).write_text(json.dumps(interface, indent=2) + "\n", encoding="utf-8")


def _fields(
    stepper: StepModel, program: Program, labels: Sequence[str], logits: Value
) -> dict[str, object]:
    """What the templates leave open."""
    work, quantized = (
        f"state->{room}" if program.rooms[room] else "NULL" for room in ("work", "bytes")
    )
    return {
        "name": program.identifier(stepper.model.name),
        "weights": "int8, with a scale for each output" if program.int8 else "float",
        "ram": program.ram + 4 * len(labels),  # the logits are in the struct as well
        "flash": program.flash,
        "states": "\n".join(_states(program)),
        "rooms": "\n".join(_rooms(program)),
        "constants": "\n\n".join(program.constants.values()),
        "num_labels": len(labels),
        "labels": ",\n".join(f"    {string(label)}" for label in labels),
        "scratch": f"{work}, {quantized}",
        "steps": "\n".join(program.steps).strip("\n"),
        "logits": logits.name,
        **_input(stepper),
    }


def string(text: str) -> str:
    """A text as a string literal in C: UTF-8, with all that C could take for its own escaped."""
    plain = set(range(32, 127)) - set(b'"\\?')  # ? begins trigraphs
    inside = "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())
    return f'"{inside}"'


def _input(stepper: StepModel) -> dict[str, str]:
    """What the model hears: for the header, and for whoever tries the example."""
    from rnnapp.layers import LogMel

    size = math.prod(stepper.input_shape)
    defined = f"#define RNNAPP_INPUT_SIZE {size}"
    for op in stepper.model.operations:
        if isinstance(op, LogMel):
            rate = op.settings["sample_rate"]
            return {
                "sizes": f"#define RNNAPP_SAMPLE_RATE {rate}  /* hertz */\n{defined}",
                "input": f"{size} samples from -1 to 1, which are {1000 * size / rate:g} ms",
                "format": f"16 bit PCM of one channel at {rate} hertz",
                "command": f"sox clip.wav -t raw -r {rate} -c 1 -e signed -b 16 - | ./",
            }
    shape = " x ".join(map(str, stepper.input_shape))
    return {
        "sizes": defined,
        "input": f"{shape} features",
        "format": "floats, a step of features after another,",
        "command": "cat features.raw | ./",
    }


def _states(program: Program) -> Iterator[str]:
    for name, shape in program.states.items():
        if size := math.prod(shape):  # C has no empty arrays
            comment = f"  /* {' x '.join(map(str, shape))} */" if len(shape) > 1 else ""
            yield f"    float {program.identifier(name)}[{size}];{comment}"


def _rooms(program: Program) -> Iterator[str]:
    for room, size in program.rooms.items():
        if size:
            yield f"    {'int8_t' if room == 'bytes' else 'float'} {room}[{size}];"
