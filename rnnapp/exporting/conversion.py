"""The process that converts: it loads a model once, and makes every TFLite file asked for."""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import rnnapp.layers  # noqa: F401  registers what the model is made of
from rnnapp.exporting import flatbuffer, mediapipe, quantized, signatures
from rnnapp.exporting.reference import with_extremes
from rnnapp.layers.streaming import StepModel
from rnnapp.replay import Replay


class Conversion:
    """A model on its way to TFLite.

    Args:
        job: As `tflite.convert` writes it.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.model = keras.models.load_model(job["model"], compile=False)
        self.time: int = job["time"]
        self._streams, self._replay = job["streams"], Path(job["replay"])

    @property
    def sequences(self) -> np.ndarray:
        """Examples that ranges are learnt from, float32 (examples, time, ...)."""
        return with_extremes(Replay.load(self._replay).sequences)

    @functools.cache  # noqa: B019  it lives as long as its process
    def whole(self, quantized: bool = False) -> bytes:
        """The signatures `predict` and, for a causal model, `step` in one file.

        Args:
            quantized: Whether the weights become integers of eight bits.
        """
        holder = tf.Module()
        holder.weights = [w.value for w in self.model.weights]  # no file has them otherwise
        with tempfile.TemporaryDirectory() as saved:
            tf.saved_model.save(holder, saved, signatures=self._traced)
            converter = tf.lite.TFLiteConverter.from_saved_model(saved, list(self._traced))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if quantized:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                # tflite-runtime 2.14 does not know the per-channel kernels of dense layers.
                converter._experimental_disable_per_channel_quantization_for_dense_layers = True
            return bytes(converter.convert())

    @functools.cached_property
    def _traced(self) -> dict[str, Any]:
        spec = signatures.sequence_spec(self.model, 1, self.time)
        predict = signatures.renamed(signatures.whole(self.model), [spec.name])
        traced = {"predict": _concrete(predict, {spec.name: spec})}
        if self._streams:
            stepper = StepModel(self.model)
            specs = signatures.step_specs(stepper, 1)
            step = signatures.renamed(signatures.step(stepper), [next(iter(specs))])
            traced["step"] = _concrete(step, specs)
        return traced


def _concrete(function: Callable[..., Any], specs: dict[str, tf.TensorSpec]) -> Any:
    return tf.function(function, autograph=False).get_concrete_function(**specs)


# What each file `device/VARIANT.tflite` is made by.
VARIANTS: dict[str, Callable[[Conversion], bytes]] = {
    "float": lambda job: job.whole(),
    "dynamic": lambda job: job.whole(quantized=True),
    "float16": lambda job: flatbuffer.halved(job.whole()),
    "step_int8": lambda job: quantized.step(job.model, job.sequences, activation_bits=8),
    "step_int16x8": lambda job: quantized.step(job.model, job.sequences, activation_bits=16),
    "mediapipe": lambda job: mediapipe.convert(job.model, job.time),
}


def work(job: dict[str, Any]) -> None:
    """Writes the files that a job asks for, one after the other.

    Args:
        job: As `tflite.convert` writes it.
    """
    conversion = Conversion(job)
    for variant in job["variants"]:
        content = flatbuffer.compact(VARIANTS[variant](conversion))
        (Path(job["folder"]) / f"{variant}.tflite").write_bytes(content)


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
