"""Kernels that are written for speed: whole blocks, what is left over, and exponentials."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import rnnapp.exporting.c99
from rnnapp.exporting.c99 import library

from ...layers.conftest import sequences
from ...layers.test_streaming import streamed
from .conftest import EXACT, LABELS, answers, chain, softmax, written

FLOATS = ctypes.POINTER(ctypes.c_float)
WIDE = 37  # two blocks of rows and some


class Matrix(ctypes.Structure):
    """An `rnn_matrix` of floats."""

    _fields_ = [
        ("rows", ctypes.c_size_t),
        ("columns", ctypes.c_size_t),
        ("floats", FLOATS),
        ("bytes", ctypes.c_void_p),
        ("scales", FLOATS),
    ]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels alone, compiled."""
    made = tmp_path_factory.mktemp("kernels") / "rnn.so"
    library._compile([Path(rnnapp.exporting.c99.__file__).with_name("rnn.c")], made)
    return ctypes.CDLL(str(made))


def pointer(array: np.ndarray | None) -> Any:
    """An array as C sees it."""
    return None if array is None else array.ctypes.data_as(FLOATS)


@example(16, 3, True, True)
@given(st.integers(1, 70), st.integers(1, 20), st.booleans(), st.booleans())
def test_products_of_any_size(
    kernels: ctypes.CDLL, rows: int, columns: int, biased: bool, added: bool
) -> None:
    """Blocks of rows and those left over, with each kind of bias; and not a number further."""
    generator = np.random.default_rng(rows * 100 + columns)
    weights = generator.uniform(-1, 1, (rows, columns)).astype(np.float32)
    x, bias = (generator.uniform(-1, 1, size).astype(np.float32) for size in (columns, rows))
    stored = np.ascontiguousarray(weights.T)
    matrix = Matrix(rows, columns, pointer(stored), None, None)
    y = np.full(rows + 1, 7.0, np.float32)
    if added:
        y[:rows] = bias
    given_bias = y if added else bias if biased else None
    kernels.rnn_multiply(
        ctypes.byref(matrix), pointer(x), pointer(given_bias), pointer(y), ctypes.c_void_p()
    )
    expected = weights.astype(np.float64) @ x + (bias if added or biased else 0)
    np.testing.assert_allclose(y[:rows], expected, rtol=0, atol=1e-5)  # 20 products in float32
    assert y[rows] == 7.0


EVERYWHERE = np.concatenate(
    [
        np.linspace(-100, 100, 1_000_001),
        np.geomspace(1e-45, 3e38, 10_001),
        -np.geomspace(1e-45, 3e38, 10_001),
        [0.0, -0.0],
    ]
).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "truth", "lowest"),
    [("tanh", np.tanh, -1), ("sigmoid", lambda x: 0.5 + 0.5 * np.tanh(x / 2), 0)],
)
def test_activations_are_exact_to_2e_7(
    kernels: ctypes.CDLL, name: str, truth: Callable[[np.ndarray], np.ndarray], lowest: float
) -> None:
    """The bound that the header promises, over all that float32 holds; in place as well."""
    x, y = EVERYWHERE, np.full_like(EVERYWHERE, np.nan)
    function = getattr(kernels, f"rnn_{name}")
    function(pointer(x), ctypes.c_size_t(x.size), pointer(y))
    np.testing.assert_allclose(y, truth(x.astype(np.float64)), rtol=0, atol=2e-7)
    assert lowest <= y.min() and y.max() <= 1
    inside = x.copy()
    function(pointer(inside), ctypes.c_size_t(x.size), pointer(inside))
    np.testing.assert_array_equal(inside, y)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.SimpleRNN(WIDE),
        keras.layers.LSTM(WIDE),
        keras.layers.GRU(WIDE),
        keras.layers.GRU(WIDE, reset_after=False),
    ],
    ids=["simple_rnn", "lstm", "gru", "gru_reset_before"],
)
def test_wide_layers_give_the_answers_of_keras(layer: keras.layers.RNN, tmp_path: Path) -> None:
    """Gates that begin anywhere in a block, over a long stream."""
    model, x = chain(layer, keras.layers.Dense(len(LABELS))), sequences(1, 100)
    expected = softmax(streamed(model, x)[:, 0])
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(answers(written(model, tmp_path), x), expected, **EXACT)
