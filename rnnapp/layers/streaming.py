"""A causal model as one step with explicit state: what a microphone, a phone or a server calls."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

States = dict[str, tf.Tensor]

# Layers that treat every timestep alike and alone.
_TIMELESS = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.LayerNormalization,
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
        steps: Of the model's smallest step, how many a call takes.

    Raises:
        NotCausalError: If a layer needs the future, or the whole sequence.
    """

    def __init__(self, model: keras.Model, steps: int = 1) -> None:
        super().__init__(name=f"{model.name}_step")
        self.model = model
        # tf.Module tracks these; without them a converted file would hold no weights.
        self.weights = [weight.value for weight in model.weights]
        self.state_shapes: dict[str, tuple[int, ...]] = {}
        for layer in _layers(model):
            for key, shape in _state_shapes(layer).items():
                self.state_shapes[f"{layer.name}_{key}"] = shape
        self.frames_per_step = steps * _product(
            layer.stride_time for layer in _layers(model) if hasattr(layer, "stride_time")
        )
        source = model.inputs[0]
        self.input_name = source.name
        per_frame = _product(
            layer.frame_step for layer in _layers(model) if hasattr(layer, "frame_step")
        )
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
            The model's output and the new states.
        """
        new_states: States = {}

        def operation(op: keras.Operation) -> Any:
            def run(*args: Any, **kwargs: Any) -> Any:
                outputs, changed = _run(op, args, kwargs, states)
                new_states.update({f"{op.name}_{key}": v for key, v in changed.items()})
                return outputs

            return run

        # Only the first input streams; the others are lengths, which a stream does not have.
        rest = [tf.zeros(tf.shape(inputs)[:1], x.dtype) for x in self.model.inputs[1:]]
        outputs = self.model._run_through_graph([inputs, *rest], operation)
        return outputs, new_states


def streams(model: keras.Model) -> bool:
    """Whether a model can be run a step at a time."""
    try:
        StepModel(model)
    except NotCausalError:
        return False
    return True


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    return [op for op in model.operations if isinstance(op, keras.layers.Layer)]


def _product(factors: Any) -> int:
    result = 1
    for factor in factors:
        result *= factor
    return result


def _state_shapes(layer: keras.layers.Layer) -> dict[str, tuple[int, ...]]:
    """The states of a layer's step, or the reason why it has none."""
    if isinstance(layer, keras.layers.Bidirectional):
        raise NotCausalError(
            f"`{layer.name}` reads the sequence backwards as well, so it cannot answer before the "
            "end. Train with bidirectional=false to stream; whole-sequence exports still work."
        )
    if isinstance(layer, keras.layers.RNN):
        if layer.go_backwards:
            raise NotCausalError(f"`{layer.name}` has go_backwards=True: it starts from the end.")
        sizes = layer.cell.state_size
        sizes = sizes if isinstance(sizes, list | tuple) else [sizes]
        return {key: (size,) for key, size in zip("hc", sizes, strict=False)}
    if hasattr(layer, "state_shapes"):
        source = layer.input[0] if isinstance(layer.input, list | tuple) else layer.input
        try:
            return layer.state_shapes(tuple(source.shape))
        except ValueError as error:
            raise NotCausalError(str(error)) from error
    if isinstance(layer, (*_TIMELESS, keras.layers.InputLayer)) or _is_timeless_reshape(layer):
        return {}
    if type(layer).__name__ == "SpecAugment":
        return {}
    raise NotCausalError(
        f"`{layer.name}` ({type(layer).__name__}) has no streaming step. Layers that have one: "
        "recurrent, causal convolution, pooling over a window, and those that act on each "
        "timestep alone."
    )


def _is_timeless_reshape(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Reshape) and layer.target_shape[0] == -1


def _run(op: keras.Operation, args: tuple, kwargs: dict, states: States) -> tuple[Any, States]:
    """One operation on a step's tensors; masks are dropped, for a stream has no padding."""
    if not isinstance(op, keras.layers.Layer):
        return op(*args, **kwargs), {}
    own = {key: states[f"{op.name}_{key}"] for key in _state_shapes(op)}
    if isinstance(op, keras.layers.RNN):
        return _step_rnn(op, args[0], own)
    if hasattr(op, "step"):
        return op.step(args[0], own)
    return op(args[0], training=False) if op._call_has_training_arg else op(args[0]), {}


def _step_rnn(
    layer: keras.layers.RNN, inputs: tf.Tensor, states: States
) -> tuple[tf.Tensor, States]:
    """A recurrent layer over the timesteps of a call, unrolled, (batch, timesteps, features)."""
    carried, outputs = list(states.values()), []
    for t in range(inputs.shape[1]):
        output, carried = layer.cell(inputs[:, t], carried, training=False)
        outputs.append(output)
    stacked = tf.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
    return stacked, dict(zip(states, carried, strict=True))
