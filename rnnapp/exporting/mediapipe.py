"""TFLite files for MediaPipe's AudioClassifier and the Task Library: one subgraph, so no loops.

The model is traced for windows of a fixed length, with every loop written out, or fused into one
operator where TFLite has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from rnnapp.exporting import flatbuffer, lowering, signatures
from rnnapp.layers import PadMarker, RunningMean, SequencePooling, recurrence
from rnnapp.layers.streaming import infer, makes_mask

# The equations that the fused operator has; a layer with others is unrolled.
_FUSED = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
_CLOSED = -100.0  # sigmoid(-100) is 4e-44
_LARGEST = 1e6  # beyond any feature


def twin(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The same model for whole windows, without loops and masks.

    The graph is walked once more, as for a stream, with what loops over time replaced.

    Args:
        model: A functional model of sequences and lengths.

    Returns:
        A function of sequences (batch, time, ...), all of static shape, that gives what the model
        gives for them with lengths of `time`.
    """

    def whole(sequences: tf.Tensor) -> tf.Tensor:
        lengths = [tf.fill(sequences.shape[:1], sequences.shape[1]) for _ in model.inputs[1:]]
        return model._run_through_graph([sequences, *lengths], _operation)

    return whole


def convert(model: keras.Model, samples: int) -> bytes:
    """Converts a classifier of waveforms to builtin operators in one subgraph.

    The apps that load it ask for metadata and labels as well, as all our files get them.

    Args:
        model: A functional model of waveforms and lengths that gives logits.
        samples: Length of the window.

    Returns:
        A TFLite flatbuffer with the signature `predict`, from `waveform`, float32 (1, samples), to
        `probabilities`, float32 (1, classes). It keeps no state from call to call.

    Raises:
        ValueError: If the model hears no waveform, or if a layer of its own loops.
    """
    source = model.inputs[0]
    if len(source.shape) != 2:
        raise ValueError(
            "`model` must take a waveform, (batch, samples), for MediaPipe's AudioClassifier. "
            f"Received: `{source.name}` of shape {tuple(source.shape)}"
        )
    whole = twin(model)

    def predict(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        # Apps take every output for the scores of a head, so there are no logits.
        return {"probabilities": tf.nn.softmax(whole(waveform))}

    specs = signatures.whole_specs(model, 1, samples)
    traced = lowering.traced(predict, specs)
    content = lowering.lowered({"predict": traced}, [weight.value for weight in model.weights])
    _require_one_subgraph(content)
    return _unclipped(content)


def _unclipped(content: bytes) -> bytes:
    """Lets fused cells grow beyond 10, where the converter has them cut off."""
    model = flatbuffer.unpack(content)
    for operator in model.subgraphs[0].operators:
        if hasattr(operator.builtinOptions, "cellClip"):
            operator.builtinOptions.cellClip = 0.0  # none
    return flatbuffer.pack(model, len(content))


def _require_one_subgraph(content: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    count = schema.Model.GetRootAs(content).SubgraphsLength()
    if count != 1:
        raise ValueError(
            "`model` must be without loops and branches for MediaPipe's AudioClassifier. Received: "
            f"one that converts to {count} subgraphs, because of a layer that is not Keras' or ours"
        )


def _operation(op: keras.Operation) -> Callable[..., Any]:
    """What runs in the place of an operation; masks are dropped, for a window has no padding."""

    def run(*args: Any, **_: Any) -> Any:
        if makes_mask(op):
            return None
        for kind, replacement in _REPLACEMENTS.items():
            if isinstance(op, kind):
                return replacement(op, args[0])
        return infer(op, *args)

    return run


def _unchanged(op: keras.Operation, x: tf.Tensor) -> tf.Tensor:
    return x


def _pooled(layer: SequencePooling, x: tf.Tensor) -> tf.Tensor:
    return layer(x, tf.ones(x.shape[:2], tf.bool))  # constants, which the converter folds


def _running_mean(layer: RunningMean, x: tf.Tensor) -> tf.Tensor:
    """The layer's recurrence over blocks, written out, (batch, timesteps, features)."""
    longest, timesteps = len(layer.triangle), x.shape[1]

    def means(x: tf.Tensor) -> tf.Tensor:
        blocks, last = [], tf.zeros_like(x[:, :1])
        for start in range(0, timesteps, longest):
            block = x[:, start : min(start + longest, timesteps)]
            size = block.shape[1]
            within = tf.matmul(layer.triangle[:size, :size], block)
            blocks.append(within + layer.fading[:size] * last)
            last = blocks[-1][:, -1:]
        return tf.concat(blocks, axis=1)

    return x - means(x) / means(tf.ones((1, timesteps, 1)))


def _bidirectional(layer: keras.layers.Bidirectional, x: tf.Tensor) -> tf.Tensor:
    """Both directions, (batch, timesteps, 2 units) or (batch, 2 units)."""
    if layer.merge_mode != "concat":
        raise ValueError(
            f"`{layer.name}` must have merge_mode='concat' for MediaPipe's AudioClassifier. "
            f"Received: merge_mode={layer.merge_mode!r}"
        )
    forward = _recurrent(layer.forward_layer, x)
    backward = _recurrent(layer.backward_layer, x)
    if layer.return_sequences:
        backward = tf.reverse(backward, [1])
    return tf.concat([forward, backward], axis=-1)


def _recurrent(layer: keras.layers.RNN, x: tf.Tensor) -> tf.Tensor:
    """A recurrent layer, (batch, timesteps, units) or (batch, units)."""
    if layer.go_backwards:
        x = tf.reverse(x, [1])
    config = layer.get_config()
    if type(layer) is keras.layers.LSTM and all(config[k] == v for k, v in _FUSED.items()):
        outputs = _lstm(layer, x)
        return outputs if layer.return_sequences else outputs[:, -1]
    sizes = keras.tree.flatten(layer.cell.state_size)
    states = {str(number): tf.zeros((x.shape[0], size)) for number, size in enumerate(sizes)}
    return recurrence.step(layer, x, states)[0]


def _lstm(layer: keras.layers.LSTM, x: tf.Tensor) -> tf.Tensor:
    """An LSTM as one operator, which keeps its state from call to call, made to forget it.

    A frame before the others, marked by a feature that is zero in those, closes the input and the
    forget gate by more than any weights and states can open them, and so leaves states of zeros.
    """
    cell, (batch, timesteps, _) = layer.cell, x.shape
    # What is no number would stay in a state for ever: zero times it is none either.
    x = tf.pad(tf.where(tf.abs(x) < _LARGEST, x, 0.0), [[0, 0], [1, 0], [0, 0]])
    mark = tf.tile(tf.one_hot([0], timesteps + 1)[..., None], [batch, 1, 1])
    opening = tf.reduce_sum(tf.abs(cell.recurrent_kernel), axis=0) + tf.abs(cell.bias)
    closing = (_CLOSED - opening) * tf.repeat([1.0, 1.0, 0.0, 0.0], layer.units)
    zeros = tf.zeros((batch, layer.units))
    _, outputs, *_ = _operator(f"lstm_{layer.name}")(
        tf.concat([x, mark], axis=-1),
        zeros,
        zeros,
        tf.concat([cell.kernel, closing[None]], axis=0),
        tf.convert_to_tensor(cell.recurrent_kernel),
        tf.convert_to_tensor(cell.bias),
    )
    return outputs[:, 1:]


def _operator(name: str) -> Callable[..., tuple[tf.Tensor, ...]]:
    """What the converter turns into UNIDIRECTIONAL_SEQUENCE_LSTM.

    It goes by the attributes, by six tensors as arguments and five as results, of which the states
    stay unused; it crashes on a variable among them.
    """

    def lstm(
        x: tf.Tensor,  # (batch, timesteps, features)
        h: tf.Tensor,  # (batch, units)
        c: tf.Tensor,
        kernel: tf.Tensor,
        recurrent_kernel: tf.Tensor,
        bias: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        def step(states: tuple[tf.Tensor, tf.Tensor], of_x: tf.Tensor) -> tuple:
            gates = tf.split(of_x + tf.matmul(states[0], recurrent_kernel), 4, axis=1)
            update, forget, output = (tf.sigmoid(gates[i]) for i in (0, 1, 3))
            c = forget * states[1] + update * tf.tanh(gates[2])
            return output * tf.tanh(c), c

        of_x = tf.transpose(tf.matmul(x, kernel) + bias, [1, 0, 2])
        h, c = tf.scan(step, of_x, (h, c))  # (timesteps, batch, units)
        return h[-1], tf.transpose(h, [1, 0, 2]), h[-1], c[-1], tf.constant(0.0)

    attributes = {"api_implements": name, "time_major": False, "go_backwards": False}
    return tf.function(lstm, autograph=False, experimental_attributes=attributes)


_REPLACEMENTS: dict[type, Callable[..., tf.Tensor]] = {
    keras.layers.Masking: _unchanged,
    PadMarker: _unchanged,
    RunningMean: _running_mean,
    SequencePooling: _pooled,
    keras.layers.Bidirectional: _bidirectional,
    keras.layers.RNN: _recurrent,
}
