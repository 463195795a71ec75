"""SavedModels with named signatures, for TensorFlow Serving and everything that loads one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from rnnapp.exporting import signatures
from rnnapp.exporting.portable import portable
from rnnapp.exporting.replays import TEXT
from rnnapp.layers.streaming import StepModel


def save(
    model: keras.Model,
    folder: Path,
    labels: Sequence[str],
    stepper: StepModel | None,
    read: Callable[[tf.Tensor], Any] | None = None,
) -> None:
    """Writes a SavedModel.

    Its signatures are `serving_default` (raw input: texts, sounds as long as they are, rows with
    lengths), `padded` (sequences with lengths) and, for a causal model, `step`. Each answers with
    `label`, `probabilities` and `logits`; every output has a batch dimension, as TensorFlow
    Serving's row format asks.

    Args:
        model: The model.
        folder: The version's folder, `.../1`.
        labels: The names of the classes.
        stepper: The model's step, or None if it has none.
        read: What makes token ids and lengths of texts, for a model of those; its tables are kept.
    """
    holder = tf.Module()
    # The variables themselves: C++ loaders restore none that hang on a Keras model alone.
    holder.weights = [weight.value for weight in model.weights]
    holder.read = read
    functions: dict[str, tuple[Callable[..., Any], dict[str, tf.TensorSpec]]] = {
        "serving_default": (signatures.whole(model), signatures.whole_specs(model, None, None)),
        "padded": (signatures.padded(model), signatures.padded_specs(model, None, None)),
    }
    if read is not None:
        text = tf.TensorSpec((None,), tf.string, TEXT)
        functions["serving_default"] = (signatures.texts(model, read), {TEXT: text})
    if stepper is not None:
        functions["step"] = (signatures.step(stepper), signatures.step_specs(stepper, None))
    traced = {}
    for name, (function, specs) in functions.items():
        named = _labelled(signatures.renamed(function, [next(iter(specs))]), labels)
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
