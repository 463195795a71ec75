"""Rounding weights to integers so that their errors make up for each other.

Rounded one by one to the nearest integer, the weights of a product err at random, and what is heard
most errs as much as what is never heard. Rounded in turn, each with the errors of those before it
in mind, they leave the product of what a model really hears nearly as it was.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapp.exporting import lowering, signatures
from rnnapp.layers.streaming import StepModel

LEVELS = 127  # integers of eight bits on either side of zero
_DAMPING = 0.01  # of the mean energy: what is never heard must not err without limit
_PRODUCTS = {"MatMul": "transpose_b", "BatchMatMulV2": "adj_y", "Conv2D": ""}


def round_weights(
    model: keras.Model,
    sequences: np.ndarray,
    *,
    exact: Collection[str] = (),
    shared: bool = False,
) -> None:
    """Rounds what a model multiplies by to integers of eight bits, times a scale.

    Quantizers, which take the scale from the largest weight, find nothing left to round.

    Args:
        model: A causal model, which is changed.
        sequences: What it hears, (examples, time, ...).
        exact: Names of layers whose weights stay as they are.
        shared: Whether the outputs of a matrix share one scale. Those of a convolution never do.
    """
    rounding = [layer for layer in model.layers if layer.name not in exact]
    variables = {weight.value.ref(): weight for layer in rounding for weight in layer.weights}
    for variable, moments in _moments(StepModel(model), sequences).items():
        if variable not in variables:
            continue
        weight = variables[variable]
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


def _moments(stepper: StepModel, sequences: np.ndarray) -> dict[Any, np.ndarray]:
    """The moments of what each weight is multiplied by, in streams side by side."""
    specs = signatures.step_specs(stepper, len(sequences))
    name, *_ = specs
    products: list[Any] = []

    def heard(sequence: tf.Tensor, **states: tf.Tensor) -> dict[str, tf.Tensor]:
        _, changed = stepper(sequence, states)
        found = _inputs_of_products(tf.compat.v1.get_default_graph(), stepper.weights)
        products[:] = [variable for variable, _ in found]
        moments = {f"moments_{i}": _moment(x) for i, (_, x) in enumerate(found)}
        return {**changed, **moments}

    step = lowering.traced(heard, specs)
    states = {key: tf.zeros(spec.shape) for key, spec in specs.items() if key != name}
    size, total = stepper.input_shape[0], dict[Any, np.ndarray]()
    for start in range(0, sequences.shape[1] - size + 1, size):
        outputs = step(**{name: tf.constant(sequences[:, start : start + size])}, **states)
        states = {key: outputs[key] for key in states}
        for number, variable in enumerate(products):
            moment = outputs[f"moments_{number}"].numpy().astype(np.float64)
            total[variable] = total.get(variable, 0.0) + moment
    return total


def _moment(x: tf.Tensor) -> tf.Tensor:
    """(rows, inputs) -> (inputs, inputs)."""
    return tf.matmul(x, x, transpose_a=True) / tf.cast(tf.shape(x)[0], x.dtype)


def _inputs_of_products(graph: Any, weights: list[Any]) -> list[tuple[Any, tf.Tensor]]:
    """Each whole weight that something is multiplied by, and what, (rows, inputs)."""
    captured = {internal.name: external for external, internal in graph.captures}
    by_handle = {id(weight.handle): weight.ref() for weight in weights}
    found = []
    for op in graph.get_operations():
        if op.type not in _PRODUCTS:
            continue
        source = op.inputs[1]
        while source.op.type in ("Identity", "ReadVariableOp"):
            source = source.op.inputs[0]
        variable = by_handle.get(id(captured.get(source.name)))
        transposed = _PRODUCTS[op.type] and op.get_attr(_PRODUCTS[op.type])
        if variable is not None and not transposed:
            found.append((variable, _rows(op)))
    return found


def _rows(op: Any) -> tf.Tensor:
    """What a product's weights meet, (rows, inputs): of a convolution, its patches."""
    x, kernel = op.inputs[0], op.inputs[1]
    if op.type == "Conv2D":
        sizes, strides = [1, *kernel.shape[:2], 1], op.get_attr("strides")
        padding = op.get_attr("padding").decode()
        x = tf.image.extract_patches(x, sizes, strides, [1, 1, 1, 1], padding)
    return tf.reshape(x, (-1, x.shape[-1]))
