"""The equations of recurrent layers, in as few operators as a device can run them by.

Keras' own cells do for training. Here all timesteps' inputs meet their weights in one product, into
which the biases go, and what is added up is added once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Tensors = list[tf.Tensor]


def step(
    layer: keras.layers.RNN, inputs: tf.Tensor, states: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Runs a recurrent layer over the timesteps of a call, unrolled, as outside training.

    Inputs and states are multiplied apart: side by side in one product they would save an operator
    of the dozen, but share one scale where they are integers, and states lie in -1 .. 1.

    Args:
        layer: Any recurrent layer, read forwards.
        inputs: Floats (batch, timesteps, features), of static shape but for the batch.
        states: The cell's states by name, (batch, size) each, in the cell's order.

    Returns:
        The layer's outputs, (batch, timesteps, units) or the last of them, (batch, units); and the
        new states.
    """
    known = layer.cell.compute_dtype == "float32"
    equations = _EQUATIONS.get(type(layer.cell), _own) if known else _own
    outputs, carried = equations(layer.cell, inputs, list(states.values()))
    stacked = tf.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
    return stacked, dict(zip(states, carried, strict=True))


def _own(cell: keras.Layer, x: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
    """What the cell itself does."""
    sizes = cell.state_size if isinstance(cell.state_size, list | tuple) else [cell.state_size]
    mode = {"training": False} if cell._call_has_training_arg else {}
    outputs = []
    for t in range(x.shape[1]):
        output, changed = cell(x[:, t], keras.tree.pack_sequence_as(sizes, states), **mode)
        states = keras.tree.flatten(changed)
        outputs.append(output)
    return outputs, states


def _simple_rnn(
    cell: keras.layers.SimpleRNNCell, x: tf.Tensor, states: Tensors
) -> tuple[Tensors, Tensors]:
    (h,), outputs = states, []
    for of_x in _products(x, cell.kernel, cell.bias):
        h = cell.activation(of_x + tf.matmul(h, cell.recurrent_kernel))  # (batch, units)
        outputs.append(h)
    return outputs, [h]


def _lstm(cell: keras.layers.LSTMCell, x: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
    (h, c), outputs = states, []
    for of_x in _products(x, cell.kernel, cell.bias):
        gates = of_x + tf.matmul(h, cell.recurrent_kernel)  # (batch, 4 units)
        i, f, g, o = tf.split(gates, 4, axis=1)
        c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(g)
        h = cell.recurrent_activation(o) * cell.activation(c)  # (batch, units)
        outputs.append(h)
    return outputs, [h, c]


def _gru(cell: keras.layers.GRUCell, x: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
    (h,), outputs = states, []
    advance = _reset_after if cell.reset_after else _reset_before
    bias = cell.bias[0] if cell.use_bias and cell.reset_after else cell.bias
    for of_x in _products(x, cell.kernel, bias):
        z, n = advance(cell, tf.split(of_x, 3, axis=1), h)
        h = z * h + (1 - z) * n  # (batch, units); n + z * (h - n) is coarser in integers
        outputs.append(h)
    return outputs, [h]


def _reset_after(cell: keras.layers.GRUCell, of_x: Tensors, h: tf.Tensor) -> Tensors:
    """The update gate and the candidate, whose product with the state is reset."""
    bias = cell.bias[1] if cell.use_bias else None
    of_h = tf.split(_product(h, cell.recurrent_kernel, bias), 3, axis=1)
    z, r = (cell.recurrent_activation(of_x[k] + of_h[k]) for k in range(2))
    return [z, cell.activation(of_x[2] + r * of_h[2])]


def _reset_before(cell: keras.layers.GRUCell, of_x: Tensors, h: tf.Tensor) -> Tensors:
    """The update gate and the candidate, made of a state that was reset."""
    gate_kernel, kernel = tf.split(cell.recurrent_kernel, [2 * cell.units, cell.units], axis=1)
    of_h = tf.split(tf.matmul(h, gate_kernel), 2, axis=1)
    z, r = (cell.recurrent_activation(of_x[k] + of_h[k]) for k in range(2))
    return [z, cell.activation(of_x[2] + tf.matmul(r * h, kernel))]


def _products(x: tf.Tensor, kernel: Any, bias: Any) -> Tensors:
    """The inputs' part of each timestep, (batch, gates * units): one product for all."""
    if x.shape[1] == 1:  # taken apart after the product, it would not stay with XNNPACK
        return [_product(tf.squeeze(x, axis=1), kernel, bias)]
    return tf.unstack(_product(x, kernel, bias), axis=1)


def _product(x: tf.Tensor, kernel: Any, bias: Any) -> tf.Tensor:
    product = tf.matmul(x, kernel)
    return product if bias is None else product + bias


_EQUATIONS: dict[type, Callable[[Any, tf.Tensor, Tensors], tuple[Tensors, Tensors]]] = {
    keras.layers.SimpleRNNCell: _simple_rnn,
    keras.layers.LSTMCell: _lstm,
    keras.layers.GRUCell: _gru,
}
