"""Layers survive Keras' file format, with which runs and exports carry them."""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp import layers
from rnnapp.layers import (
    AdaptiveLogits,
    BahdanauAttention,
    CausalConv,
    Decoder,
    LastTimestep,
    LogMel,
    LuongAttention,
    PadMarker,
    Prelude,
    RunningMean,
    SequencePooling,
    SpecAugment,
    TiedEmbedding,
)
from rnnapp.layers.pooling import KINDS

from .conftest import shuffled

LAYERS = {
    "log_mel": (LogMel(8000, 40, 20, 6, 100.0, 3000.0), [(200,)]),
    "mfcc": (LogMel(8000, 40, 20, 6, 100.0, 3000.0, num_mfcc=4), [(200,)]),
    "pad_marker": (PadMarker(3), [(5, 8), ()]),
    "prelude": (Prelude(0.3, 2, seed=4), [(5, 8), ()]),
    "running_mean": (RunningMean(7.5), [(5, 8)]),
    "spec_augment": (SpecAugment(1, 3, 2, 4, seed=5), [(5, 8)]),
    "conv": (CausalConv(3, 3, 2, 2, 2), [(6, 5, 1)]),
    "full_conv": (CausalConv(3, 3, 0), [(6, 5, 1)]),
    "adaptive": (AdaptiveLogits(30, (8, 20)), [(5, 16)]),
    **{kind: (SequencePooling(kind, 3, 2), [(5, 8), (5,)]) for kind in KINDS},
}
# What takes states or integers is saved in models: see `test_encoder_decoder`, `test_language`.
IN_MODELS = {BahdanauAttention, Decoder, LastTimestep, LuongAttention, TiedEmbedding}


def test_all_layers_are_here() -> None:
    """A layer that joins the package is saved by this test, too."""
    ours = {
        kind
        for _, kind in inspect.getmembers(layers, inspect.isclass)
        if issubclass(kind, keras.layers.Layer)
    }
    assert ours == {type(layer) for layer, _ in LAYERS.values()} | IN_MODELS


@pytest.mark.parametrize("name", LAYERS)
def test_a_saved_layer_answers_alike(name: str, tmp_path: Path) -> None:
    """Settings and weights come back, without passing custom objects."""
    layer, shapes = LAYERS[name]
    generator = np.random.default_rng(0)
    inputs = [
        keras.Input(shape, dtype="bool" if len(shape) == 1 and len(shapes) > 1 else None)
        for shape in shapes
    ]
    model = shuffled(keras.Model(inputs, layer(*inputs)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    values = [generator.uniform(0, 1, (3, *shape)) for shape in shapes]
    values = [
        value > 0.3 if x.dtype == "bool" else value for value, x in zip(values, inputs, strict=True)
    ]
    for ours, theirs in zip(*(keras.tree.flatten(m(values)) for m in (model, loaded)), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    assert loaded.layers[-1].get_config() == layer.get_config()
