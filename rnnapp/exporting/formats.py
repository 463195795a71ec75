"""The formats that a trained model is exported to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnapp.exporting import tflite

if TYPE_CHECKING:
    import keras

    from rnnapp.layers.streaming import StepModel


@dataclass(frozen=True)
class Source:
    """What an export is made from.

    Args:
        model: The trained model.
        model_path: Its file.
        labels: The names of the classes.
        time: Length of the window, in samples or timesteps.
        stepper: The model's step; None if it has none.
        associated: Files that travel inside each TFLite file, by name.
    """

    model: keras.Model
    model_path: Path
    labels: list[str]
    time: int
    stepper: StepModel | None
    associated: dict[str, str]


@dataclass(frozen=True)
class Format:
    """A kind of artefact.

    Args:
        summary: One line for people.
        path: Where it stands in the export folder.
        bound: Largest difference to the Keras model's probabilities that is let through.
        runtimes: Names in `RUNTIMES` that run it.
        write: Writes formats of one kind, by name, into the export folder.
    """

    summary: str
    path: str
    bound: float
    runtimes: tuple[str, ...]
    write: Callable[[Source, Path, list[str]], None]


def _write_saved_model(source: Source, folder: Path, names: list[str]) -> None:
    from rnnapp.exporting import saved_model

    for name in names:
        saved_model.save(source.model, folder / FORMATS[name].path, source.labels, source.stepper)


def _write_tflite(source: Source, folder: Path, names: list[str]) -> None:
    variants = {name.removeprefix("tflite_"): name for name in names}
    streams = source.stepper is not None
    paths = tflite.convert(
        source.model_path, folder / "device", list(variants), time=source.time, streams=streams
    )
    for variant, path in paths.items():
        tflite.attach(path, source.associated)
        path.replace(folder / FORMATS[variants[variant]].path)


_TF: Any = ("saved_model", "tf_c_api")
_LITERT: Any = ("ai_edge_litert",)

# The bounds are those of float32 summed in another order, of 11-bit weights, and of 8-bit weights.
FORMATS: dict[str, Format] = {
    "saved_model": Format(
        "SavedModel for TensorFlow Serving", "serving/1", 1e-5, _TF, _write_saved_model
    ),
    "tflite_float": Format("TFLite, float32", "device/float.tflite", 1e-5, _LITERT, _write_tflite),
    "tflite_dynamic": Format(
        "TFLite, int8 weights", "device/dynamic.tflite", 2e-2, _LITERT, _write_tflite
    ),
    "tflite_float16": Format(
        "TFLite, float16 weights", "device/float16.tflite", 1e-3, _LITERT, _write_tflite
    ),
}
