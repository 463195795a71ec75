"""Long sequences in training: read in chunks, the state carried from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from rnnapp.layers.scan import scan
from rnnapp.specs import require


class ChunkedTraining(keras.Model):
    """A model in training whose gradients reach back through a chunk of timesteps at most.

    Truncated back-propagation through time (Williams and Peng 1990) over whole sequences: each
    recurrent layer first reads all chunks in turn, for the states that they begin from, and then
    all of them side by side, with gradients. Answers are the model's own.

    Args:
        model: A functional model; its weights are the ones that are trained.
        length: Timesteps in a chunk.

    Raises:
        ValueError: If the model reads backwards as well, or drops recurrent weights.
    """

    def __init__(self, model: keras.Model, length: int) -> None:
        super().__init__(name=f"{model.name}_training")
        for layer in model.layers:
            backwards = isinstance(layer, keras.layers.Bidirectional)
            backwards = backwards or getattr(layer, "go_backwards", False)
            must = "none for a model that reads backwards as well"
            require(not backwards, "gradient_length", must, length)
            dropped = getattr(getattr(layer, "cell", None), "recurrent_dropout", 0)
            require(not dropped, "gradient_length", "none with recurrent_dropout", length)
        self.model, self.length = model, length
        self.built = True

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The model's answers to sequences and lengths, by the names of its inputs."""
        if not training:
            return self.model(inputs, training=False)
        ordered = [inputs[each.name] for each in self.model.inputs]
        return self.model._run_through_graph(ordered, self._in_training)

    def finished(self) -> keras.Model:
        """The plain model."""
        return self.model

    def _in_training(self, op: keras.Operation) -> Callable[..., Any]:
        """What runs in the place of an operation."""
        if isinstance(op, keras.layers.RNN):
            return lambda x, mask=None, **_: self._read(op, x, mask)
        more = {"training": True} if getattr(op, "_call_has_training_arg", False) else {}
        return lambda *args, **named: op(*args, **{**named, **more})

    def _read(self, layer: keras.layers.RNN, x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """What a layer gives; padding follows whatever is true, so that it changes no state."""
        outputs = chunked(layer, x, self.length)  # (batch, timesteps, units)
        if layer.return_sequences:
            return outputs
        true = tf.ones(tf.shape(x)[:2], tf.bool) if mask is None else mask
        last = tf.reduce_sum(tf.cast(true, tf.int32), axis=1) - 1
        final = tf.gather(outputs, tf.maximum(last, 0), batch_dims=1)
        return tf.where(last[:, None] < 0, 0.0, final)  # of nothing, the initial state


def chunked(layer: keras.layers.RNN, x: tf.Tensor, length: int) -> tf.Tensor:
    """Runs a recurrent layer over sequences, with gradients that stay inside chunks.

    Args:
        layer: A recurrent layer, read forwards.
        x: Floats (batch, timesteps, features).
        length: Timesteps in a chunk.

    Returns:
        The layer's outputs, (batch, timesteps, units).
    """
    batch, timesteps, features = tf.shape(x)[0], tf.shape(x)[1], x.shape[-1]
    count = -(-timesteps // length)
    padded = tf.pad(x, [[0, 0], [0, count * length - timesteps], [0, 0]])
    chunks = tf.reshape(padded, [batch, count, length, features])
    chunks = tf.transpose(chunks, [1, 0, 2, 3])  # (chunks, batch, length, features)
    zeros = [tf.zeros([batch, size]) for size in tf.nest.flatten(layer.cell.state_size)]
    ends = tf.scan(lambda states, chunk: scan(layer, chunk, states)[1], chunks[:-1], zeros)
    starts = [tf.concat([z[None], e], axis=0) for z, e in zip(zeros, ends, strict=True)]
    beside = [tf.reshape(tf.stop_gradient(start), [-1, start.shape[-1]]) for start in starts]
    outputs, _ = scan(layer, tf.reshape(chunks, [-1, length, features]), beside)
    outputs = tf.reshape(outputs, [count, batch, length, outputs.shape[-1]])
    outputs = tf.transpose(outputs, [1, 0, 2, 3])  # (batch, chunks, length, units)
    return tf.reshape(outputs, [batch, count * length, outputs.shape[-1]])[:, :timesteps]
