"""From TensorFlow functions to a TFLite flatbuffer: the one place where the converter is called."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from rnnapp.exporting import signatures

Concrete = Any  # TensorFlow does not export the type of what `traced` returns


def traced(function: Callable[..., Any], specs: Mapping[str, tf.TensorSpec]) -> Concrete:
    """A signature, with inputs of fixed shapes: no runtime holds loops over others.

    Args:
        function: Its first argument is a sequence, the others are states by name.
        specs: Of the inputs by name, the sequence first.

    Returns:
        A concrete function, for `lowered`.
    """
    named = signatures.renamed(function, [next(iter(specs))])
    return tf.function(named, autograph=False).get_concrete_function(**specs)


def lowered(
    functions: Mapping[str, Concrete],
    weights: Sequence[Any],
    prepare: Callable[[Any], None] | None = None,
) -> bytes:
    """Converts signatures to one file of builtin operators.

    Args:
        functions: What `traced` gave, by the signature's name.
        weights: Variables that they use. A file would hold none that nobody names.
        prepare: Sets the converter up otherwise.

    Returns:
        A TFLite flatbuffer.
    """
    holder = tf.Module()
    holder.weights = list(weights)
    with tempfile.TemporaryDirectory() as saved, warnings.catch_warnings():
        # What TensorFlow calibrates with, it calls deprecated.
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
        tf.saved_model.save(holder, saved, signatures=dict(functions))
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=list(functions))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if prepare:
            prepare(converter)
        return bytes(converter.convert())
