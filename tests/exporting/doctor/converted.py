"""Files as TensorFlow's converter makes them, faulty and sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

TIMESTEPS, FEATURES = 6, 4
BUILTINS = [tf.lite.OpsSet.TFLITE_BUILTINS]
Converter = tf.lite.TFLiteConverter


def recurrent(batch: int | None = None, **settings: Any) -> keras.Model:
    """A GRU and a dense layer."""
    inputs = keras.Input((TIMESTEPS, FEATURES), batch_size=batch)
    return keras.Sequential([inputs, keras.layers.GRU(3, **settings), keras.layers.Dense(2)])


def dense() -> keras.Model:
    """Two dense layers, the first of more weights than the converter leaves alone."""
    layers = keras.layers.Dense(40, activation="relu"), keras.layers.Dense(2)
    return keras.Sequential([keras.Input((40,)), *layers])


def traced(model: keras.Model, *sizes: int | None) -> Any:
    """The model as a function of one shape."""
    spec = tf.TensorSpec((*sizes, model.input_shape[-1]), name="x")
    return tf.function(lambda x: model(x), autograph=False).get_concrete_function(spec)


def rows() -> Iterator[list[np.ndarray]]:
    """What the converter calibrates on."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        yield [generator.normal(size=(1, 40)).astype(np.float32)]


def from_function(model: keras.Model, *sizes: int | None, holder: Any = None) -> Any:
    """The converter of one signature; without a holder, weights are constants."""
    converter = Converter.from_concrete_functions([traced(model, *sizes)], holder)
    converter.target_spec.supported_ops = BUILTINS
    return converter


def quantized(converter: Any, dtype: Any = None, per_row: bool = True) -> bytes:
    """Dynamic-range quantization, or to whole numbers with inputs and outputs of a type."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_row
    if dtype is not None:
        converter.representative_dataset = rows
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = dtype
    return converter.convert()


def flexible() -> bytes:
    """What the tutorials advise for recurrent layers."""
    converter = Converter.from_keras_model(recurrent())
    converter.target_spec.supported_ops = [*BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    converter._experimental_lower_tensor_list_ops = False
    return converter.convert()


def emptied() -> bytes:
    """With a Keras model as the second argument, weights are left out."""
    model = dense()
    return from_function(model, 1, holder=model).convert()


# Each with the codes of all that is wrong with it.
CONVERTED: dict[str, tuple[Callable[[], bytes], list[str]]] = {
    "keras": (lambda: Converter.from_keras_model(dense()).convert(), ["open-shapes"]),
    "flex": (flexible, ["flex-operators", "open-shapes"]),
    "emptied": (emptied, ["missing-weights"]),
    "stateful": (
        lambda: Converter.from_keras_model(recurrent(batch=1, stateful=True)).convert(),
        ["kept-state"],
    ),
    "open length": (lambda: from_function(recurrent(), 1, None).convert(), ["open-shapes"]),
    "per row": (lambda: quantized(from_function(dense(), 1)), ["too-new-operators"]),
    "int8": (lambda: quantized(from_function(dense(), 1), tf.int8), ["browser-types"]),
    "loop": (lambda: from_function(recurrent(), 1, TIMESTEPS).convert(), []),
    "per matrix": (lambda: quantized(from_function(dense(), 1), per_row=False), []),
    "int8 inside": (lambda: quantized(from_function(dense(), 1), tf.float32), []),
}
