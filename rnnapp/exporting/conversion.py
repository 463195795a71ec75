"""The process that converts: it loads a model once, and makes every TFLite file asked for."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import rnnapp.layers  # noqa: F401  registers what the model is made of
from rnnapp.exporting import (
    flatbuffer,
    lowering,
    mediapipe,
    rounding,
    signatures,
    tflite,
    translators,
)
from rnnapp.exporting.quantized import IntegerStep
from rnnapp.exporting.reference import with_extremes
from rnnapp.layers.streaming import StepModel
from rnnapp.replay import Replay

# Elements of the smallest weights that the converter makes integers of among floats.
_HYBRID = 1024


class Conversion:
    """A model on its way to TFLite.

    Args:
        job: As `tflite.convert` writes it.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._path, self._calibration = Path(job["model"]), Path(job["calibration"])
        self.model = self._load()
        self.time: int = job["time"]
        self.float_parts: list[str] = job["float_parts"]
        self._streams: bool = job["streams"]
        self._rows: int = job["rows"]

    @functools.cached_property
    def integers(self) -> IntegerStep:
        """The step, rounded by and with ranges learnt from what no export is judged by."""
        return IntegerStep(self._rounded(exact=self.float_parts), self._sequences)

    @functools.cached_property
    def whole(self) -> bytes:
        """The signatures `predict` and, for a causal model, `step` in one file."""
        return self._lowered(self.model)

    def dynamic(self) -> bytes:
        """The same with weights of eight bits; what they meet is rounded as it comes."""

        def quantize(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            # tflite-runtime 2.14 does not know the per-channel kernels of dense layers.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True

        if translators.translates(self.model):  # rounded each to its nearest
            return self._lowered(self.model, quantize)
        return self._lowered(self._rounded(shared=True, smallest=_HYBRID), quantize)

    def halved(self) -> bytes:
        """The same with weights of sixteen bits, and a front end as exact as it was."""
        # An encoder-decoder has none; and its layers are not called under their own names.
        layers = None if translators.translates(self.model) else self.model.layers
        return flatbuffer.halved(self.whole, layers)

    def _load(self) -> keras.Model:
        return keras.models.load_model(self._path, compile=False)

    @functools.cached_property
    def _sequences(self) -> np.ndarray:
        """What integers learn from."""
        return with_extremes(Replay.load(self._calibration).sequences)

    def _rounded(self, **how: Any) -> keras.Model:
        """The model with rounded weights; `self.model` keeps its own."""
        model = self._load()
        rounding.round_weights(model, self._sequences, **how)
        return model

    def _lowered(self, model: keras.Model, prepare: Callable[[Any], None] | None = None) -> bytes:
        stepper = StepModel(model) if self._streams else None
        functions = signatures.device(model, stepper, self.time, self._rows)
        traced = {name: lowering.traced(*function) for name, function in functions.items()}
        return lowering.lowered(traced, [weight.value for weight in model.weights], prepare)


# What each file `VARIANT.tflite` is made by.
VARIANTS: dict[str, Callable[[Conversion], bytes]] = {
    "float": lambda job: job.whole,
    "dynamic": lambda job: job.dynamic(),
    "float16": lambda job: job.halved(),
    "step_int8": lambda job: job.integers.step(8, job.float_parts),
    "step_int16x8": lambda job: job.integers.step(16),
    "micro_int8": lambda job: job.integers.body_step(8, job.float_parts),
    "micro_int16x8": lambda job: job.integers.body_step(16),
    "mediapipe": lambda job: mediapipe.convert(job.model, job.time),
}


def work(job: dict[str, Any]) -> list[str]:
    """Writes the files that a job asks for, and before each, into `tflite.BEGUN`, which it is.

    Args:
        job: As `tflite.convert` writes it.

    Returns:
        If the job asks to rank, what integers of eight bits hurt most, in this order.
    """
    conversion, folder = Conversion(job), Path(job["folder"])
    for variant in job["variants"]:
        (folder / tflite.BEGUN).write_text(variant)
        content = flatbuffer.compact(VARIANTS[variant](conversion))
        (folder / f"{variant}.tflite").write_bytes(content)
    return conversion.integers.sensitive_parts() if job["rank"] else []


if __name__ == "__main__":
    print(json.dumps(work(json.loads(sys.argv[1]))))
