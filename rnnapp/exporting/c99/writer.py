"""Writing the C program of a model: its sources, and what they say of themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from rnnapp.exporting.c99.library import INTERFACE
from rnnapp.exporting.c99.program import Program, UnsupportedLayerError, Value

if TYPE_CHECKING:
    import keras

    from rnnapp.layers.streaming import StepModel

VARIANTS = ("float", "int8")

_PACKAGE = "rnnapp.exporting.c99"
_KERNELS = ("rnn.h", "rnn.c")


def write(model: keras.Model, labels: Sequence[str], folder: Path, variant: str) -> None:
    """Writes a causal model's step as C99 that needs nothing but the C library.

    Args:
        model: A functional model with one output, its logits: of a sequence, or of each timestep.
        labels: The names of the classes.
        folder: Where the sources go; made if need be.
        variant: One of `VARIANTS`. With "int8", embeddings and the weights of matrices are int8,
            the inputs of matrices are rounded to int8 as they come, and all else is float.

    Raises:
        NotCausalError: If the model has no step.
        UnsupportedLayerError: If a layer has no kernel in C, or the input is neither of floats nor
            of token ids.
        ValueError: If the variant, the labels or a weight is not what it must be.
    """
    from rnnapp.layers.streaming import StepModel  # loads Keras

    if variant not in VARIANTS:
        valid = ", ".join(VARIANTS)
        raise ValueError(f"`variant` must be one of {valid}. Received: variant={variant!r}")
    stepper = StepModel(model)
    program, outputs = _program(stepper, variant == "int8")
    shapes = [value.shape for value in outputs]
    if shapes not in ([(len(labels),)], [(1, len(labels))]):
        raise ValueError(
            f"The model must answer a step with one vector of {len(labels)} logits, one for each "
            f"label. Received: outputs of shapes {shapes}"
        )
    answer = (1, *shapes[0])
    answers = {"logits": answer, "probabilities": answer}
    fields = {
        **_fields(stepper, program, outputs[0]),
        "weights": "int8, with a scale for each output or token" if program.int8 else "float",
        "ram": program.ram + 4 * len(labels),  # the logits are in the struct as well
        "num_labels": len(labels),
        "labels": strings(labels),
    }
    copied(_PACKAGE, ("main.c", *_KERNELS), folder)
    filled(_PACKAGE, ("model.h", "model.c", "README.md"), folder, fields)
    _describe(folder / INTERFACE, "rnnapp_step", stepper, answers, fields)


def write_front(model: keras.Model, folder: Path) -> dict[str, object]:
    """Writes a causal model's front end alone as C99, for another inference of what follows it.

    Args:
        model: A functional model.
        folder: Where the sources go; made if need be.

    Returns:
        What the templates were filled with.

    Raises:
        NotCausalError: If the model has no step.
        UnsupportedLayerError: If a layer has no kernel in C, or the input is not of floats.
    """
    from rnnapp.exporting.signatures import FEATURES
    from rnnapp.layers.streaming import StepModel

    stepper, body = StepModel(model, "front"), StepModel(model, "body")
    program, (features,) = _program(stepper, int8=False)
    fields = {
        **_fields(stepper, program, features),
        "ram": program.ram,
        "num_features": math.prod(body.input_shape),
    }
    copied(_PACKAGE, _KERNELS, folder)
    filled(_PACKAGE, ("front.h", "front.c"), folder, fields)
    outputs = {FEATURES: (1, *body.input_shape)}
    _describe(folder / "front.json", "rnnapp_front_step", stepper, outputs, fields)
    return fields


def copied(package: str, names: Sequence[str], folder: Path) -> None:
    """Copies a package's files.

    Args:
        package: Its name.
        names: Those of the files.
        folder: Where they go; made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes((resources.files(package) / name).read_bytes())


def filled(package: str, names: Sequence[str], folder: Path, fields: dict[str, object]) -> None:
    """Writes a package's templates, filled.

    Args:
        package: Its name.
        names: Those of the templates, without their `.in`.
        folder: Where they go.
        fields: What they leave open.
    """
    for name in names:
        template = (resources.files(package) / f"{name}.in").read_text(encoding="utf-8")
        (folder / name).write_text(Template(template).substitute(fields), encoding="utf-8")


def _program(stepper: StepModel, int8: bool) -> tuple[Program, list[Value]]:
    """The program of a step, and its outputs."""
    from rnnapp.exporting.c99.emitters import emit  # loads Keras

    # The embedding, which has weights, is behind a front.
    tokens = stepper.part != "front" and _embedding(stepper.model) is not None
    if stepper.input_dtype.name != ("int32" if tokens else "float32"):
        raise UnsupportedLayerError(
            "The model's input must be float32, or int32 for an embedding. "
            f"Received: {stepper.input_dtype.name}"
        )
    program = Program(int8, stepper.state_shapes)
    return program, emit(stepper, program)


