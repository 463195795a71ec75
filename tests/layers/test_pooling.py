"""Pools equal NumPy's, over a window that ends with each sequence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.layers import SequencePooling
from rnnapp.layers.pooling import KINDS

from .conftest import FEATURES, sequences, shuffled


def attention(x: np.ndarray, layer: SequencePooling) -> np.ndarray:
    """Dot products of the last timestep's query with all keys (Vaswani et al. 2017), head by head.

    The values are the timesteps themselves.
    """
    wq, bq, wk, bk = (np.asarray(w, np.float64) for w in layer.get_weights())
    heads = layer.num_heads
    query, keys = np.split(x[-1] @ wq + bq, heads), np.split(x @ wk + bk, heads, axis=1)
    pooled = []
    for q, k, values in zip(query, keys, np.split(x, heads, axis=1), strict=True):
        share = np.exp(k @ q / np.sqrt(len(q)))
        pooled.append(share @ values / share.sum())
    return np.concatenate(pooled)


def pooled(kind: str, x: np.ndarray, layer: SequencePooling) -> np.ndarray:
    """The pool over all of (timesteps, features)."""
    if kind == "attention":
        return attention(x, layer)
    parts = {"mean": [x.mean(0)], "max": [x.max(0)], "mean_max": [x.mean(0), x.max(0)]}
    return np.concatenate(parts[kind])


@pytest.mark.parametrize("kind", KINDS)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    window=st.none() | st.integers(1, 12),
)
@settings(max_examples=10, deadline=None)
def test_a_pool_is_over_the_last_of_what_was_heard(
    kind: str, lengths: list[int], window: int | None
) -> None:
    """The window keeps a stream's memory finite; inside it nothing is left out."""
    layer, x = SequencePooling(kind, window, num_heads=2), sequences(len(lengths), 9)
    layer.build(x.shape)
    shuffled(layer)
    outputs = layer(x, np.arange(9) < np.array(lengths)[:, None])
    first = [max(0, length - window) if window else 0 for length in lengths]
    expected = [
        pooled(kind, row[start:length], layer)
        for row, start, length in zip(x, first, lengths, strict=True)
    ]
    assert outputs.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6)  # float32 sums of nine


def test_wrong_arguments_are_named() -> None:
    """A pool is chosen by a word on the command line."""
    with pytest.raises(ValueError, match="`kind` must be one of mean, max.*Received: kind='sum'"):
        SequencePooling("sum", None)
    with pytest.raises(ValueError, match=f"`num_heads` must divide the {FEATURES} features"):
        SequencePooling("attention", None, num_heads=3).build((None, None, FEATURES))
