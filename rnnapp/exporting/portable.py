"""Recurrent layers in a graph that runs anywhere: on cuDNN where there is a GPU, else as a loop.

Keras decides between the two when it traces. A graph from a machine without GPU is a loop for
ever, and one from a machine with a GPU dies on all others. Here both are traced, and TensorFlow
chooses where the graph runs.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

# The module, which `keras.src.backend.tensorflow` hides behind a function of the same name.
_kernels = importlib.import_module("keras.src.backend.tensorflow.rnn")
_LAYERS = (keras.layers.LSTM, keras.layers.GRU)


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Layers that are called in this context, in inference, get both implementations.

    Those that cuDNN has no kernel for (other activations, no bias, `use_cudnn=False`) stay loops.
    """
    originals = [layer.inner_loop for layer in _LAYERS]
    for layer, original in zip(_LAYERS, originals, strict=True):
        layer.inner_loop = _either(original)
    try:
        yield
    finally:
        for layer, original in zip(_LAYERS, originals, strict=True):
            layer.inner_loop = original


def _either(original: Callable[..., Any]) -> Callable[..., Any]:
    """`inner_loop` of a layer, as a choice that is made where the graph runs."""

    def inner_loop(
        self: Any, sequences: tf.Tensor, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        if training or not _has_kernel(self):
            return original(self, sequences, initial_state, mask, training)
        state = keras.tree.flatten(initial_state)
        mask = mask[0] if isinstance(mask, list | tuple) else mask

        def loop() -> list[tf.Tensor]:
            # Keras' own loop, without the choice that LSTM and GRU put before it.
            last, outputs, states = keras.layers.RNN.inner_loop(
                self, sequences, state, mask=mask, training=False
            )
            return [last, outputs, *states]

        def kernel() -> list[tf.Tensor]:
            if mask is None:
                return _cudnn(self, sequences, state, None)
            return tf.cond(_fits(mask), lambda: _cudnn(self, sequences, state, mask), loop)

        last, outputs, *states = tf.__internal__.execute_fn_for_device(
            {"CPU": loop, "GPU": kernel}, loop
        )
        last.set_shape([None, self.units])
        outputs.set_shape([None, None if self.return_sequences else 1, self.units])
        return last, outputs, list(states)

    return inner_loop


def _has_kernel(layer: Any) -> bool:
    """Whether cuDNN computes what the layer does."""
    cell = layer.cell
    return (
        layer.use_cudnn is not False
        and not layer.unroll
        and cell.use_bias
        and cell.activation is keras.activations.tanh
        and cell.recurrent_activation is keras.activations.sigmoid
        and getattr(cell, "reset_after", True)
    )


def _fits(mask: tf.Tensor) -> tf.Tensor:
    """Whether cuDNN takes a mask: valid timesteps first, and one at least in each sequence."""
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    right_padded = tf.reduce_all(tf.equal(mask, tf.sequence_mask(lengths, tf.shape(mask)[1])))
    return right_padded & (tf.reduce_min(lengths) > 0)


def _cudnn(
    layer: Any, sequences: tf.Tensor, state: list[tf.Tensor], mask: tf.Tensor | None
) -> list[tf.Tensor]:
    """Keras' call of cuDNN, with the loop's values on masked timesteps."""
    kernel = _kernels._cudnn_lstm if isinstance(layer, keras.layers.LSTM) else _kernels._cudnn_gru
    cell = layer.cell
    weights = [w.value for w in (cell.kernel, cell.recurrent_kernel, cell.bias)]
    arguments = [sequences, *state, *weights, mask, False]
    last, outputs, states = kernel(*arguments, layer.go_backwards, layer.return_sequences)
    if mask is not None and layer.return_sequences and not _has_zeros(layer):
        outputs = tf.where(mask[..., None], outputs, last[:, None])
    return [last, outputs, *states]


def _has_zeros(layer: Any) -> bool:
    """Whether the loop, too, leaves zeros on masked timesteps: backwards, they come first."""
    return layer.zero_output_for_mask or layer.go_backwards
