"""A causal model as one step with explicit state: what a microphone, a phone or a server calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import keras
import tensorflow as tf
from keras.src.ops.numpy import ExpandDims  # the one operation that the builders use bare

from rnnapp.layers import recurrence

States = dict[str, tf.Tensor]
Part = Literal["whole", "front", "body"]

# Layers that treat every timestep alike and alone.
_TIMELESS = (
    keras.layers.Activation,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.Embedding,
    keras.layers.InputLayer,
    keras.layers.Masking,
    keras.layers.SpatialDropout1D,
)


class NotCausalError(ValueError):
    """The model has a layer that cannot be run a step at a time."""


class StepModel(tf.Module):
    """One step of a causal model: new input and states in, outputs and new states out.

    The graph of the whole-sequence model is walked once more with every layer replaced by its
    step, so that whatever the builders can build streams without code of its own. States start
    as zeros.

    Args:
        model: A functional model.
        part: All of it; its front, the signal processing before the first layer with weights; or
            its body, which takes what the front gives. Quantization tells them apart: rounded to
            eight bits, a front end is deaf.

    Raises:
        NotCausalError: If a layer needs the future, or the whole sequence; or if nobody can tell.
    """

    def __init__(self, model: keras.Model, part: Part = "whole") -> None:
        super().__init__()
        self.model, self.part = model, part
        # tf.Module tracks these; without them a converted file would hold no weights.
        self.weights = [weight.value for weight in model.weights]
        cut = cut_of(model)
        front = _ancestors(cut)
        outside = {"whole": [], "front": set(model.operations) - set(front), "body": front}[part]
        self._outside = {op.name for op in outside}
        self._cut = cut.name
        self.state_shapes: dict[str, tuple[int, ...]] = {}
        for op in model.operations:
            if op.name not in self._outside:
                for key, shape in _state_shapes(op).items():
                    self.state_shapes[f"{op.name}_{key}"] = shape
        self.frames_per_step = math.prod(getattr(op, "stride_time", 1) for op in model.operations)
        if part == "body":
            source, per_frame = cut.output, 1
        else:
            source = model.inputs[0]
            per_frame = math.prod(getattr(op, "frame_step", 1) for op in model.operations)
        self.input_name = model.inputs[0].name if part != "body" else "features"
        self.input_shape = (self.frames_per_step * per_frame, *source.shape[2:])
        self.input_dtype = tf.as_dtype(source.dtype)

    def initial_states(self, batch: int = 1) -> States:
        """Zeros for every state, float32 (batch, ...)."""
        return {name: tf.zeros((batch, *shape)) for name, shape in self.state_shapes.items()}

    def __call__(self, inputs: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """Runs one step.

        Args:
            inputs: New input, (batch, *input_shape).
            states: As `initial_states` or the previous call returned them.

        Returns:
            The part's output (the model's, or of a front its features) and the new states.
        """
        new_states: States = {}

        def operation(op: keras.Operation, *args: Any) -> Any:
            with tf.name_scope(op.name):  # tells whose a converted operator is
                outputs, changed = _run(op, args, states)
            new_states.update({f"{op.name}_{key}": v for key, v in changed.items()})
            return outputs

        return self.walk(inputs, operation), new_states

    def walk(self, inputs: Any, operation: Callable[..., Any]) -> Any:
        """Runs through the part's graph with something else in the place of its operations.

        Args:
            inputs: What the part takes.
            operation: Gets each operation, and what it is called with.

        Returns:
            The part's output.
        """
        features = [inputs]  # of a model without a front end, what it is called with

        def replaced(op: keras.Operation) -> Callable[..., Any]:
            def run(*args: Any, **_: Any) -> Any:
                if op.name in self._outside:
                    # What a body begins with; behind a front, where nobody looks, anything does.
                    return [inputs] * len(keras.tree.flatten(op.output))
                outputs = operation(op, *args)
                if op.name == self._cut:
                    features[0] = outputs
                return outputs

            return run

        # Only the first input streams; the others are lengths, which a stream does not have.
        rest = [tf.zeros((1,), x.dtype) for x in self.model.inputs[1:]]
        outputs = self.model._run_through_graph([inputs, *rest], replaced)
        return features[0] if self.part == "front" else outputs


def cut_of(model: keras.Model) -> keras.layers.Layer:
    """The layer after which the front ends and the body begins; an input where there is no front.

    Args:
        model: A functional model.
    """
    weighted = (op for op in model.operations if getattr(op, "weights", []))
    first = next(weighted, None)
    if first is None:
        return model.inputs[0]._keras_history.operation
    while True:
        before = keras.tree.flatten(first.input)[0]
        first = before._keras_history.operation
        if isinstance(first, keras.layers.Layer):
            return first


def has_front(model: keras.Model) -> bool:
    """Whether anything happens before a causal model's body.

    Args:
        model: A functional model.

    Returns:
        True if there is a front that keeps a state, or takes something else than the body.
    """
    front, body = StepModel(model, "front"), StepModel(model, "body")
    return bool(front.state_shapes) or front.input_shape != body.input_shape


def _ancestors(op: keras.Operation) -> list[keras.Operation]:
    """An operation, and all that it is computed from."""
    found: dict[int, keras.Operation] = {}
    waiting = [op]
    while waiting:
        op = waiting.pop()
        if id(op) not in found:
            found[id(op)] = op
            if not isinstance(op, keras.layers.InputLayer):
                waiting += [x._keras_history.operation for x in keras.tree.flatten(op.input)]
    return list(found.values())


def streams(model: keras.Model) -> bool:
    """Whether a model can be run a step at a time.

    Args:
        model: A functional model.

    Returns:
        True if it can.
    """
    try:
        StepModel(model)
    except NotCausalError:
        return False
    return True


def _state_shapes(op: keras.Operation) -> dict[str, tuple[int, ...]]:
    """The states of an operation's step, or the reason why it has none."""
    if isinstance(op, keras.layers.Bidirectional):
        raise NotCausalError(
            f"`{op.name}` reads the sequence backwards as well, so it cannot answer before the "
            "end. Train with bidirectional=false to stream; whole-sequence exports still work."
        )
    if isinstance(op, keras.layers.RNN):
        if op.go_backwards:
            raise NotCausalError(f"`{op.name}` has go_backwards=True: it starts from the end.")
        sizes = keras.tree.flatten(op.cell.state_size)
        return {f"state_{number}": (size,) for number, size in enumerate(sizes)}
    if hasattr(op, "state_shapes"):
        source = op.input[0] if isinstance(op.input, list | tuple) else op.input
        try:
            return op.state_shapes(tuple(source.shape))
        except ValueError as error:
            raise NotCausalError(str(error)) from error
    if makes_mask(op) or _is_timeless(op):
        return {}
    raise NotCausalError(
        f"`{op.name}` ({type(op).__name__}) has no streaming step. Layers that have one: "
        "recurrent, causal convolution, pooling over a window, and those that act on each "
        "timestep alone. Give a layer of your own the methods `state_shapes` and `step`."
    )


