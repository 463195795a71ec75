"""The functions that an export offers, traced from a Keras model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from rnnapp.device.sequences import LENGTHS
from rnnapp.exporting import translators
from rnnapp.exporting.cases import TEXT
from rnnapp.layers.streaming import StepModel

Outputs = dict[str, tf.Tensor]
Signatures = dict[str, tuple[Callable[..., Outputs], dict[str, tf.TensorSpec]]]
"""Functions by name, with the specifications of their inputs."""
FEATURES = "features"  # what a model's front hands to its body


def serving(
    model: keras.Model, stepper: StepModel | None, read: Callable[[tf.Tensor], Any] | None
) -> Signatures:
    """What a server offers, of any number of sequences of any length.

    Args:
        model: The model.
        stepper: Its step, or None if it has none.
        read: What makes token ids and lengths of texts; None of a model of others.
    """
    if translators.translates(model):
        return translators.signatures(model, None, None, read)
    found: Signatures = {
        "serving_default": (whole(model), whole_specs(model, None, None)),
        "padded": (padded(model), padded_specs(model, None, None)),
    }
    if read is not None:
        text = tf.TensorSpec((None,), tf.string, TEXT)
        found["serving_default"] = (texts(model, read), {TEXT: text})
    if stepper is not None:
        found["step"] = (step(stepper), step_specs(stepper, None))
    return found


def device(model: keras.Model, stepper: StepModel | None, time: int, rows: int) -> Signatures:
    """What a device offers, of fixed shapes.

    Args:
        model: The model.
        stepper: Its step, or None if it has none.
        time: Length of a sequence, in samples or timesteps.
        rows: Hypotheses in an encoder-decoder's step.
    """
    if translators.translates(model):
        return translators.signatures(model, time, rows)
    found: Signatures = {"predict": (whole(model), whole_specs(model, 1, time))}
    if stepper is not None:
        found["step"] = (step(stepper), step_specs(stepper, 1))
    return found


def answers(logits: tf.Tensor) -> Outputs:
    """The answers that go with logits, float32 (batch, classes): themselves and probabilities."""
    return {"logits": logits, "probabilities": tf.nn.softmax(logits)}


def hears(model: keras.Model) -> bool:
    """Whether a model is one of sound, in which what follows a short sequence is silence.

    What follows rows or tokens is nothing: their signatures are told lengths.

    Args:
        model: A model of sequences and lengths.
    """
    return model.inputs[0].name == "waveform"


def whole(model: keras.Model) -> Callable[..., Outputs]:
    """The signature for whole sequences: of sounds as long as they are, of others padded.

    Args:
        model: A model of sequences and lengths.

    Returns:
        A function of sequences (batch, time, ...), and, of those that are no sounds, `lengths`
        (batch,), which gives `answers`.
    """
    if not hears(model):
        return padded(model)

    def predict(sequence: tf.Tensor) -> Outputs:
        batch, time = tf.shape(sequence)[0], tf.shape(sequence)[1]
        return answers(model([sequence, tf.fill([batch], time)], training=False))

    return predict


def padded(model: keras.Model) -> Callable[..., Outputs]:
    """The signature for padded sequences.

    TensorFlow Serving pads a batch with each tensor's first element, not with zeros; nothing past
    `lengths` is looked at, so that its padding does no harm.

    Args:
        model: A model of sequences and lengths.

    Returns:
        A function of sequences (batch, time, ...) and lengths (batch,), which gives `answers`.
    """

    def predict(sequence: tf.Tensor, lengths: tf.Tensor) -> Outputs:
        return answers(model([sequence, lengths], training=False))

    return predict


def step(stepper: StepModel) -> Callable[..., Outputs]:
    """The signature for a stream.

    Args:
        stepper: The model's step.

    Returns:
        A function of new input (batch, ...) and of states by name, which gives `answers` and each
        state `NAME` as `next_NAME`.
    """

    def predict(sequence: tf.Tensor, **states: tf.Tensor) -> Outputs:
        logits, changed = stepper(sequence, states)
        return {**answers(logits), **{f"next_{name}": value for name, value in changed.items()}}

    return predict


def front_step(stepper: StepModel) -> Callable[..., Outputs]:
    """The signature for the front of a stream.

    Args:
        stepper: The step of a model's front.

    Returns:
        A function of new input (batch, ...) and of states by name, which gives `features` and
        each state `NAME` as `next_NAME`.
    """

    def predict(sequence: tf.Tensor, **states: tf.Tensor) -> Outputs:
        features, changed = stepper(sequence, states)
        return {FEATURES: features, **{f"next_{name}": value for name, value in changed.items()}}

    return predict


def padded_specs(
    model: keras.Model, batch: int | None, time: int | None
) -> dict[str, tf.TensorSpec]:
    """The specifications of what `padded` takes, by name: the sequence first, then `lengths`.

    Args:
        model: The model.
        batch: Sequences in a call; None for any number.
        time: Their length in samples or timesteps; None for any.
    """
    source = model.inputs[0]
    return {
        source.name: tf.TensorSpec((batch, time, *source.shape[2:]), source.dtype, source.name),
        LENGTHS: tf.TensorSpec((batch,), tf.int32, LENGTHS),
    }


def whole_specs(
    model: keras.Model, batch: int | None, time: int | None
) -> dict[str, tf.TensorSpec]:
    """The specifications of what `whole` takes; arguments as `padded_specs`."""
    specs = padded_specs(model, batch, time)
    return {name: spec for name, spec in specs.items() if name != LENGTHS or not hears(model)}


def texts(model: keras.Model, read: Callable[[tf.Tensor], Any]) -> Callable[..., Outputs]:
    """The signature for raw texts.

    Args:
        model: A model of token ids and lengths.
        read: From texts, string (batch,), to token ids and lengths, as `TokenizerGraph`.

    Returns:
        A function of texts, which gives `answers`.
    """

    def predict(text: tf.Tensor) -> Outputs:
        return answers(model(list(read(text)), training=False))

    return predict


def step_specs(stepper: StepModel, batch: int | None) -> dict[str, tf.TensorSpec]:
    """The specifications of a step's inputs by name: the sequence first, then each state.

    Args:
        stepper: The model's step.
        batch: Streams in a call; None for any number.
    """
    specs = {
        "samples" if stepper.input_name == "waveform" else stepper.input_name: tf.TensorSpec(
            (batch, *stepper.input_shape), stepper.input_dtype
        )
    }
    for name, shape in stepper.state_shapes.items():
        specs[name] = tf.TensorSpec((batch, *shape), tf.float32)
    return {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}


def renamed(function: Callable[..., Outputs], names: list[str]) -> Callable[..., Outputs]:
    """Names a function's first arguments, which become the names of a signature's inputs.

    Args:
        function: Any of the above.
        names: Of its first arguments.

    Returns:
        The function, with those as keyword arguments.
    """

    def named(**inputs: Any) -> Outputs:
        first = [inputs.pop(name) for name in names]
        return function(*first, **inputs)

    return named
