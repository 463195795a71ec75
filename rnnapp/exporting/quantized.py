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
from rnnapp.device.stepper import NEXT
from rnnapp.exporting import flatbuffer, lowering, signatures
from rnnapp.layers.streaming import StepModel, has_front

_ANSWER = "probabilities"
Examples = Iterator[tuple[str, dict[str, np.ndarray]]]


class IntegerStep:
    """A model's step with integer arithmetic behind a front end of floats.

    Args:
        model: A causal model.
        sequences: Examples that ranges are learnt from, float32 (examples, time, ...).
    """

    def __init__(self, model: keras.Model, sequences: np.ndarray) -> None:
        self.front, self.body = StepModel(model, "front"), StepModel(model, "body")
        self._sequences = sequences

    def step(self, activation_bits: int, float_layers: Collection[str] = ()) -> bytes:
        """All of it.

        Args:
            activation_bits: 8 or 16.
            float_layers: Names of layers that stay floats, of sixteen bits; with 8 alone.

        Returns:
            A TFLite flatbuffer with the signature `step`, of floats to the outside.
        """
        content = self.body_step(activation_bits, float_layers)
        if has_front(self.front.model):
            content = flatbuffer.chained(self.front_step(), content, signatures.FEATURES)
        return flatbuffer.halved(content) if float_layers else content

    def front_step(self) -> bytes:
        """The front end alone, of floats, from input to `features`."""
        specs = signatures.step_specs(self.front, 1)
        traced = lowering.traced(signatures.front_step(self.front), specs)
        return lowering.lowered({"step": traced}, self.front.weights)

    def body_step(self, activation_bits: int, float_layers: Collection[str] = ()) -> bytes:
        """What follows the front end, from `features` to answers.

        Args:
            activation_bits: 8 or 16.
            float_layers: Names of layers that stay floats; with 8 alone.
        """
        if activation_bits == 16:
            return lowering.lowered({"step": self._traced}, self.body.weights, self._sixteen_bits)
        # Rounded to a 256th, small probabilities are all the same.
        kept = {operator for name in [_ANSWER, *float_layers] for operator in self._operators[name]}
        # What has several outputs has no name; of those, recurrent layers have SPLIT.
        splits = {"SPLIT"} if float_layers else None
        return bytes(mlir_quantize(self._calibrated, denylisted_nodes=kept, denylisted_ops=splits))

    @functools.cached_property
    def float_body(self) -> bytes:
        """The same of floats, which integers are held against."""
        return lowering.lowered({"step": self._traced}, self.body.weights)

    def sensitive_layers(self) -> list[str]:
        """The layers of the body, first the one that loses most by integers of eight bits."""
        layers = [name for name in self._operators if name != _ANSWER]
        truth = self._answers(self.float_body)
        left = {
            name: np.abs(self._answers(self.body_step(8, [name])) - truth).mean() for name in layers
        }
        return sorted(layers, key=left.__getitem__)

    @functools.cached_property
    def _traced(self) -> lowering.Concrete:
        specs = signatures.step_specs(self.body, 1)
        return lowering.traced(signatures.step(self.body), specs)

    @functools.cached_property
    def _heard(self) -> list[np.ndarray]:
        """What the front makes of all sequences, one after the other, step by step."""
        run, (size, *_) = tf.function(self.front), self.front.input_shape
        states, heard = self.front.initial_states(), []
        joined = np.concatenate(list(self._sequences))
        for start in range(0, len(joined) - size + 1, size):
            features, states = run(tf.constant(joined[None, start : start + size]), states)
            heard.append(features.numpy())
        return heard

    @functools.cached_property
    def _calibrated(self) -> bytes:
        """The body of floats, with the range of every tensor."""

        def calibrate(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = self._examples
            converter._experimental_calibrate_only = True

        return lowering.lowered({"step": self._traced}, self.body.weights, calibrate)

    def _sixteen_bits(self, converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = self._examples
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            # What has no kernel of integers stays one of floats: a division, for one.
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]

    def _examples(self) -> Examples:
        states = {name: value.numpy() for name, value in self.body.initial_states().items()}
        for features in self._heard:
            inputs = {self.body.input_name: features, **states}
            yield "step", inputs
            outputs = self._traced(**{name: tf.constant(value) for name, value in inputs.items()})
            states = {name: outputs[f"next_{name}"].numpy() for name in states}

    @functools.cached_property
    def _operators(self) -> dict[str, list[str]]:
        """The names of each layer's operators, by which the converter lets them be."""
        model = flatbuffer.unpack(self._calibrated)
        graph, (signature,) = model.subgraphs[0], model.signatureDefs
        tensors = [tensor.name.decode() for tensor in graph.tensors]
        # An operator is called by what it computes: by the scopes that `StepModel` gives its
        # layers, or, where that is an output of the signature, by its place there.
        operators = [tensors[op.outputs[0]] for op in graph.operators]
        outputs = {e.name.decode(): tensors[e.tensorIndex] for e in signature.outputs}
        found = {_ANSWER: [outputs[_ANSWER]]}
        for op in self.body.model.operations:
            states = (name for name in self.body.state_shapes if name.startswith(f"{op.name}_"))
            own = [outputs[f"{NEXT}{state}"] for state in states]
            own += [name for name in operators if op.name in re.split("[/;]", name)]
            if op.output is self.body.model.outputs[0]:
                own.append(outputs["logits"])
            if own:
                found[op.name] = own
        return found

    def _answers(self, content: bytes) -> np.ndarray:
        """Probabilities of a body at every step of the stream, (steps, classes)."""
        stepper = Stepper(load(content))
        heard = [stepper(features=features)["probabilities"][0] for features in self._heard]
        return np.stack(heard)