def makes_mask(op: keras.Operation) -> bool:
    """Whether an operation makes nothing but a mask."""
    made = keras.tree.flatten(op.output)
    return not isinstance(op, keras.layers.Layer) and all(x.dtype == "bool" for x in made)


def _is_timeless(op: keras.Operation) -> bool:
    """Whether an operation treats every timestep alike and alone."""
    if isinstance(op, ExpandDims):
        return op.axis == -1
    if isinstance(op, keras.layers.Reshape):  # as many features leave as many timesteps
        features = math.prod(op.target_shape[1:])
        return op.target_shape[0] == -1 and features == math.prod(op.input.shape[2:])
    if getattr(op, "rms_scaling", False):  # which is another equation
        return False
    if isinstance(op, keras.layers.BatchNormalization | keras.layers.LayerNormalization):
        return keras.tree.flatten(op.axis) in ([-1], [len(op.input.shape) - 1])
    return isinstance(op, _TIMELESS)


def _run(op: keras.Operation, args: tuple, states: States) -> tuple[Any, States]:
    """One operation on a step's tensors; masks are dropped, for a stream has no padding."""
    if makes_mask(op):
        return None, {}
    if isinstance(op, keras.layers.Masking):
        return args[0], {}
    own = {key: states[f"{op.name}_{key}"] for key in _state_shapes(op)}
    if isinstance(op, keras.layers.RNN):
        return recurrence.step(op, args[0], own)
    if hasattr(op, "step"):
        return op.step(args[0], own)
    if isinstance(op, keras.layers.LayerNormalization):
        return _normalized(op, args[0]), {}
    if isinstance(op, keras.layers.Embedding):
        # Keras' own first turns negative indices round, by an operator that few runtimes have.
        return tf.gather(op.embeddings.value, args[0]), {}
    return infer(op, args[0]), {}


def infer(op: keras.Operation, *args: Any) -> Any:
    """What an operation gives outside training."""
    trains = getattr(op, "_call_has_training_arg", False)
    return op(*args, training=False) if trains else op(*args)


def _normalized(layer: keras.layers.LayerNormalization, x: tf.Tensor) -> tf.Tensor:
    """Layer normalisation over the last axis, without Keras' squared difference.

    No runtime has a kernel for that in integers of sixteen bits.
    """
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
    x = centred * tf.math.rsqrt(variance + layer.epsilon)
    x = x if layer.gamma is None else x * layer.gamma
    return x if layer.beta is None else x + layer.beta
