"""The house's own loop over time is Keras' in numbers, forwards and backwards."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp.layers import CELLS
from rnnapp.layers.scan import scan

from .conftest import FEATURES, sequences, shuffled

BATCH, TIMESTEPS, UNITS = 3, 6, 5
# The same float32 sums in another order.
NUMBERS = {"rtol": 0, "atol": 1e-5}

LAYERS: dict[str, Any] = {
    **CELLS,
    "lstm without bias": lambda units, **kw: keras.layers.LSTM(units, use_bias=False, **kw),
    "gru, hard sigmoid": lambda units, **kw: keras.layers.GRU(
        units, recurrent_activation="hard_sigmoid", **kw
    ),
    "gru, reset before": lambda units, **kw: keras.layers.GRU(units, reset_after=False, **kw),
}


def made(name: str) -> tuple[keras.layers.RNN, list[tf.Tensor], tf.Tensor]:
    """A layer with drawn weights, states to begin from, and inputs."""
    layer = LAYERS[name](UNITS, return_sequences=True, return_state=True)
    inputs = tf.constant(sequences(BATCH, TIMESTEPS))
    source = keras.Input((None, FEATURES))
    shuffled(keras.Model(source, layer(source)))
    draw = np.random.default_rng(1)
    sizes = keras.tree.flatten(layer.cell.state_size)
    states = [tf.constant(draw.uniform(-1, 1, (BATCH, size)), tf.float32) for size in sizes]
    return layer, states, inputs


def gradients(layer: Any, states: list[tf.Tensor], inputs: tf.Tensor, own: bool) -> list[Any]:
    """Outputs, last states, and the gradient of something of all of them, by all there is."""
    sources = [weight.value for weight in layer.weights] + [inputs, *states]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        if own:
            outputs, last = scan(layer, inputs, states)
        else:
            outputs, *last = layer(inputs, initial_state=states)
        loss = tf.reduce_sum(tf.sin(outputs)) + sum(tf.reduce_sum(tf.cos(2 * s)) for s in last)
    return [outputs, *last, *tape.gradient(loss, sources)]


@pytest.mark.parametrize("jit_compile", [False, True], ids=["", "xla"])
@pytest.mark.parametrize("name", LAYERS)
def test_scan_is_keras(name: str, jit_compile: bool) -> None:
    """A gradient written by hand is wrong in silence: weights, inputs and states, all of them."""
    layer, states, inputs = made(name)
    compiled = tf.function(
        lambda: gradients(layer, states, inputs, True), jit_compile=jit_compile, autograph=False
    )
    expected = gradients(layer, states, inputs, False)
    for ours, theirs in zip(compiled(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, **NUMBERS)


@pytest.mark.parametrize("name", CELLS)
def test_a_kernel_takes_the_place_of_the_layers_own(name: str) -> None:
    """What is dropped of the weights is dropped in the recurrence, and gets no gradient there."""
    layer, states, inputs = made(name)
    kernel = layer.cell.recurrent_kernel
    half = tf.cast(np.random.default_rng(0).integers(0, 2, kernel.shape), tf.float32)
    with tf.GradientTape() as tape:
        outputs, _ = scan(layer, inputs, states, kernel.value * half)
        loss = tf.reduce_sum(outputs**2)
    gradient = tape.gradient(loss, kernel.value)
    assert not np.any(gradient * (1 - half)) and np.any(gradient)
    kernel.assign(kernel.value * half)
    np.testing.assert_allclose(outputs, layer(inputs, initial_state=states)[0], **NUMBERS)


def test_a_cell_without_an_equation_takes_no_other_kernel() -> None:
    """Weights that were to be dropped, and are not, would go unnoticed."""
    layer, states, inputs = made("gru, reset before")
    with pytest.raises(ValueError, match="must be None for a cell that is none of SimpleRNNCell"):
        scan(layer, inputs, states, layer.cell.recurrent_kernel.value)
