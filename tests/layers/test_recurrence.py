"""The equations that devices run are those of Keras' cells, in fewer operators."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.layers import CELLS, recurrence

from .conftest import sequences, shuffled

BATCH, UNITS = 2, 5

# What float32 loses over some contracting steps, summed in another order.
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-6}

BOOL = st.booleans()
SQUASHING = st.sampled_from(["tanh", "sigmoid", "hard_sigmoid"])  # with others, states may grow
SETTINGS = {"use_bias": BOOL, "return_sequences": BOOL, "activation": SQUASHING}
GATED = {"recurrent_activation": SQUASHING}
MORE = {"simple_rnn": {}, "lstm": GATED, "gru": {**GATED, "reset_after": BOOL}}
LAYERS = st.sampled_from(list(CELLS)).flatmap(
    lambda cell: st.tuples(st.just(cell), st.fixed_dictionaries({**SETTINGS, **MORE[cell]}))
)


def built(cell: str, **arguments: Any) -> keras.layers.RNN:
    """A recurrent layer of `CELLS` with drawn weights."""
    layer = CELLS[cell](UNITS, return_state=True, **arguments)
    layer.build((None, None, sequences(1, 1).shape[-1]))
    return shuffled(layer)


def drawn_states(layer: keras.layers.RNN, batch: int = BATCH) -> dict[str, tf.Tensor]:
    """States that a stream may have reached."""
    generator = np.random.default_rng(1)
    sizes = keras.tree.flatten(layer.cell.state_size)
    return {
        f"state_{i}": tf.constant(generator.uniform(-1, 1, (batch, size)), tf.float32)
        for i, size in enumerate(sizes)
    }


def check(layer: keras.layers.RNN, timesteps: int) -> None:
    """A step gives the outputs and states of Keras' own layer."""
    x, states = sequences(BATCH, timesteps), drawn_states(layer)
    outputs, changed = recurrence.step(layer, tf.constant(x), states)
    sizes = layer.cell.state_size if len(states) > 1 else [layer.cell.state_size]
    begun = keras.tree.pack_sequence_as(sizes, list(states.values()))
    expected, *ends = keras.tree.flatten(layer(x, initial_state=begun))
    np.testing.assert_allclose(outputs, expected, **CLOSE)
    assert list(changed) == list(states)
    for state, end in zip(changed.values(), ends, strict=True):
        np.testing.assert_allclose(state, end, **CLOSE)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(LAYERS, st.integers(1, 4))
def test_a_step_is_that_of_keras(drawn: tuple[str, dict[str, Any]], timesteps: int) -> None:
    """Every cell, with its own settings, over one timestep of a stream or some."""
    cell, arguments = drawn
    check(built(cell, **arguments), timesteps)


class HalvedCell(keras.layers.GRUCell):
    """A cell with equations of its own."""

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, Any]:
        """Half of what a GRU says."""
        h, states = super().call(inputs, states, training)
        return 0.5 * h, states


@pytest.mark.parametrize(
    "cell",
    [
        HalvedCell(UNITS),
        keras.layers.StackedRNNCells([keras.layers.LSTMCell(3), keras.layers.GRUCell(UNITS)]),
        keras.layers.GRUCell(UNITS, dropout=0.5, recurrent_dropout=0.5),
    ],
    ids=["own", "stacked", "dropout"],
)
def test_other_cells_run_themselves(cell: keras.Layer) -> None:
    """A cell that looks like one of Keras' need not be one; and none drops what it hears."""
    layer = keras.layers.RNN(cell, return_sequences=True, return_state=True)
    layer.build((None, None, sequences(1, 1).shape[-1]))
    check(shuffled(layer), timesteps=3)


def operators(layer: keras.layers.RNN) -> list[str]:
    """The operators that a step of one timestep is converted to."""
    from ai_edge_litert.interpreter import Interpreter

    from rnnapp.exporting import lowering

    def function(x: tf.Tensor, **states: tf.Tensor) -> dict[str, tf.Tensor]:
        return recurrence.step(layer, x, states)[1]

    inputs = {"x": tf.constant(sequences(1, 1)), **drawn_states(layer, batch=1)}
    specs = {name: tf.TensorSpec(value.shape, name=name) for name, value in inputs.items()}
    weights = [weight.value for weight in layer.weights]
    content = lowering.lowered({"step": lowering.traced(function, specs)}, weights)
    return [op["op_name"] for op in Interpreter(model_content=content)._get_ops_details()]


@pytest.mark.parametrize(("cell", "most"), [("simple_rnn", 4), ("lstm", 13), ("gru", 15)])
def test_operators_are_few(cell: str, most: int) -> None:
    """Two products with their biases in them, and nothing that only moves or casts numbers."""
    found = [name for name in operators(built(cell)) if name != "DELEGATE"]
    assert len(found) <= most, found
    assert found.count("FULLY_CONNECTED") == 2
    assert set(found) <= {"FULLY_CONNECTED", "SPLIT", "ADD", "SUB", "MUL", "LOGISTIC", "TANH"}
