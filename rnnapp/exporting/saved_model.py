"""SavedModels with named signatures, for TensorFlow Serving and everything that loads one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from rnnapp.exporting import signatures, translators
from rnnapp.exporting.portable import portable
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
    `label`, `probabilities` and `logits`. Those of an encoder-decoder are `serving_default` (texts)
    and `encode`, from either of which `step` goes on. Every output has a batch dimension, as
    TensorFlow Serving's row format asks.

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
    translates = translators.translates(model)
    traced = {}
    for name, (function, specs) in signatures.serving(model, stepper, read).items():
        named = signatures.renamed(function, [next(iter(specs))])
        named = named if translates else _labelled(named, labels)
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