def _describe(
    path: Path,
    function: str,
    stepper: StepModel,
    outputs: Mapping[str, tuple[int, ...]],
    fields: dict[str, object],
) -> None:
    """Writes what a loader must know."""
    from rnnapp.exporting.signatures import step_specs

    specs = {name: spec.shape.as_list() for name, spec in step_specs(stepper, 1).items()}
    interface = {
        "function": function,
        "input_dtype": stepper.input_dtype.name,
        "inputs": specs,
        "outputs": outputs,
        "state_bytes": fields["ram"],
    }
    path.write_text(json.dumps(interface, indent=2) + "\n", encoding="utf-8")


def _fields(stepper: StepModel, program: Program, output: Value) -> dict[str, object]:
    """What the templates of all programs leave open."""
    return {
        "name": program.identifier(stepper.model.name),
        "flash": program.flash,
        "states": "\n".join(_states(program)),
        "rooms": "\n".join(_rooms(program)),
        "constants": "\n\n".join(program.constants.values()),
        "scratch": _scratch(program),
        "steps": "\n".join(program.steps).strip("\n"),
        "output": output.name,
        **_input(stepper),
    }


def strings(texts: Sequence[str]) -> str:
    """Texts as the initializers of an array in C, a line each."""
    return ",\n".join(f"    {string(text)}" for text in texts)


def string(text: str) -> str:
    """A text as a string literal in C: UTF-8, with all that C could take for its own escaped."""
    plain = set(range(32, 127)) - set(b'"\\?')  # ? begins trigraphs
    inside = "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())
    return f'"{inside}"'


def _input(stepper: StepModel) -> dict[str, str]:
    """What the model hears: for the header, and for whoever tries the example."""
    from rnnapp.layers import LogMel

    size = math.prod(stepper.input_shape)
    log_mel = next((op for op in stepper.model.operations if isinstance(op, LogMel)), None)
    embedding = _embedding(stepper.model)
    if log_mel is not None:
        fields = _samples(size, log_mel.settings["sample_rate"])
    elif embedding is not None:
        fields = _token_ids(embedding)
    else:
        fields = {
            "sizes": "",
            "input": f"{' x '.join(map(str, stepper.input_shape))} features",
            "format": "floats, a step of features after another,",
            "command": "cat features.raw | ./",
        }
    sizes = f"{fields['sizes']}#define RNNAPP_INPUT_SIZE {size}"
    return {**fields, "ctype": "float" if embedding is None else "int32_t", "sizes": sizes}


def _samples(size: int, rate: float) -> dict[str, str]:
    return {
        "sizes": f"#define RNNAPP_SAMPLE_RATE {rate}  /* hertz */\n",
        "input": f"{size} samples from -1 to 1, which are {1000 * size / rate:g} ms",
        "format": f"16 bit PCM of one channel at {rate} hertz",
        "command": f"sox clip.wav -t raw -r {rate} -c 1 -e signed -b 16 - | ./",
    }


def _token_ids(embedding: keras.layers.Embedding) -> dict[str, str]:
    from rnnapp.exporting.c99.front import unknown_of

    return {
        "sizes": f"#define RNNAPP_VOCABULARY_SIZE {embedding.input_dim}\n",
        "input": "RNNAPP_INPUT_SIZE token ids, from 0 to\n * RNNAPP_VOCABULARY_SIZE - 1. "
        f"Any other is taken for {unknown_of(embedding)}, the unknown token",
        "format": "token ids, numbers with spaces between,",
        "command": "echo 5 4 6 | ./",
    }


def _embedding(model: keras.Model) -> keras.layers.Embedding | None:
    """What takes a model's token ids; None where it takes something else."""
    from keras.layers import Embedding

    return next((op for op in model.operations if isinstance(op, Embedding)), None)


def _scratch(program: Program) -> str:
    """The room that kernels work in; nothing where none does."""
    if not any("&scratch" in statement for statement in program.steps):
        return ""
    work, quantized = (
        f"state->{room}" if program.rooms[room] else "NULL" for room in ("work", "bytes")
    )
    return f"    const rnn_scratch scratch = {{{work}, {quantized}}};\n\n"


def _states(program: Program) -> Iterator[str]:
    for name, shape in program.states.items():
        if size := math.prod(shape):  # C has no empty arrays
            comment = f"  /* {' x '.join(map(str, shape))} */" if len(shape) > 1 else ""
            yield f"    float {program.identifier(name)}[{size}];{comment}"


def _rooms(program: Program) -> Iterator[str]:
    for room, size in program.rooms.items():
        if size:
            yield f"    {'int8_t' if room == 'bytes' else 'float'} {room}[{size}];"
