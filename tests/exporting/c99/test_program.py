"""Constants of a program: read back to the bit, rounded by rows, or refused."""

from __future__ import annotations

import ctypes
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rnnapp.exporting.c99 import library, writer
from rnnapp.exporting.c99.program import Program, quantized

from .conftest import LABELS, chain, written


def test_numbers_survive(tmp_path: Path) -> None:
    """Each float32 is read back to the bit, however small, and wherever a line ends."""
    bits = np.random.default_rng(0).integers(0, 2**32, 5000, np.uint32)
    drawn = bits.view(np.float32)
    extremes = [0.0, -0.0, 1.0, -1e10, 1e-45, 3.4028235e38, 1.1754944e-38, 16777216.0, 0.1]
    values = np.array([*extremes, *drawn[np.isfinite(drawn)]], np.float32)
    program = Program(int8=False, states={})
    program.array("drawn_values", values)
    (definition,) = program.constants.values()
    (tmp_path / "model.c").write_text(definition.removeprefix("static "))
    (tmp_path / "rnn.c").touch()
    library._compile([tmp_path / "model.c"], tmp_path / "values.so")
    code = ctypes.CDLL(str(tmp_path / "values.so"))
    read = (ctypes.c_float * len(values)).in_dll(code, "drawn_values")
    np.testing.assert_array_equal(np.array(read).view(np.uint32), values.view(np.uint32))


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e6, 1e6)))
def test_rounding_is_by_rows(weights: np.ndarray) -> None:
    """A soft row keeps its own precision beside a loud one, and zeros stay zeros."""
    values, scales = quantized(weights)
    assert values.dtype == np.int8 and values.min(initial=0) >= -127
    half_unit = np.abs(weights).max(axis=1, keepdims=True) / 254
    error = np.abs(values * scales.astype(np.float64)[:, None] - weights)
    smallest = 1e-42  # of what float32 holds, times 127
    assert (error <= half_unit * (1 + 1e-4) + smallest).all()


@pytest.mark.parametrize("variant", writer.VARIANTS)
def test_weights_that_are_no_numbers_are_named(variant: str, tmp_path: Path) -> None:
    """A training that diverged must not look like a compiler's fault."""
    model = chain(keras.layers.GRU(len(LABELS), name="gru"))
    model.layers[-1].cell.recurrent_kernel.assign(np.full((3, 9), np.nan))
    with pytest.raises(ValueError, match="`gru_recurrent` must hold finite numbers"):
        written(model, tmp_path, variant)
