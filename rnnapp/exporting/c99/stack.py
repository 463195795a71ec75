"""The stack and the head of a model in C: recurrent layers, normalisation, pooling, products.

Each public function is an `Emitter`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from rnnapp.exporting.c99.program import (
    Program,
    UnsupportedLayerError,
    Value,
    floats,
    folded,
    number,
)
from rnnapp.layers import SequencePooling

ACTIVATIONS: dict[Callable, str] = {
    keras.activations.linear: "rnn_linear",
    keras.activations.relu: "rnn_relu",
    keras.activations.sigmoid: "rnn_sigmoid",
    keras.activations.tanh: "rnn_tanh",
}


def simple_rnn(program: Program, layer: keras.layers.SimpleRNN, x: Value) -> Value:
    """Elman's recurrence."""
    return _recurrent(program, layer, x, "rnn_simple_rnn", work=layer.units, bias=layer.cell.bias)


def lstm(program: Program, layer: keras.layers.LSTM, x: Value) -> Value:
    """Long short-term memory."""
    return _recurrent(program, layer, x, "rnn_lstm", work=4 * layer.units, bias=layer.cell.bias)


def gru(program: Program, layer: keras.layers.GRU, x: Value) -> Value:
    """A gated recurrent unit, of both kinds."""
    units, bias = layer.units, layer.cell.bias
    if not layer.reset_after:
        return _recurrent(program, layer, x, "rnn_gru_reset_before", work=4 * units, bias=bias)
    biases = (
        {} if bias is None else dict(zip(("bias", "recurrent_bias"), floats(bias), strict=True))
    )
    return _recurrent(program, layer, x, "rnn_gru", work=6 * units, **biases)


def _recurrent(
    program: Program, layer: keras.layers.RNN, x: Value, kernel: str, work: int, **biases: Any
) -> Value:
    """The timesteps of a recurrent layer, by a kernel that makes one."""
    count = len(keras.tree.flatten(layer.cell.state_size))
    h, *others = (program.state(f"{layer.name}_state_{i}") for i in range(count))
    gates = program.struct("rnn_gates", f"{layer.name}_layer", **_gates(program, layer, biases))
    program.need(work=work)
    copied = layer.return_sequences and x.rows > 1
    y = program.output(x, (x.rows, layer.units)) if copied else Value(h, (1, layer.units))
    with program.each_row(x, y) as (source, target):
        program.step(f"{kernel}({gates}, {source}, {', '.join([h, *others])}, &scratch);")
        if copied:
            program.step(f"memcpy({target}, {h}, sizeof {h});")
    return y if layer.return_sequences else Value(h, (layer.units,))


def _gates(program: Program, layer: keras.layers.RNN, biases: dict[str, Any]) -> dict[str, object]:
    cell, name = layer.cell, layer.name
    matrices = {"input": cell.kernel, "recurrent": cell.recurrent_kernel}
    functions = [key for key in ("activation", "recurrent_activation") if hasattr(cell, key)]
    return {
        "units": cell.units,
        **{key: program.matrix(f"{name}_{key}", floats(w).T) for key, w in matrices.items()},
        **{key: program.array(f"{name}_{key}", bias) for key, bias in biases.items()},
        **{key: _function(layer, getattr(cell, key)) for key in functions},
    }


def batch_norm(program: Program, layer: keras.layers.BatchNormalization, x: Value) -> Value:
    """Batch normalisation by the statistics of training."""
    factor, offset = (
        program.array(f"{layer.name}_{key}", values)
        for key, values in zip(("factor", "offset"), folded(layer), strict=True)
    )
    y = program.output(x, x.shape)
    program.step(f"rnn_affine({factor}, {offset}, {x.name}, {x.rows}, {x.features}, {y.name});")
    return y


