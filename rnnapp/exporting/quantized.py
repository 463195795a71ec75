"""Step models of integers: eight-bit weights, and activations of eight or sixteen bits.

Post-training quantization learns the range of every tensor from examples. Those of a stream are
made by letting it run over one sequence after another: states that are reached in use, not zeros.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize  # the converter's own second half

from rnnapp.device import Stepper, load
from rnnapp.exporting import flatbuffer, lowering, signatures
from rnnapp.layers.streaming import StepModel, has_front

ARITHMETIC = "all but products"
# One bit of sixteen: what is cut off, being louder than all before, errs by more than rounding.
_HEADROOM = 2.0
_ANSWER = "probabilities"  # never integers: rounded to a 256th, small ones are all the same


class IntegerStep:
    """A model's step with integer arithmetic behind a front end of floats.

    Args:
        model: A causal model.
        sequences: Examples that ranges are learnt from, float32 (examples, time, ...).
    """

    def __init__(self, model: keras.Model, sequences: np.ndarray) -> None:
        self.front, self.body = StepModel(model, "front"), StepModel(model, "body")
        self._sequences = sequences

    def step(self, activation_bits: int, float_parts: Collection[str] = ()) -> bytes:
        """All of it.

        Args:
            activation_bits: 8 or 16.
            float_parts: What stays floats, as `sensitive_parts` names it, weights as floats of
                sixteen bits; with 8 alone.

        Returns:
            A TFLite flatbuffer with the signature `step`, of floats to the outside.
        """
        content = self.body_step(activation_bits, float_parts)
        if float_parts:
            content = flatbuffer.halved(content, self.body.model.layers)
        if has_front(self.front.model):
            content = flatbuffer.chained(self.front_step, content, signatures.FEATURES)
        return content

    def body_step(self, activation_bits: int, float_parts: Collection[str] = ()) -> bytes:
        """What follows the front end, from `features` to answers.

        Args:
            activation_bits: 8 or 16.
            float_parts: What stays floats, as `sensitive_parts` names it; with 8 alone.

        Returns:
            A TFLite flatbuffer with the signature `step`, of floats to the outside.
        """
        if activation_bits == 16:
            return self._sixteen_bits
        kept = {name for name, part in self._operators.items() if part in {_ANSWER, *float_parts}}
        # What has several outputs has no name; of those, recurrent layers have SPLIT.
        splits = {"SPLIT"} if float_parts else None
        return bytes(mlir_quantize(self._calibrated, denylisted_nodes=kept, denylisted_ops=splits))

    @functools.cached_property
    def front_step(self) -> bytes:
        """The front end alone, of floats, from input to `features`."""
        specs = signatures.step_specs(self.front, 1)
        traced = lowering.traced(signatures.front_step(self.front), specs)
        return lowering.lowered({"step": traced}, self.front.weights)

    @functools.cached_property
    def float_body(self) -> bytes:
        """What follows it, of floats, which integers are held against."""
        return lowering.lowered({"step": self._traced}, self.body.weights)

    def sensitive_parts(self) -> list[str]:
        """What to keep in floats, first what integers of eight bits hurt most.

        That is all arithmetic but products: a state that is rounded to a 256th of its range at
        every step forgets what changes it by less. Products with weights, of which a file consists,
        follow, by their layers' names.

        Returns:
            Names for `float_parts`, in this order.
        """
        layers = sorted(set(self._operators.values()) - {_ANSWER, ARITHMETIC})
        truth = self._answers(self.float_body)

        def left(layer: str) -> float:
            answers = self._answers(self.body_step(8, (ARITHMETIC, layer)))
            return float(np.abs(answers - truth).mean())

        return [ARITHMETIC, *sorted(layers, key=left)]

    @functools.cached_property
    def _traced(self) -> lowering.Concrete:
        specs = signatures.step_specs(self.body, 1)
        return lowering.traced(signatures.step(self.body), specs)

    @functools.cached_property
    def _heard(self) -> list[np.ndarray]:
        """What the front makes of all sequences, one after the other, step by step."""
        joined, (size, *_) = np.concatenate(list(self._sequences)), self.front.input_shape
        steps = (joined[None, i : i + size] for i in range(0, len(joined) - size + 1, size))
        if not has_front(self.front.model):
            return list(steps)
        front = Stepper(load(self.front_step))
        (name,) = front.inputs
        return [front(**{name: step})[signatures.FEATURES] for step in steps]

    def _examples(self, loudness: float = 1.0) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """The inputs of every step: features, and states as they are reached in use."""
        stepper = Stepper(load(self.float_body))
        for heard in self._heard:
            features = heard if heard.dtype.kind == "i" else heard * np.float32(loudness)
            yield "step", {self.body.input_name: features, **stepper.states}
            stepper(**{self.body.input_name: features})

    @functools.cached_property
    def _calibrated(self) -> bytes:
        """The body of floats, with the range of every tensor."""

        def calibrate(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = self._examples
            converter._experimental_calibrate_only = True

        return lowering.lowered({"step": self._traced}, self.body.weights, calibrate)

    @functools.cached_property
    def _sixteen_bits(self) -> bytes:
        def quantize(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: self._examples(_HEADROOM)
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
                # What has no kernel of integers stays one of floats: a division, for one.
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]

        return lowering.lowered({"step": self._traced}, self.body.weights, quantize)

    @functools.cached_property
    def _operators(self) -> dict[str, str]:
        """Which part each operator belongs to, by the name that the converter knows it by."""
        from ai_edge_litert.schema_py_generated import BuiltinOperator

        kinds = {
            BuiltinOperator.FULLY_CONNECTED,
            BuiltinOperator.CONV_2D,
            BuiltinOperator.DEPTHWISE_CONV_2D,
        }
        layers = {op.name for op in self.body.model.operations}
        model = flatbuffer.unpack(self._calibrated)
        graph, (signature,) = model.subgraphs[0], model.signatureDefs
        names = [tensor.name.decode() for tensor in graph.tensors]
        parts = {}
        for operator in graph.operators:
            # `StepModel` calls what a layer computes, and its weights, by the layer's name.
            scopes = [scope for i in operator.inputs[1:] for scope in re.split("[/;]", names[i])]
            layer = next((scope for scope in scopes if scope in layers), ARITHMETIC)
            product = model.operatorCodes[operator.opcodeIndex].builtinCode in kinds
            parts[names[operator.outputs[0]]] = layer if product else ARITHMETIC
        (answer,) = (e.tensorIndex for e in signature.outputs if e.name.decode() == _ANSWER)
        return {**parts, names[answer]: _ANSWER}

    def _answers(self, content: bytes) -> np.ndarray:
        """Probabilities of a body at every step of the stream, (steps, classes)."""
        stepper = Stepper(load(content))
        heard = [
            stepper(**{self.body.input_name: features})["probabilities"][0]
            for features in self._heard
        ]
        return np.stack(heard)
