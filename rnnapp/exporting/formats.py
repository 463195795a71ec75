"""The formats that a trained model is exported to."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnapp.exporting import c99, micro, tflite

if TYPE_CHECKING:
    import keras

    from rnnapp.layers.streaming import StepModel


class LeftOutError(ValueError):
    """Formats that cannot be written, while others of their kind were.

    Args:
        reasons: Why, by name.
    """

    def __init__(self, reasons: dict[str, Exception]) -> None:
        super().__init__("; ".join(f"{name}: {error}" for name, error in reasons.items()))
        self.reasons = reasons


@dataclass(frozen=True)
class Source:
    """What an export is made from.

    Args:
        name: What the export is called.
        model: The trained model.
        model_path: Its file.
        labels: The names of the classes.
        time: Length of the window, in samples or timesteps.
        replay_path: The sequences that prove the export.
        calibration_path: Other sequences, from which integers learn.
        stepper: The model's step; None if it has none.
        no_step: Why it has none; "" if it has one.
        read: What makes token ids and lengths of texts in a graph; None of a model of others.
        settings: What a device must know: `sample_rate`, `detector` and the like.
        rows: Hypotheses in an encoder-decoder's step.
        float_parts: What stays floats among integers of eight bits, where those lose too much.
    """

    name: str
    model: keras.Model
    model_path: Path
    labels: list[str]
    time: int
    replay_path: Path
    calibration_path: Path
    stepper: StepModel | None
    no_step: str
    read: Callable[..., Any] | None
    settings: dict[str, Any]
    rows: int = 1
    float_parts: tuple[str, ...] = ()

    @property
    def unit(self) -> int:
        """Input samples in one step, the grain of lengths that a stream can hear."""
        return self.stepper.input_shape[0] if self.stepper else 1

    @property
    def hears(self) -> bool:
        """Whether the model is one of waveforms."""
        from rnnapp.exporting import signatures

        return signatures.hears(self.model)


def _takes_all(source: Source) -> str:
    return ""


def _streams(source: Source) -> str:
    return source.no_step


def _hears(source: Source) -> str:
    received = source.model.inputs[0].name
    return "" if source.hears else f"it is for waveforms. Received: a model of `{received}`"


EXACT = 1e-5  # of float32, summed in another order


@dataclass(frozen=True)
class Format:
    """A kind of artefact.

    Args:
        summary: One line for people.
        path: Where it stands in the export folder.
        bound: Largest difference to the Keras model's probabilities that is let through; None for
            activations of eight bits, which are judged by the task's quality alone.
        runtimes: Names in `RUNTIMES` that run it.
        signatures: Its functions; `step` where the model has one. Of an encoder-decoder, `encode`
            is in the place of those that take sequences.
        write: Writes formats of one kind, by name, into the export folder.
        refusal: Why a model has no such form; "" if it has one.
        sensitive_parts: Names what may stay floats, what it matters for most first; None where
            nothing may.
    """

    summary: str
    path: str
    bound: float | None
    runtimes: tuple[str, ...]
    signatures: tuple[str, ...]
    write: Callable[[Source, Path, list[str]], None]
    refusal: Callable[[Source], str] = _takes_all
    sensitive_parts: Callable[[Source], list[str]] | None = None

    @property
    def rounds(self) -> bool:
        """Whether it is less than the model by design, so that some models cannot have it."""
        return self.bound is None or self.bound > EXACT


def _write_saved_model(source: Source, folder: Path, names: list[str]) -> None:
    from rnnapp.exporting import saved_model

    for name in names:
        target = folder / FORMATS[name].path
        saved_model.save(source.model, target, source.labels, source.stepper, source.read)


def _write_tflite(source: Source, folder: Path, names: list[str]) -> None:
    """All in one process, which loads the model and learns the ranges of integers once."""
    left_out: dict[str, Exception] = {}
    variants = {name: name.removeprefix("tflite_") for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        failed = _convert(source, Path(scratch), list(variants.values()))
        for name, variant in variants.items():
            if variant in failed:
                left_out[name] = tflite.ConversionError(source.model_path, {name: failed[variant]})
                continue
            finish = _bundle if FORMATS[name].runtimes == _MICRO else _describe
            try:
                finish(source, FORMATS[name], Path(scratch, f"{variant}.tflite"), folder)
            except (c99.UnsupportedLayerError, micro.UnsupportedModelError) as error:
                left_out[name] = error
    if left_out:
        raise LeftOutError(left_out)


def _convert(source: Source, folder: Path, variants: list[str]) -> dict[str, str]:
    """How variants failed, the files of the others being there."""
    try:
        tflite.convert(
            source.model_path,
            folder,
            variants,
            time=source.time,
            streams=source.stepper is not None,
            calibration=source.calibration_path,
            rows=source.rows,
            float_parts=source.float_parts,
        )
    except tflite.ConversionError as error:
        return error.reasons
    return {}


def _sensitive_parts(source: Source) -> list[str]:
    return tflite.sensitive_parts(
        source.model_path, time=source.time, calibration=source.calibration_path
    )


def _describe(source: Source, form: Format, converted: Path, folder: Path) -> None:
    """Adds what a file says of itself, and puts it into its place."""
    # The doctor does not hold a file to runtimes that it is not for.
    settings = {**source.settings, "runtimes": form.runtimes}
    files = {
        "labels.txt": "\n".join(source.labels) + "\n",
        "rnnapp.json": json.dumps(settings, indent=2) + "\n",
    }
    tflite.describe(converted, source.name, source.settings.get("sample_rate"), files)
    target = folder / form.path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(converted, target)


def _bundle(source: Source, form: Format, converted: Path, folder: Path) -> None:
    """Makes a bundle for microcontrollers of a file, which stays as small as it is."""
    micro.write(source.model, source.labels, converted, folder / form.path)


def _write_web(source: Source, folder: Path, names: list[str]) -> None:
    from rnnapp.exporting import browser

    with tempfile.TemporaryDirectory() as scratch:
        model = folder / FORMATS["tflite_float"].path
        if not model.exists():
            _write_tflite(source, Path(scratch), ["tflite_float"])
            model = Path(scratch) / FORMATS["tflite_float"].path
        for name in names:
            browser.write(
                model,
                folder / FORMATS[name].path,
                title=source.name,
                labels=source.labels,
                settings=source.settings,
            )


def _write_c99(source: Source, folder: Path, names: list[str]) -> None:
    for name in names:
        variant = name.removeprefix("c99_")
        model = _rounded(source) if variant == "int8" else source.model
        c99.write(model, source.labels, folder / FORMATS[name].path, variant)


def _rounded(source: Source) -> keras.Model:
    """A copy of the model with weights that are integers times a scale for each output."""
    import keras

    from rnnapp.exporting import reference, rounding
    from rnnapp.replay import Replay

    model = keras.models.load_model(source.model_path, compile=False)
    heard = Replay.load(source.calibration_path).sequences
    rounding.round_weights(model, reference.with_extremes(heard))
    return model


_TF = ("saved_model", "tf_c_api")
_LITERT = ("ai_edge_litert", "compiled_model")
_MICRO = ("tflite_micro",)
_LITES = (*_LITERT, "tflite_runtime")  # which lacks divisions of integers, among others

_BOTH = ("predict", "step")
_STEP = ("step",)

# Bounds are those of float32 summed in another order, of 11-bit and of 8-bit weights. Those that
# need another's file stand after it.
FORMATS: dict[str, Format] = {
    "saved_model": Format(
        "SavedModel for TensorFlow Serving",
        "serving/1",
        EXACT,
        _TF,
        ("serving_default", "padded", "step"),
        _write_saved_model,
    ),
    "tflite_float": Format(
        "TFLite, float32", "device/float.tflite", EXACT, _LITES, _BOTH, _write_tflite
    ),
    "tflite_dynamic": Format(
        "TFLite, int8 weights", "device/dynamic.tflite", 2e-2, _LITES, _BOTH, _write_tflite
    ),
    "tflite_float16": Format(
        "TFLite, float16 weights", "device/float16.tflite", 1e-3, _LITES, _BOTH, _write_tflite
    ),
    "step_int8": Format(
        "TFLite step, int8",
        "device/step_int8.tflite",
        None,
        _LITERT,
        _STEP,
        _write_tflite,
        _streams,
        sensitive_parts=_sensitive_parts,
    ),
    "step_int16x8": Format(
        "TFLite step, int8 weights, int16 activations",
        "device/step_int16x8.tflite",
        1e-2,
        _LITERT,
        _STEP,
        _write_tflite,
        _streams,
    ),
    "micro_int8": Format(
        "TFLite Micro step, int8, behind a front end in C99",
        "device/micro/int8",
        None,
        _MICRO,
        _STEP,
        _write_tflite,
        _streams,
        sensitive_parts=_sensitive_parts,
    ),
    "micro_int16x8": Format(
        "TFLite Micro step, int8 weights, int16 activations, behind a front end in C99",
        "device/micro/int16x8",
        1e-2,
        _MICRO,
        _STEP,
        _write_tflite,
        _streams,
    ),
    "mediapipe": Format(
        "TFLite for MediaPipe and the Task Library",
        "device/mediapipe.tflite",
        EXACT,
        ("ai_edge_litert", "mediapipe"),
        ("predict",),
        _write_tflite,
        _hears,
    ),
    "c99_float": Format(
        "C99 step, float32", "device/c99/float", EXACT, ("c99",), _STEP, _write_c99, _streams
    ),
    "c99_int8": Format(
        "C99 step, int8", "device/c99/int8", 2e-2, ("c99",), _STEP, _write_c99, _streams
    ),
    "web": Format(
        "Browser page, by LiteRT.js",
        "web",
        EXACT,
        ("ai_edge_litert", "chromium"),
        _BOTH,
        _write_web,
        _hears,
    ),
}
