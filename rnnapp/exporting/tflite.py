"""TFLite files: `predict` and `step` in one, builtin operators only, converted in a subprocess."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

VARIANTS = ("float", "dynamic", "float16")


class ConversionError(RuntimeError):
    """The converter failed; the message says on what, and how."""


def convert(
    model: Path,
    folder: Path,
    variants: Sequence[str],
    *,
    time: int,
    streams: bool,
    timeout_seconds: float = 300.0,
) -> dict[str, Path]:
    """Converts a Keras model in a process of its own, since converters crash whole processes.

    Args:
        model: A `.keras` file.
        folder: Where the files `VARIANT.tflite` go.
        variants: Some of `VARIANTS`.
        time: Length of the sequence that `predict` takes (samples or timesteps).
        streams: Whether the model is causal, and gets the signature `step`.
        timeout_seconds: For all of it.

    Returns:
        The file of each variant.

    Raises:
        ConversionError: If the converter fails, crashes or takes too long.
    """
    job = {
        "model": str(model),
        "folder": str(folder),
        "variants": list(variants),
        "time": time,
        "streams": streams,
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {variant: folder / f"{variant}.tflite" for variant in variants}
    failure = _failure_of(job, timeout_seconds)
    if failure:
        left = [variant for variant, path in paths.items() if not path.exists()]
        raise ConversionError(
            f"TFLite conversion of {model} failed at variant {(left or ['?'])[0]!r}. "
            f"Leave it out: name the other formats by --formats. The converter {failure}"
        )
    return paths


def _failure_of(job: dict[str, Any], timeout_seconds: float) -> str | None:
    """Runs the conversion; None, or how it failed."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rnnapp.exporting.tflite", json.dumps(job)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            # Keras would choose an accelerator's kernels, which no TFLite runtime has.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
    except subprocess.TimeoutExpired:
        return f"took more than {timeout_seconds:g} s."
    if not done.returncode:
        return None
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
    return f"ended with {how}. Its last words: {done.stderr.strip()[-1500:]}"


def attach(path: Path, files: Mapping[str, str]) -> None:
    """Appends associated files, as TFLite metadata does: an uncompressed zip after the model.

    Args:
        path: A TFLite file.
        files: Texts by file name.
    """
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            # A fixed date: the same model makes the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)


def _work(job: dict[str, Any]) -> None:
    """The subprocess: loads the model, traces it and writes each variant."""
    import keras
    import tensorflow as tf

    import rnnapp.layers  # noqa: F401  registers what the model is made of
    from rnnapp.exporting import flatbuffer, signatures
    from rnnapp.layers.streaming import StepModel

    model = keras.models.load_model(job["model"], compile=False)
    holder = tf.Module()
    holder.weights = [weight.value for weight in model.weights]  # no file has them otherwise
    spec = signatures.sequence_spec(model, 1, job["time"])
    predict = tf.function(signatures.renamed(signatures.whole(model), [spec.name]), autograph=False)
    traced = {"predict": predict.get_concrete_function(**{spec.name: spec})}
    if job["streams"]:
        stepper = StepModel(model)
        specs = signatures.step_specs(stepper, 1)
        step = signatures.renamed(signatures.step(stepper), [next(iter(specs))])
        traced["step"] = tf.function(step, autograph=False).get_concrete_function(**specs)
    with tempfile.TemporaryDirectory() as saved:
        tf.saved_model.save(holder, saved, signatures=traced)

        @functools.cache
        def converted(quantized: bool) -> bytes:
            return _converter(tf, saved, list(traced), quantized).convert()

        for variant in job["variants"]:
            content = converted(variant == "dynamic")
            if variant == "float16":
                content = flatbuffer.halved(content)
            path = Path(job["folder"]) / f"{variant}.tflite"
            path.write_bytes(flatbuffer.compact(content))


def _converter(tf: Any, saved: str, keys: list[str], quantized: bool) -> Any:
    converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=keys)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # tflite-runtime 2.14 does not know the per-channel kernels of dense layers.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
