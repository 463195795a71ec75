"""How each layer becomes C: one emitter for each type of layer, which calls kernels of `rnn.h`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras.src.ops.numpy import ExpandDims  # the one operation that the builders use bare

from rnnapp import layers
from rnnapp.exporting.c99 import front, stack
from rnnapp.exporting.c99.program import Program, UnsupportedLayerError, Value
from rnnapp.layers.streaming import StepModel, makes_mask

# Writes what a layer does to its input; of its outputs, the first one streams.
Emitter = Callable[[Program, Any, Value], Value | tuple[Value, None]]


def emit(stepper: StepModel, program: Program) -> list[Value]:
    """Writes every layer of a model, in the order in which they run.

    Args:
        stepper: The model's step.
        program: What is written to.

    Returns:
        The model's outputs.

    Raises:
        UnsupportedLayerError: If a layer has no emitter, or is set in a way that has no kernel.
        ValueError: If a weight is not finite.
    """

    def operation(op: keras.Operation, x: Value, *_: Any) -> Any:
        if makes_mask(op):
            return None  # a stream has no padding
        with program.section(f"{op.name}: {type(op).__name__} of {x.shape}"):
            return _emitter(op)(program, op, x)

    return keras.tree.flatten(stepper.walk(Value("input", stepper.input_shape), operation))


def _emitter(op: keras.Operation) -> Emitter:
    if type(op) not in EMITTERS:
        known = ", ".join(sorted(kind.__name__ for kind in EMITTERS))
        raise UnsupportedLayerError(
            f"`{op.name}` must be of a type that has a C kernel: {known}. "
            f"Received: {type(op).__name__}. Leave the C99 formats out, or write an emitter."
        )
    return EMITTERS[type(op)]


def _same(program: Program, layer: keras.layers.Layer, x: Value) -> Value:
    return x


def _prelude(program: Program, layer: layers.Prelude, x: Value) -> tuple[Value, None]:
    return x, None


def _expand_dims(program: Program, op: ExpandDims, x: Value) -> Value:
    return Value(x.name, (*x.shape, 1))


def _reshape(program: Program, layer: keras.layers.Reshape, x: Value) -> Value:
    inner = layer.target_shape[1:]
    return Value(x.name, (x.size // math.prod(inner), *inner))


def _last(program: Program, layer: layers.LastTimestep, x: Value) -> Value:
    before = (x.rows - 1) * x.features
    return Value(f"{x.name} + {before}" if before else x.name, (x.features,))


EMITTERS: dict[type, Emitter] = {
    ExpandDims: _expand_dims,
    keras.layers.Activation: stack.activation,
    keras.layers.BatchNormalization: stack.batch_norm,
    keras.layers.Dense: stack.dense,
    keras.layers.Dropout: _same,
    keras.layers.Embedding: front.embedding,
    keras.layers.GRU: stack.gru,
    keras.layers.LSTM: stack.lstm,
    keras.layers.LayerNormalization: stack.layer_norm,
    keras.layers.Masking: _same,
    keras.layers.Reshape: _reshape,
    keras.layers.SimpleRNN: stack.simple_rnn,
    keras.layers.SpatialDropout1D: _same,
    layers.CausalConv: front.causal_conv,
    layers.LastTimestep: _last,
    layers.LogMel: front.log_mel,
    layers.PadMarker: _same,
    layers.Prelude: _prelude,
    layers.RunningMean: front.running_mean,
    layers.SequencePooling: stack.pooling,
    layers.SpecAugment: _same,
}
