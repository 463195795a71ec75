"""SavedModels with named signatures, for TensorFlow Serving and everything that loads one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from rnnapp.exporting import signatures
from rnnapp.exporting.portable import portable
from rnnapp.layers.streaming import StepModel

LENGTHS = "lengths"


def save(
    model: keras.Model, folder: Path, labels: Sequence[str], stepper: StepModel | None
) -> None:
    """Writes a SavedModel.

    Its signatures are `serving_default` (sequences without padding), `padded` (with lengths) and,
    for a causal model, `step`. Each answers with `label`, `probabilities` and `logits`; every
    output has a batch dimension, as TensorFlow Serving's row format asks.

    Args:
        model: The model.
        folder: The version's folder, `.../1`.
        labels: The names of the classes.
        stepper: The model's step, or None if it has none.
    """
    holder = tf.Module()
    # The variables themselves: C++ loaders restore none that hang on a Keras model alone.
    holder.weights = [weight.value for weight in model.weights]
    spec = signatures.sequence_spec(model, None, None)
    lengths = tf.TensorSpec((None,), tf.int32, name=LENGTHS)
    functions: dict[str, tuple[Callable[..., Any], dict[str, tf.TensorSpec]]] = {
        "serving_default": (signatures.whole(model), {spec.name: spec}),
        "padded": (signatures.padded(model), {spec.name: spec, LENGTHS: lengths}),
    }
    if stepper is not None:
        functions["step"] = (signatures.step(stepper), signatures.step_specs(stepper, None))
    traced = {}
    for name, (function, specs) in functions.items():
        positional = list(specs)[: 2 if name == "padded" else 1]
        named = _labelled(signatures.renamed(function, positional), labels)
        with portable():
            traced[name] = tf.function(named, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(holder, str(folder), signatures=traced)


def _labelled(function: Callable[..., Any], labels: Sequence[str]) -> Callable[..., Any]:
    """`function` with the most probable label's name as an output more."""

    def named(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = function(**inputs)
        best = tf.argmax(outputs["logits"], axis=-1)
        return {**outputs, "label": tf.gather(tf.constant(list(labels)), best)}

    return named
