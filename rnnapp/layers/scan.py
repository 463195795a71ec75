"""Recurrent layers in training, over windows that continue each other, with Keras' own equations.

Keras' loop multiplies inputs by their weights step by step, and adds up the gradient of the weights
as often. Here both are one product over all timesteps, which on two cores takes half the time:
`benchmarks/language_model.py step-time` says what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Tensors = list[tf.Tensor]
# A cell's new states, the first of which is its output, from what inputs and state come to after
# their products, (batch, gates * units) each, and the states before.
Equation = Callable[[Any, tf.Tensor, tf.Tensor, Tensors], Tensors]


def scan(
    layer: keras.layers.RNN,
    inputs: tf.Tensor,
    states: Tensors,
    recurrent_kernel: tf.Tensor | None = None,
) -> tuple[tf.Tensor, Tensors]:
    """Runs a recurrent layer over a window, from states on.

    Args:
        layer: A recurrent layer, read forwards, without recurrent dropout.
        inputs: Floats (batch, timesteps, features), of a static number of timesteps.
        states: The cell's states, (batch, size) each.
        recurrent_kernel: Takes the place of the layer's own, with weights dropped, say.

    Returns:
        The layer's outputs, (batch, timesteps, units), and the new states.

    Raises:
        ValueError: If a kernel is given for a cell whose equation is not known here.
    """
    cell = layer.cell
    if not has_equation(cell):
        if recurrent_kernel is not None:
            raise ValueError(
                f"`recurrent_kernel` must be None for a cell that is none of "
                f"{', '.join(kind.__name__ for kind in _EQUATIONS)}. Received: {cell}"
            )
        _, outputs, carried = layer.inner_loop(inputs, states, mask=None)
        return outputs, carried
    kernel = cell.recurrent_kernel if recurrent_kernel is None else recurrent_kernel
    of_x, bias = _products(cell, inputs)
    carried = _recurrence(cell)(of_x, tf.convert_to_tensor(kernel), bias, *states)
    return tf.transpose(carried[0], [1, 0, 2]), list(carried[1:])


def has_equation(cell: keras.Layer) -> bool:
    """Whether a cell is one of those that are written out here."""
    return type(cell) in _EQUATIONS and getattr(cell, "reset_after", True)


def _products(cell: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The inputs' products, (timesteps, batch, gates * units), and the bias of the states'."""
    bias = tf.convert_to_tensor(cell.bias) if cell.use_bias else tf.zeros(cell.kernel.shape[-1])
    of_x = tf.tensordot(tf.transpose(inputs, [1, 0, 2]), tf.convert_to_tensor(cell.kernel), 1)
    return (of_x + bias[0], bias[1]) if bias.shape.rank == 2 else (of_x, bias)


def _recurrence(cell: Any) -> Callable[..., tuple[tf.Tensor, ...]]:
    """The loop over time, with a gradient that leaves products of weights for its end.

    Of products (timesteps, batch, gates * units), kernel, bias and states, it gives the outputs
    (timesteps, batch, units) and the last states.
    """
    equation = _EQUATIONS[type(cell)]

    @tf.custom_gradient
    def run(of_x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *first: tf.Tensor) -> Any:
        def forwards(of_x: Tensors, states: Tensors) -> tuple[Tensors, Tensors]:
            of_h = tf.matmul(states[0], kernel) + bias
            states = equation(cell, of_x[0], of_h, states)
            return states, [of_h, *states]

        last, (of_h, *after) = _over_time(forwards, [of_x], list(first))
        before = [tf.concat([s[None], a[:-1]], axis=0) for s, a in zip(first, after, strict=True)]

        def gradient(of_outputs: tf.Tensor, *of_last: tf.Tensor) -> Tensors:
            def backwards(now: Tensors, of_states: Tensors) -> tuple[Tensors, Tensors]:
                of_output, *sources = now
                with tf.GradientTape() as tape:
                    tape.watch(sources)
                    made = equation(cell, sources[0], sources[1], sources[2:])
                of_made = [of_states[0] + of_output, *of_states[1:]]
                of_x, of_h, *of_states = tape.gradient(made, sources, of_made, "zero")
                return [of_states[0] + tf.matmul(of_h, transposed), *of_states[1:]], [of_x, of_h]

            transposed = tf.transpose(kernel)
            sources = [of_outputs, of_x, of_h, *before]
            of_first, (to_x, to_h) = _over_time(backwards, sources, list(of_last), reverse=True)
            of_kernel = tf.tensordot(before[0], to_h, [[0, 1], [0, 1]])  # (units, gates * units)
            return [to_x, of_kernel, tf.reduce_sum(to_h, axis=[0, 1]), *of_first]

        return (after[0], *last), gradient

    return run


def _over_time(
    body: Callable[[Tensors, Tensors], tuple[Tensors, Tensors]],
    sequences: Tensors,
    carried: Tensors,
    reverse: bool = False,
) -> tuple[Tensors, Tensors]:
    """Runs `body` on each timestep of sequences, (timesteps, ...), and what it carries along.

    Returns:
        What was carried to the end; and what the body made at each timestep, stacked.
    """
    steps = sequences[0].shape[0]
    read = [tf.TensorArray(x.dtype, steps, element_shape=x.shape[1:]).unstack(x) for x in sequences]
    made = tf.nest.map_structure(tf.zeros_like, body([x[0] for x in sequences], carried)[1])
    written = [tf.TensorArray(x.dtype, steps, element_shape=x.shape) for x in made]

    def step(count: tf.Tensor, carried: Tensors, written: list[Any]) -> tuple:
        t = steps - 1 - count if reverse else count
        carried, made = body([x.read(t) for x in read], carried)
        return count + 1, carried, [w.write(t, x) for w, x in zip(written, made, strict=True)]

    _, carried, written = tf.while_loop(
        lambda count, *_: count < steps, step, (0, carried, written), maximum_iterations=steps
    )
    return carried, [x.stack() for x in written]


def _simple_rnn(cell: Any, of_x: tf.Tensor, of_h: tf.Tensor, states: Tensors) -> Tensors:
    return [cell.activation(of_x + of_h)]


def _lstm(cell: Any, of_x: tf.Tensor, of_h: tf.Tensor, states: Tensors) -> Tensors:
    i, f, g, o = tf.split(of_x + of_h, 4, axis=1)
    c = cell.recurrent_activation(f) * states[1] + cell.recurrent_activation(i) * cell.activation(g)
    return [cell.recurrent_activation(o) * cell.activation(c), c]


def _gru(cell: Any, of_x: tf.Tensor, of_h: tf.Tensor, states: Tensors) -> Tensors:
    (z_x, r_x, n_x), (z_h, r_h, n_h) = (tf.split(product, 3, axis=1) for product in (of_x, of_h))
    z = cell.recurrent_activation(z_x + z_h)
    n = cell.activation(n_x + cell.recurrent_activation(r_x + r_h) * n_h)
    return [z * states[0] + (1 - z) * n]


_EQUATIONS: dict[type, Equation] = {
    keras.layers.SimpleRNNCell: _simple_rnn,
    keras.layers.LSTMCell: _lstm,
    keras.layers.GRUCell: _gru,
}
