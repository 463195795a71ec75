"""Weights rounded so that their errors make up for each other."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnapp import CELLS
from rnnapp.builders import many_to_one
from rnnapp.exporting.rounding import LEVELS, round_weights, rounded
from rnnapp.layers import CausalConv
from rnnapp.specs import RNNSpec

SIZE = 24


def nearest(kernel: np.ndarray) -> np.ndarray:
    """Every weight to the nearest integer of its output's scale."""
    scale = np.abs(kernel).max(axis=0) / LEVELS
    return np.rint(kernel / np.where(scale > 0, scale, 1.0)) * scale


def assert_on_grid(kernel: np.ndarray, original: np.ndarray) -> None:
    """Each output's weights are integers of the scale that a quantizer will find."""
    largest = np.abs(original).max(axis=0)
    np.testing.assert_allclose(np.abs(kernel).max(axis=0), largest, rtol=1e-6)
    integers = kernel / np.where(largest > 0, largest, 1.0) * LEVELS
    # Half a thousandth of a step: what float32 leaves of 127 by division and product.
    np.testing.assert_allclose(integers, np.rint(integers), atol=5e-4)


@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(0, SIZE), rows=st.integers(1, 40))
def test_what_a_quantizer_finds_is_already_integers(seed: int, rank: int, rows: int) -> None:
    """Rounded anew, by another scale, all that was gained would be lost; whatever was heard."""
    generator = np.random.default_rng(seed)
    kernel = generator.normal(size=(SIZE, 5))
    kernel[:, 0] = 0.0  # of an output that nothing reaches
    heard = generator.normal(size=(rows, rank)) @ generator.normal(size=(rank, SIZE))
    assert_on_grid(rounded(kernel, heard.T @ heard), kernel)


def test_products_err_less_than_by_the_nearest_integers() -> None:
    """That is what it is for: what is heard is correlated, and errors can make up for others."""
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(SIZE, 50))
    mixing = generator.normal(size=(6, SIZE))

    def heard(count: int) -> np.ndarray:
        return generator.normal(size=(count, 6)) @ mixing + generator.normal(size=(count, SIZE)) / 5

    learnt, judged = heard(500), heard(500)

    def error(result: np.ndarray) -> float:
        return float(np.square(judged @ (result - kernel)).mean())

    assert error(rounded(kernel, learnt.T @ learnt)) < 0.3 * error(nearest(kernel))


@pytest.mark.parametrize("cell", CELLS)
def test_every_product_of_a_model_is_rounded(cell: str) -> None:
    """All matrices, but for layers left out; no bias, no statistics, no front."""
    spec = RNNSpec(cell, units=8, num_layers=2, pooling="attention", front=None)
    model = many_to_one(spec, 3, num_features=6, window=5)
    before = {weight.path: weight.numpy() for weight in model.weights}
    sequences = np.random.default_rng(0).normal(size=(4, 12, 6)).astype(np.float32)
    round_weights(model, sequences, exact=["logits"])
    after = {weight.path: weight.numpy() for weight in model.weights}
    for path, kernel in before.items():
        if kernel.ndim < 2 or path.startswith("logits") or "bias" in path:
            np.testing.assert_array_equal(after[path], kernel, err_msg=path)
        else:
            assert (after[path] != kernel).any(), path
            assert_on_grid(after[path], kernel)


def test_convolutions_are_rounded_by_their_patches() -> None:
    """A kernel's inputs are patches, in the order of its own axes."""
    inputs = keras.Input((None, 5, 1), name="features")
    x = CausalConv(32, 3, 3, name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.GRU(3)(keras.layers.Reshape((-1, 160))(x)))
    layer = model.get_layer("conv").convolution
    before = layer.kernel.numpy()
    drawn = np.random.default_rng(0).normal(size=(8, 30, 5, 1)).astype(np.float32)
    smooth = np.cumsum(np.cumsum(drawn, axis=1), axis=2)
    heard, judged = smooth[:4], smooth[4:]
    expected = layer(judged).numpy()

    def error(kernel: np.ndarray) -> float:
        layer.kernel.assign(kernel)
        return float(np.square(layer(judged).numpy() - expected).mean())

    round_weights(model, heard)
    kernel = layer.kernel.numpy()
    assert_on_grid(kernel.reshape(9, 32), before.reshape(9, 32))
    usual = nearest(before.reshape(9, 32)).reshape(before.shape)
    assert error(kernel) < error(usual)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("pooling", ["last", "max"])
def test_models_without_steps_are_rounded_too(cell: str, pooling: str) -> None:
    """In both directions, by one scale for all outputs, as old runtimes have it."""
    spec = RNNSpec(cell, units=8, num_layers=2, bidirectional=True, pooling=pooling)
    model = many_to_one(spec, 3, num_features=6)
    before = {weight.path: weight.numpy() for weight in model.weights}
    sequences = np.random.default_rng(0).normal(size=(4, 12, 6)).astype(np.float32)
    round_weights(model, sequences, shared=True)
    for weight in model.weights:
        kernel, original = weight.numpy(), before[weight.path]
        if kernel.ndim == 2 and "bias" not in weight.path:
            assert_on_grid(kernel.reshape(-1, 1), original.reshape(-1, 1))
        else:
            np.testing.assert_array_equal(kernel, original, err_msg=weight.path)


def test_small_weights_stay_where_a_format_leaves_them_floats() -> None:
    """Rounded for nothing, they would only lose."""
    model = many_to_one(RNNSpec("gru", units=24, num_layers=1), 3, num_features=6)
    before = {weight.path: weight.numpy() for weight in model.weights}
    sequences = np.random.default_rng(0).normal(size=(4, 12, 6)).astype(np.float32)
    round_weights(model, sequences, shared=True, smallest=1024)
    changed = {w.path for w in model.weights if (w.numpy() != before[w.path]).any()}
    assert changed == {path for path in before if before[path].size >= 1024}
    assert 0 < len(changed) < len(before)
