"""Recurrent layers in a SavedModel: a kernel where there is one, and the same answers without."""

from __future__ import annotations

import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from rnnapp.exporting.portable import portable
from rnnapp.exporting.runtimes import CApi

BATCH, TIMESTEPS, FEATURES, UNITS = 2, 4, 3, 5
# Right-padded, which cuDNN takes; and what it refuses: left-padded, with a hole, with nothing.
MASKS = np.array(
    [
        [[1, 1, 1, 0], [1, 1, 1, 1]],
        [[0, 1, 1, 1], [0, 0, 1, 1]],
        [[1, 0, 1, 1], [1, 1, 1, 1]],
        [[1, 1, 0, 0], [0, 0, 0, 0]],
    ],
    bool,
)
FORMS = [
    form
    for form in itertools.product(("LSTM", "GRU"), (False, True), (False, True), (False, True))
    if not (form[1] and form[2])  # Keras' wrapper turns one copy round itself
]


def model_of(layer: keras.layers.Layer, *, masked: bool = True) -> keras.Model:
    """A model of one layer, with or without a mask."""
    x = keras.Input((None, FEATURES))
    if not masked:
        return keras.Model(x, layer(x))
    mask = keras.Input((None,), dtype="bool")
    return keras.Model([x, mask], layer(x, mask=mask))


def save(model: keras.Model, folder: Path) -> Path:
    """The model as a SavedModel, traced in the context."""
    holder = tf.Module()
    holder.weights = [weight.value for weight in model.weights]
    specs = [
        tf.TensorSpec(x.shape, x.dtype, name=name)
        for x, name in zip(model.inputs, ("x", "mask"), strict=False)
    ]

    def answer(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)}

    with portable():
        traced = tf.function(answer, autograph=False).get_concrete_function(*specs)
    tf.saved_model.save(holder, str(folder), signatures={"serving_default": traced})
    return folder


def operations(folder: Path) -> set[str]:
    """The operations of a SavedModel, those inside its functions as well."""
    content = (folder / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize(("cell", "bidirectional", "backwards", "sequences"), FORMS)
def test_a_cpu_gives_keras_answers_for_every_mask(
    cell: str, bidirectional: bool, backwards: bool, sequences: bool, tmp_path: Path
) -> None:
    """The loader of TensorFlow Serving, on a machine without GPU: the same bits as Keras."""
    layer = getattr(keras.layers, cell)(
        UNITS, return_sequences=sequences, go_backwards=backwards, name="layer"
    )
    model = model_of(keras.layers.Bidirectional(layer) if bidirectional else layer)
    folder = save(model, tmp_path)
    assert {"DeviceIndex", "CudnnRNNV3"} <= operations(folder)
    session, generator = CApi(folder), np.random.default_rng(0)
    for mask in MASKS:
        x = generator.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
        answer = session.run("serving_default", x=x, mask=mask)["y"]
        np.testing.assert_array_equal(answer, model([x, mask]).numpy())
    session.close()


def test_the_accelerator_comes_second(tmp_path: Path) -> None:
    """`DeviceIndex` counts the names in its own list; the kernel must be the branch of "GPU"."""
    layer = keras.layers.GRU(UNITS)
    folder = save(model_of(layer, masked=False), tmp_path)
    content = (folder / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def
    functions = {f.signature.name: f for f in graph.library.function}
    nodes = [*graph.node, *(node for f in functions.values() for node in f.node_def)]
    (index,) = (node for node in nodes if node.op == "DeviceIndex")
    assert list(index.attr["device_names"].list.s) == [b"CPU", b"GPU"]
    (case,) = (node for node in nodes if node.op in ("StatelessCase", "Case"))
    loop, kernel, default = (
        {node.op for node in functions[branch.name].node_def}
        for branch in case.attr["branches"].list.func
    )
    assert "CudnnRNNV3" in kernel
    assert "CudnnRNNV3" not in loop | default


@pytest.mark.parametrize(
    "settings",
    [
        {"use_cudnn": False},
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"use_bias": False},
        {"reset_after": False},
        {"unroll": True},
    ],
    ids=str,
)
def test_what_cudnn_cannot_do_stays_a_loop(settings: dict, tmp_path: Path) -> None:
    """A kernel of other equations would answer otherwise on one machine alone."""
    layer = keras.layers.GRU(UNITS, **settings)
    x = keras.Input((TIMESTEPS, FEATURES))
    folder = save(keras.Model(x, layer(x)), tmp_path)
    assert "CudnnRNNV3" not in operations(folder)


def test_layers_are_as_before() -> None:
    """Training after an export goes on with Keras' own layers, whatever happened in it."""
    before = [layer.inner_loop for layer in (keras.layers.LSTM, keras.layers.GRU)]
    with pytest.raises(RuntimeError, match="inside"), portable():
        assert keras.layers.LSTM.inner_loop is not before[0]
        raise RuntimeError("inside")
    assert [layer.inner_loop for layer in (keras.layers.LSTM, keras.layers.GRU)] == before
