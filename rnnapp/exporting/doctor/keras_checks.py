"""What can be wrong with a `.keras` file, besides its masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnapp.exporting.doctor.findings import LONG, Fault, some
from rnnapp.exporting.doctor.keras_file import (
    RECURRENT,
    WEIGHTS,
    KerasFile,
    calls_of,
    class_of,
)

# Packages whose classes `keras.models.load_model` finds by itself, and our own, which register.
_LOADED = ("keras", "keras_hub", "keras_cv", "keras_nlp")
_REGISTERED = "rnnapp>"
# Arrays that a layer has at least, next to the bias; of others it depends on more settings.
_ARRAYS = dict.fromkeys(("Conv1D", "Conv2D", "Dense", "Embedding"), 1) | dict.fromkeys(
    ("GRU", "LSTM", "SimpleRNN"), 2
)


def code_inside(file: KerasFile) -> Iterator[Fault]:
    """Python code, or a program of another file, inside of the model."""
    for layer in file.layers():
        if class_of(layer) in ("Lambda", "TFSMLayer"):
            yield Fault(
                f"layer `{layer['config']['name']}`",
                f"A {class_of(layer)} layer is a program: Keras refuses to load it in safe mode, "
                "which is the default, and nobody should load it from a stranger.",
                "Use an operation of `keras.ops`, or a layer of your own that is registered by "
                "`keras.saving.register_keras_serializable`, and save again.",
            )


def unknown_objects(file: KerasFile) -> Iterator[Fault]:
    """Classes and functions that are neither Keras' nor ours."""
    unknown = [_title(found) for found in [file.config, *file.objects()] if _is_unknown(found)]
    if unknown:
        yield Fault(
            some(unknown),
            "The file holds names, not code: it loads only where the program that defines them "
            "was imported before.",
            "Import that program, or pass `custom_objects` to `keras.models.load_model`; to hand "
            "the model on, build it of Keras' own layers.",
        )


def _is_unknown(found: dict[str, Any]) -> bool:
    if "module" not in found:  # a tensor, a tuple, a slice
        return False
    if found["class_name"] == "function":
        # Keras writes its own activations as plain text.
        return not str(found["config"]).startswith(_REGISTERED)
    own = (found["module"] or "").partition(".")[0] in _LOADED
    return not own and not str(found.get("registered_name")).startswith(_REGISTERED)


def _title(found: dict[str, Any]) -> str:
    if found["class_name"] == "function":
        return f"`{found['config']}`"
    return f"`{found.get('registered_name') or found['class_name']}`"


def missing_weights(file: KerasFile) -> Iterator[Fault]:
    """Layers without the arrays that they are made of."""
    needed = {
        layer["config"]["name"]: _ARRAYS[class_of(layer)] + bool(layer["config"].get("use_bias"))
        for layer in file.layers()
        if class_of(layer) in _ARRAYS
    }
    if file.weights:
        bare = [name for name, least in needed.items() if file.arrays_of(name, least) < least]
    else:
        bare = list(needed)
    if bare:
        yield Fault(
            f"layers {some(bare)}" if file.weights is not None else WEIGHTS,
            "The weights are not in the file: it does not load, or starts untrained.",
            "Save the model once more, by `model.save`, where it was trained.",
        )


def non_finite_weights(file: KerasFile) -> Iterator[Fault]:
    """Weights that are no numbers."""
    bad = [
        path
        for path, array in (file.weights or {}).items()
        if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    if bad:
        yield Fault(
            some(bad),
            "Weights are NaN or infinite, and so will every answer be, everywhere.",
            "Training has diverged: go back to an earlier checkpoint, lower the learning rate or "
            "clip gradients.",
        )


def stateful(file: KerasFile) -> Iterator[Fault]:
    """Recurrent layers that go on from the last batch."""
    configs = [layer["config"] for layer in _recurrent(file)]
    names = [config["name"] for config in configs if config.get("stateful")]
    if names:
        yield Fault(
            f"layers {some(names)}",
            "stateful=True: an answer depends on the calls before, of whoever made them. A server "
            "mixes its clients' sequences; a TFLite file keeps the state in variables.",
            "Set stateful=False, and pass states explicitly where a stream is wanted, as the "
            "signature `step` of our exports does.",
        )


def without_state(file: KerasFile) -> None:
    """Starts every call from zeros, as the first one did."""
    for layer in _recurrent(file):
        layer["config"]["stateful"] = False


def _recurrent(file: KerasFile) -> list[dict[str, Any]]:
    return [layer for layer in file.layers() if class_of(layer) in RECURRENT - {"Bidirectional"}]


def long_unrolled(file: KerasFile) -> Iterator[Fault]:
    """Recurrent layers that would be written out timestep by timestep."""
    for layer in _recurrent(file):
        shape = (layer.get("build_config") or {}).get("input_shape") or []
        timesteps = shape[1] if len(shape) > 1 else None
        if layer["config"].get("unroll") and timesteps and timesteps >= LONG:
            yield Fault(
                f"layer `{layer['config']['name']}`",
                f"unroll=True over {timesteps} timesteps: every export holds each of them, which "
                "is slow to convert, several times as large, and no faster.",
                "Set unroll=False: a loop converts to builtin operators if the batch is static.",
            )


def inputs_of_odd_types(file: KerasFile) -> Iterator[Fault]:
    """Inputs that devices have no kernels for."""
    for layer in file.layers():
        dtype = layer["config"].get("dtype")
        if class_of(layer) == "InputLayer" and dtype in ("string", "float64"):
            yield Fault(
                f"input `{layer['config']['name']}`, {dtype}",
                "A server takes it; on devices, TFLite has hardly any builtin operator for "
                f"{dtype}, and browsers none.",
                "For devices, turn text into token ids in the app, and float64 into float32, and "
                "export from there.",
            )


def always_training(file: KerasFile) -> Iterator[Fault]:
    """Layers that were called as in training."""
    names = [
        layer["config"]["name"]
        for layer in file.layers()
        for call in calls_of(layer)
        if call["kwargs"].get("training") is True
    ]
    if names:
        yield Fault(
            f"layers {some(names)}",
            "Called with training=True: dropout goes on, and answers are drawn by lot, wherever "
            "the model is called without `training`, as exports do; `predict` hides it.",
            "Build the model without it, or export a function that calls it with training=False.",
        )


def open_time_distributed(file: KerasFile) -> Iterator[Fault]:
    """A wrapper that Keras 3.15 traces wrongly where the number of timesteps is open."""
    for layer in file.layers():
        shape = (layer.get("build_config") or {}).get("input_shape") or []
        if class_of(layer) == "TimeDistributed" and shape[1:2] == [None]:
            yield Fault(
                f"layer `{layer['config']['name']}`",
                "In a graph, `predict`'s or an export's, TimeDistributed over an open number of "
                "timesteps returns as many of them as the batch has rows (Keras 3.15.1).",
                "Call the wrapped layer itself: Dense and its like act on each timestep alone; or "
                "give the input a fixed number of timesteps.",
            )
