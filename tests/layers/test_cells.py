"""Each cell equals the recurrence of its paper, forward, masked and bidirectional."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from rnnapp.layers import CELLS

from .conftest import sequences, shuffled

BATCH, TIMESTEPS, UNITS = 4, 7, 5
LENGTHS = np.array([7, 1, 4, 0])

# What float32 loses over seven contracting steps, summed in another order.
close = {"rtol": 0, "atol": 1e-6}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def simple_rnn(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: list[np.ndarray]) -> Any:
    """Elman 1990, doi:10.1207/s15516709cog1402_1."""
    kernel, recurrent, bias = w
    return np.tanh(x @ kernel + h @ recurrent + bias), c


def lstm(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: list[np.ndarray]) -> Any:
    """Gers, Schmidhuber and Cummins 2000, doi:10.1162/089976600300015015."""
    kernel, recurrent, bias = w
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: list[np.ndarray]) -> Any:
    """Cho et al. 2014, arXiv:1406.1078, with the reset after the product, as cuDNN has it."""
    kernel, recurrent, bias = w
    xz, xr, xn = np.split(x @ kernel + bias[0], 3, axis=-1)
    hz, hr, hn = np.split(h @ recurrent + bias[1], 3, axis=-1)
    z = sigmoid(xz + hz)
    return z * h + (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn), c


RECURRENCES: dict[str, Callable[..., Any]] = {"simple_rnn": simple_rnn, "lstm": lstm, "gru": gru}


def unrolled(
    cell: str, weights: list[np.ndarray], x: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """All states, (batch, timesteps, units); past its length a sequence keeps its last."""
    h = c = np.zeros((len(x), UNITS))
    states = []
    for t in range(x.shape[1]):
        heard = (t < lengths)[:, None]
        new_h, new_c = RECURRENCES[cell](x[:, t], h, c, weights)
        h, c = np.where(heard, new_h, h), np.where(heard, new_c, c)
        states.append(h)
    return np.stack(states, axis=1)


def backwards(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Each sequence from its end to its start; padding stays on the right."""
    turned = x.copy()
    for row, length in zip(turned, lengths, strict=True):
        row[:length] = row[:length][::-1]
    return turned


def layer_and_weights(cell: str, **arguments: Any) -> tuple[Any, list[np.ndarray]]:
    """A recurrent layer of `CELLS` with drawn weights, as float64 arrays for the reference."""
    layer = CELLS[cell](UNITS, **arguments)
    layer.build((None, None, 8))
    shuffled(layer)
    return layer, [np.asarray(w, np.float64) for w in layer.get_weights()]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [np.full(BATCH, TIMESTEPS), LENGTHS], ids=["whole", "masked"])
def test_every_state_follows_the_recurrence(cell: str, lengths: np.ndarray) -> None:
    """A cell that joins `CELLS` brings its equations to this file."""
    layer, weights = layer_and_weights(cell, return_sequences=True)
    x = sequences(BATCH, TIMESTEPS)
    mask = np.arange(TIMESTEPS) < lengths[:, None]
    expected = unrolled(cell, weights, x, lengths)
    np.testing.assert_allclose(layer(x, mask=mask), expected, **close)
    layer.return_sequences = False
    np.testing.assert_allclose(layer(x, mask=mask), expected[:, -1], **close)


@pytest.mark.parametrize("cell", CELLS)
def test_both_directions_meet_in_the_last_state(cell: str) -> None:
    """Read backwards, a padded sequence must begin at its own end, not in the padding."""
    forward, weights = layer_and_weights(cell)
    backward, other_weights = layer_and_weights(cell, go_backwards=True)
    shuffled(backward, seed=1)
    other_weights = [np.asarray(w, np.float64) for w in backward.get_weights()]
    layer = keras.layers.Bidirectional(forward, backward_layer=backward)
    layer.build((None, None, 8))
    layer.forward_layer.set_weights(weights)
    layer.backward_layer.set_weights(other_weights)
    x = sequences(BATCH, TIMESTEPS)
    mask = np.arange(TIMESTEPS) < LENGTHS[:, None]
    there = unrolled(cell, weights, x, LENGTHS)[:, -1]
    back = unrolled(cell, other_weights, backwards(x, LENGTHS), LENGTHS)[:, -1]
    expected = np.concatenate([there, back], axis=-1)
    np.testing.assert_allclose(layer(x, mask=mask), expected, **close)