def layer_norm(program: Program, layer: keras.layers.LayerNormalization, x: Value) -> Value:
    """Layer normalisation of each timestep."""
    if layer.rms_scaling:
        raise UnsupportedLayerError(
            f"`{layer.name}` must have rms_scaling=False to have a C kernel. "
            "Received: rms_scaling=True"
        )
    gamma = program.array(f"{layer.name}_gamma", layer.gamma)
    beta = program.array(f"{layer.name}_beta", layer.beta)
    y = program.output(x, x.shape)
    program.step(
        f"rnn_layer_norm({gamma}, {beta}, {number(layer.epsilon)}, {x.name}, {x.rows}, "
        f"{x.features}, {y.name});"
    )
    return y


def pooling(program: Program, layer: SequencePooling, x: Value) -> Value:
    """What is kept of the last timesteps, pooled."""
    frames, heard = (program.state(f"{layer.name}_{key}") for key in ("frames", "heard"))
    window, features = layer.window, x.features
    assert window is not None  # `StepModel` has refused it
    ones = program.array(f"{layer.name}_ones", [1.0] * x.rows)
    program.step(f"rnn_push({frames}, {window * features}, {x.name}, {x.size});")
    program.step(f"rnn_push({heard}, {window}, {ones}, {x.rows});")
    if layer.kind == "attention":
        y = program.output(x, (features,))
        settings = _attention(program, layer, window, features)
        program.step(f"rnn_attend({settings}, {frames}, {heard}, {y.name}, &scratch);")
        return y
    kinds = layer.kind.split("_")  # "mean_max" is both, one after the other
    y = program.output(x, (len(kinds) * features,))
    for place, kind in enumerate(kinds):
        target = f"{y.name} + {place * features}" if place else y.name
        program.step(f"rnn_{kind}({frames}, {heard}, {window}, {features}, {target});")
    return y


def _attention(program: Program, layer: SequencePooling, window: int, features: int) -> str:
    heads, name = layer.num_heads, layer.name
    key = floats(layer.key.kernel).reshape(features, heads, -1)  # (features, heads, size)
    by_head = key.transpose(1, 0, 2).reshape(heads * features, -1)
    program.need(work=2 * features)
    return program.struct(
        "rnn_attention_settings",
        f"{name}_layer",
        window=window,
        features=features,
        heads=heads,
        query=program.matrix(f"{name}_query", floats(layer.query.kernel).T),
        query_bias=program.array(f"{name}_bias", layer.query.bias),
        key=program.matrix(f"{name}_key", by_head),
    )


def dense(program: Program, layer: keras.layers.Dense, x: Value) -> Value:
    """A product for each timestep, and its activation."""
    weights = program.matrix(f"{layer.name}_kernel", floats(layer.kernel).T)
    matrix = program.struct("rnn_matrix", f"{layer.name}_layer", **weights)
    bias = program.array(f"{layer.name}_bias", layer.bias)
    y = program.output(x, (*x.shape[:-1], layer.units))
    with program.each_row(x, y) as (source, target):
        program.step(f"rnn_multiply({matrix}, {source}, {bias}, {target}, &scratch);")
    if layer.activation is not keras.activations.linear:
        _activate(program, layer, y, y)
    return y


def activation(program: Program, layer: keras.layers.Activation, x: Value) -> Value:
    """An activation alone."""
    y = program.output(x, x.shape)
    _activate(program, layer, x, y)
    return y


def _activate(program: Program, layer: Any, x: Value, y: Value) -> None:
    """y = activation(x), where both may be one array."""
    if layer.activation is keras.activations.softmax:
        with program.each_row(x, y) as (source, target):
            program.step(f"rnn_softmax({source}, {x.features}, {target});")
    else:
        function = _function(layer, layer.activation)
        program.step(f"{function}({x.name}, {x.size}, {y.name});")


def _function(layer: keras.layers.Layer, function: Callable) -> str:
    """The C function of an activation."""
    if function not in ACTIVATIONS:
        known = ", ".join(sorted(other.__name__ for other in ACTIVATIONS))
        raise UnsupportedLayerError(
            f"`{layer.name}` must have an activation that has a C function: {known}. "
            f"Received: {getattr(function, '__name__', function)}"
        )
    return ACTIVATIONS[function]
