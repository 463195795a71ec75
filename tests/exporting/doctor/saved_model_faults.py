"""Faulty SavedModels, one kind of fault each, and sound ones."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import keras
import tensorflow as tf

_kernels = importlib.import_module("keras.src.backend.tensorflow.rnn")
Builder = Callable[[Path], Path]
UNITS, FEATURES = 4, 5
ROWS = tf.TensorSpec((None, FEATURES), name="x")
WHOLE = tf.TensorSpec((FEATURES,), name="x")
SEQUENCES = tf.TensorSpec((None, 3, FEATURES), name="x")
COMPLAINT = "You are passing a RNN mask that does not correspond to right-padded sequences."


def saved(function: Callable[..., Any], spec: tf.TensorSpec = ROWS, *weights: Any) -> Builder:
    """A SavedModel with a function as its only signature."""

    def build(folder: Path) -> Path:
        traced = tf.function(function, autograph=False).get_concrete_function(spec)
        holder = tf.Module()
        holder.weights = weights
        tf.saved_model.save(holder, str(folder / "1"), signatures={"serving_default": traced})
        return folder / "1"

    return build


def dense(value: float = 1.0) -> Builder:
    """A product with a variable."""
    kernel = tf.Variable(tf.fill((FEATURES, 2), value), name="kernel")
    return saved(lambda x: {"y": x @ kernel}, ROWS, kernel)


def without(name: str) -> Builder:
    """A sound SavedModel that was not copied whole."""

    def build(folder: Path) -> Path:
        path = dense()(folder)
        target = path / "variables" / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        return path

    return build


def _of_another(folder: Path) -> Path:
    """Its variables are those of a model that has none."""
    path, other = dense()(folder), saved(lambda x: {"y": x + 1})
    (folder / "other").mkdir()
    variables = other(folder / "other") / "variables"
    shutil.rmtree(path / "variables")
    variables.rename(path / "variables")
    return path


def _held_by_keras(folder: Path) -> Path:
    """The Keras model is all that holds the variables, which C++ programs do not look into."""
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(2)])
    traced = tf.function(lambda x: {"y": model(x)}, autograph=False).get_concrete_function(ROWS)
    holder = tf.Module()
    holder.model = model
    tf.saved_model.save(holder, str(folder / "1"), signatures={"serving_default": traced})
    return folder / "1"


def cudnn(x: tf.Tensor) -> tf.Tensor:
    """A GRU as Keras traces it on a GPU machine."""
    size = 3 * UNITS * (UNITS + FEATURES + 2)
    lengths = tf.fill(tf.shape(x)[:1], tf.shape(x)[1])
    outputs = tf.raw_ops.CudnnRNNV3(
        input=x,
        input_h=tf.zeros((tf.shape(x)[0], 1, UNITS)),
        input_c=0.0,
        params=tf.ones((size,)),
        sequence_lengths=lengths,
        rnn_mode="gru",
        time_major=False,
    )
    return outputs.output[:, -1]


def checked(x: tf.Tensor) -> tf.Tensor:
    """The same, behind the assertion that Keras places there for masks."""
    with tf.control_dependencies([tf.Assert(tf.reduce_all(x > 0), [COMPLAINT])]):
        return cudnn(tf.identity(x))


def loop(x: tf.Tensor) -> tf.Tensor:
    """Something else that has the same shape, for machines without a GPU."""
    return tf.reduce_sum(x, axis=1)[:, :UNITS]


def by_device(on_gpu: Callable[[tf.Tensor], tf.Tensor]) -> Builder:
    """Both implementations in one graph, one of which is taken where it runs."""

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        branches = {"CPU": lambda: loop(x), "GPU": lambda: on_gpu(x)}
        return {"y": tf.__internal__.execute_fn_for_device(branches, lambda: loop(x))}

    return saved(call, SEQUENCES)


def _by_grappler(folder: Path) -> Path:
    """Both implementations side by side, one of which Grappler takes, as Keras 2 did."""

    def implementation(function: Callable[..., Any], device: str) -> Any:
        attributes = {"api_implements": "gru_1", "api_preferred_device": device}
        return tf.function(function, autograph=False, experimental_attributes=attributes)

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        implementation(cudnn, "GPU").get_concrete_function(x).add_to_graph()
        return {"y": implementation(loop, "CPU")(x)}

    return saved(call, SEQUENCES)(folder)


def exported(*layers: keras.layers.Layer, gpu: bool = False) -> Builder:
    """Keras' own export, from a machine with or without a GPU."""

    def build(folder: Path) -> Path:
        model = keras.Sequential([keras.Input((3, FEATURES)), *layers])
        # What Keras asks before it decides for or against cuDNN; tracing needs no GPU.
        with patch.object(_kernels, "_is_gpu_available", lambda: gpu):
            model.export(str(folder / "1"), verbose=False)
        return folder / "1"

    return build


def _counting() -> Builder:
    calls = tf.Variable(0.0)
    return saved(lambda x: {"y": x + calls.assign_add(1.0)}, ROWS, calls)


def _counting_aside() -> Builder:
    """Calls are counted, and answers do not depend on it."""
    calls = tf.Variable(0.0)

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        calls.assign_add(1.0)
        return {"y": 2.0 * x}

    return saved(call, ROWS, calls)


# Each is `CODE/CASE`, and has that fault and no other.
FAULTS: dict[str, Builder] = {
    "missing-weights/folder": without(""),
    "missing-weights/index": without("variables.index"),
    "missing-weights/data": without("variables.data-00000-of-00001"),
    "missing-weights/another's": _of_another,
    "missing-weights/held by Keras": _held_by_keras,
    "non-finite-weights/nan": dense(float("nan")),
    "cudnn-only/gru": saved(lambda x: {"y": cudnn(x)}, SEQUENCES),
    "cudnn-only/exported": exported(keras.layers.GRU(UNITS), gpu=True),
    "python-functions/py_function": saved(
        lambda x: {"y": tf.ensure_shape(tf.py_function(lambda v: v, [x], tf.float32), x.shape)}
    ),
    "left-padding/assertion": by_device(checked),
    "loops-only/gru": exported(keras.layers.GRU(UNITS)),
    "loops-only/lstm": exported(keras.layers.Bidirectional(keras.layers.LSTM(UNITS))),
    "kept-state/counter": _counting(),
    "random-operators/dropout": saved(lambda x: {"y": tf.nn.dropout(x, 0.5)}),
    "batchless-outputs/labels": saved(lambda x: {"y": 2.0 * x, "labels": tf.constant(["a", "b"])}),
    "batchless-outputs/scalar": saved(lambda x: {"y": 2.0 * x, "mean": tf.reduce_mean(x)}),
}

SOUND: dict[str, Builder] = {
    "dense": dense(),
    "both, by device": by_device(
        lambda x: tf.cond(tf.reduce_all(x > 0), lambda: checked(x), lambda: loop(x))
    ),
    "both, by Grappler": _by_grappler,
    "exported by Keras": exported(keras.layers.SimpleRNN(UNITS)),
    # Keras draws masks in inference too, and leaves them unused.
    "dropout that is off": exported(keras.layers.GRU(UNITS, dropout=0.5, recurrent_dropout=0.5)),
    "a count aside": _counting_aside(),
    "a scalar without rows": saved(lambda x: {"y": tf.reduce_mean(x)}, WHOLE),
}
