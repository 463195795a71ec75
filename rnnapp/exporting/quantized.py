"""Step models of integers: eight-bit weights, and activations of eight or sixteen bits.

Post-training quantization learns the range of every tensor from examples. Those of a stream are
made by letting it run over one sequence after another: states that are reached in use, not zeros.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapp.exporting import flatbuffer, signatures
from rnnapp.layers.streaming import StepModel


def step(model: keras.Model, sequences: np.ndarray, *, activation_bits: int) -> bytes:
    """A model's step with integer arithmetic behind a front end of floats.

    Args:
        model: A causal model.
        sequences: Examples, float32 (examples, time, ...).
        activation_bits: 8 or 16.

    Returns:
        A TFLite flatbuffer with the signature `step`, of floats to the outside.
    """
    front, body = StepModel(model, "front"), StepModel(model, "body")
    heard = _heard(front, np.concatenate(list(sequences)))
    content = _quantized(body, heard, activation_bits)
    if not front.state_shapes and front.input_shape == body.input_shape:
        return content
    return flatbuffer.chained(_float(front), content, signatures.FEATURES)


def _heard(front: StepModel, sequence: np.ndarray) -> list[np.ndarray]:
    """What a front makes of a sequence (time, ...), step by step."""
    run, (size, *_) = tf.function(front), front.input_shape
    states, heard = front.initial_states(), []
    for start in range(0, len(sequence) - size + 1, size):
        features, states = run(tf.constant(sequence[None, start : start + size]), states)
        heard.append(features.numpy())
    return heard


def _quantized(body: StepModel, heard: list[np.ndarray], activation_bits: int) -> bytes:
    traced = _traced(signatures.step(body), body)
    sixteen, eight, floats = (
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    )

    def examples() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        states = {name: value.numpy() for name, value in body.initial_states().items()}
        for features in heard:
            inputs = {body.input_name: features, **states}
            yield "step", inputs
            outputs = traced(**{name: tf.constant(value) for name, value in inputs.items()})
            states = {name: outputs[f"next_{name}"].numpy() for name in states}

    def quantize(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        # What has no kernel of integers stays one of floats: a division, a maximum over a mask.
        converter.target_spec.supported_ops = [sixteen if activation_bits == 16 else eight, floats]

    return _converted(traced, body, quantize)


def _float(front: StepModel) -> bytes:
    def plain(converter: Any) -> None:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]

    return _converted(_traced(signatures.front_step(front), front), front, plain)


def _traced(function: Callable[..., Any], stepper: StepModel) -> Any:
    specs = signatures.step_specs(stepper, 1)
    named = signatures.renamed(function, [next(iter(specs))])
    return tf.function(named, autograph=False).get_concrete_function(**specs)


def _converted(traced: Any, holder: tf.Module, prepare: Callable[[Any], None]) -> bytes:
    with tempfile.TemporaryDirectory() as saved:
        tf.saved_model.save(holder, saved, signatures={"step": traced})
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=["step"])
        prepare(converter)
        with warnings.catch_warnings():
            # What TensorFlow calibrates with, it calls deprecated.
            warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
            return bytes(converter.convert())
