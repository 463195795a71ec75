"""Rounding weights to integers so that their errors make up for each other.

Rounded one by one to the nearest integer, the weights of a product err at random, and what is heard
most errs as much as what is never heard. Rounded in turn, each with the errors of those before it
in mind, they leave the product of what a model really hears nearly as it was.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapp.exporting import signatures
from rnnapp.layers.streaming import StepModel, streams

Moments = Mapping[int, np.ndarray]
"""By a weight's place in its model, the mean of its inputs' products with each other, (inputs,
inputs)."""

LEVELS = 127  # integers of eight bits on either side of zero
_DAMPING = 0.01  # of the mean energy: what is never heard must not err without limit
_LONGEST = 100  # timesteps in one graph
_MOMENTS = "moments"
_PRODUCTS = {"MatMul": "transpose_b", "BatchMatMulV2": "adj_y", "Conv2D": ""}


def round_weights(
    model: keras.Model,
    sequences: np.ndarray,
    *,
    exact: Collection[str] = (),
    shared: bool = False,
    smallest: int = 1,
) -> None:
    """Rounds what a model multiplies by to integers of eight bits, times a scale.

    Quantizers, which take the scale from the largest weight, find nothing left to round.

    Args:
        model: A model, which is changed.
        sequences: What it hears, (examples, time, ...).
        exact: Names of layers whose weights stay as they are.
        shared: Whether the outputs of a matrix share one scale. Those of a convolution never do.
        smallest: Elements of the smallest weights that are rounded.
    """
    chosen = [layer for layer in model.layers if layer.name not in exact]
    rounding = {weight.path for layer in chosen for weight in layer.weights}
    moments_of = _of_steps if streams(model) else _of_all
    for place, moments in moments_of(model, sequences).items():
        weight = model.weights[place]
        if weight.path not in rounding or math.prod(weight.shape) < smallest:
            continue
        kernel = weight.numpy().reshape(len(moments), -1)  # (inputs, outputs)
        one = shared and len(weight.shape) == 2
        weight.assign(rounded(kernel, moments, shared=one).reshape(weight.shape))


def rounded(kernel: np.ndarray, moments: np.ndarray, *, shared: bool = False) -> np.ndarray:
    """Rounds a matrix row by row, each error carried on to the rows that are left.

    Frantar et al. 2022, GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers, arXiv:2210.17323.

    Args:
        kernel: Float (inputs, outputs).
        moments: Of the inputs, the mean of their products with each other, (inputs, inputs).
        shared: Whether all outputs share one scale.

    Returns:
        Integers from -127 to 127 times a scale, the largest weight's (of each output), which are
        127; float32 (inputs, outputs).
    """
    largest = np.abs(kernel).max(axis=None if shared else 0)
    scale = np.where(largest > 0, largest, 1.0) / LEVELS
    order = np.argsort(-np.diag(moments), kind="stable")  # the loudest first: many make up for them
    damped = moments + _DAMPING * np.diag(moments).mean() * np.eye(len(moments))
    if not damped.any():
        damped = np.eye(len(moments))  # nothing was heard: to the nearest
    shares = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left, result = (kernel[order] / scale).astype(np.float64), np.empty(kernel.shape)
    for row, source in enumerate(order):
        integers = np.clip(np.rint(left[row]), -LEVELS, LEVELS)
        # The scale is taken from the largest weights, which therefore stay.
        exact = kernel[source] / scale
        integers = np.where(np.abs(kernel[source]) == largest, np.rint(exact), integers)
        error = (left[row] - integers) / shares[row, row]
        left[row + 1 :] -= np.outer(shares[row, row + 1 :], error)
        result[source] = integers
    return (result * scale).astype(np.float32)


def _of_steps(model: keras.Model, sequences: np.ndarray) -> Moments:
    """The moments of what each weight is multiplied by, in streams side by side."""
    stepper = StepModel(model)
    specs = signatures.step_specs(stepper, len(sequences))
    name, *_ = specs

    def heard(sequence: tf.Tensor, **states: tf.Tensor) -> dict[str, Any]:
        _, changed = stepper(sequence, states)
        return {**changed, _MOMENTS: _moments(model)}

    step = tf.function(signatures.renamed(heard, [name]), autograph=False)
    states = {key: tf.zeros(spec.shape) for key, spec in specs.items() if key != name}
    size, total = stepper.input_shape[0], dict[int, np.ndarray]()
    for start in range(0, sequences.shape[1] - size + 1, size):
        outputs = step(**{name: sequences[:, start : start + size]}, **states)
        for place, moments in outputs.pop(_MOMENTS).items():
            total[place] = total.get(place, 0.0) + moments.numpy().astype(np.float64)
        states = outputs
    return total


def _of_all(model: keras.Model, sequences: np.ndarray) -> Moments:
    """The same of a model without steps: all timesteps in one graph, where products are seen."""
    whole = _unrolled(model)
    grain = math.prod(getattr(op, "frame_step", 1) for op in model.operations)
    heard = tf.constant(sequences[:, : _LONGEST * grain])
    lengths = tf.fill((len(sequences),), heard.shape[1])

    @tf.function(autograph=False)
    def moments() -> dict[int, tf.Tensor]:
        whole([heard, lengths], training=False)
        return _moments(whole)

    return {place: value.numpy().astype(np.float64) for place, value in moments().items()}


def _unrolled(model: keras.Model) -> keras.Model:
    """A copy whose recurrent layers are no loops."""

    def edited(config: Any) -> Any:
        if isinstance(config, dict):
            return {k: True if k == "unroll" else edited(v) for k, v in config.items()}
        return type(config)(map(edited, config)) if isinstance(config, list | tuple) else config

    copy = type(model).from_config(edited(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


def _moment(x: tf.Tensor) -> tf.Tensor:
    """(rows, inputs) -> (inputs, inputs)."""
    return tf.matmul(x, x, transpose_a=True) / tf.cast(tf.shape(x)[0], x.dtype)


def _moments(model: keras.Model) -> dict[int, tf.Tensor]:
    """In a graph, the moments of what is multiplied by each whole weight, by its place."""
    graph = tf.compat.v1.get_default_graph()
    captured = {internal.name: id(external) for external, internal in graph.captures}
    places = {id(weight.value.handle): place for place, weight in enumerate(model.weights)}
    found: dict[int, list[tf.Tensor]] = {}
    for op in graph.get_operations():
        if op.type not in _PRODUCTS:
            continue
        source = op.inputs[1]
        while source.op.type in ("Identity", "ReadVariableOp"):
            source = source.op.inputs[0]
        place = places.get(captured.get(source.name, 0))
        transposed = _PRODUCTS[op.type] and op.get_attr(_PRODUCTS[op.type])
        if place is not None and not transposed:
            found.setdefault(place, []).append(_moment(_rows(op)))
    return {place: tf.add_n(moments) for place, moments in found.items()}


def _rows(op: Any) -> tf.Tensor:
    """What a product's weights meet, (rows, inputs): of a convolution, its patches."""
    x, kernel = op.inputs[0], op.inputs[1]
    if op.type == "Conv2D":
        sizes, strides = [1, *kernel.shape[:2], 1], op.get_attr("strides")
        padding = op.get_attr("padding").decode()
        x = tf.image.extract_patches(x, sizes, strides, [1, 1, 1, 1], padding)
    return tf.reshape(x, (-1, x.shape[-1]))
