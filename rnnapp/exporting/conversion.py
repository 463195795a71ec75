"""The process that converts: it loads a model once, and makes every TFLite file asked for."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import rnnapp.layers  # noqa: F401  registers what the model is made of
from rnnapp.exporting import flatbuffer, lowering, mediapipe, rounding, signatures, tflite
from rnnapp.exporting.quantized import IntegerStep
from rnnapp.exporting.reference import with_extremes
from rnnapp.layers.streaming import StepModel
from rnnapp.replay import Replay


class Conversion:
    """A model on its way to TFLite.

    Args:
        job: As `tflite.convert` writes it.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._path, self._replay = Path(job["model"]), Path(job["replay"])
        self.model = self._load()
        self.time: int = job["time"]
        self.float_parts: list[str] = job["float_parts"]
        self._streams: bool = job["streams"]

    @functools.cached_property
    def integers(self) -> IntegerStep:
        """The step, rounded by and with ranges learnt from what no export is judged by."""
        sequences = with_extremes(Replay.load(self._replay).calibration.sequences)
        model = self._load()  # the others keep the weights that they have
        rounding.round_weights(model, sequences, exact=self.float_parts)
        return IntegerStep(model, sequences)

    @functools.cache  # noqa: B019  it lives as long as its process
    def whole(self, quantized: bool = False) -> bytes:
        """The signatures `predict` and, for a causal model, `step` in one file.

        Args:
            quantized: Whether the weights become integers of eight bits.
        """

        def quantize(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            # tflite-runtime 2.14 does not know the per-channel kernels of dense layers.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True

        weights = [weight.value for weight in self.model.weights]
        return lowering.lowered(self._traced, weights, quantize if quantized else None)

    def _load(self) -> keras.Model:
        return keras.models.load_model(self._path, compile=False)

    @functools.cached_property
    def _traced(self) -> dict[str, Any]:
        spec = signatures.sequence_spec(self.model, 1, self.time)
        traced = {"predict": lowering.traced(signatures.whole(self.model), {spec.name: spec})}
        if self._streams:
            stepper = StepModel(self.model)
            specs = signatures.step_specs(stepper, 1)
            traced["step"] = lowering.traced(signatures.step(stepper), specs)
        return traced


# What each file `VARIANT.tflite` is made by.
VARIANTS: dict[str, Callable[[Conversion], bytes]] = {
    "float": lambda job: job.whole(),
    "dynamic": lambda job: job.whole(quantized=True),
    "float16": lambda job: flatbuffer.halved(job.whole(), job.model.layers),
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
