"""A causal model over windows that continue each other: what truncated back-propagation reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from rnnapp.layers.masking import PadMarker
from rnnapp.layers.scan import scan
from rnnapp.layers.streaming import States, StepModel, makes_mask


class CarryingModel(StepModel):
    """As `StepModel`, by windows of any number of timesteps, and in training as well.

    Windows are padded on the right, if at all, and nothing follows their padding.

    Args:
        model: A functional model whose recurrent layers return sequences, and alone keep states.

    Raises:
        NotCausalError: If a layer needs the future, or the whole sequence.
        ValueError: If another layer keeps a state.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model)
        self._states_of = {
            op.name: [name for name in self.state_shapes if name.startswith(f"{op.name}_state_")]
            for op in model.operations
            if isinstance(op, keras.layers.RNN)
        }
        others = self.state_shapes.keys() - {n for own in self._states_of.values() for n in own}
        if others:
            raise ValueError(
                f"Only recurrent layers may keep states of a model that is read by windows. "
                f"Received: {', '.join(sorted(others))}"
            )

    def __call__(
        self,
        inputs: tf.Tensor,
        states: States,
        training: bool = False,
        recurrent_kernels: Mapping[str, tf.Tensor] | None = None,
    ) -> tuple[Any, States]:
        """Runs one window.

        Args:
            inputs: The window, (batch, timesteps, ...), of a static number of timesteps.
            states: As `initial_states` or the previous call returned them.
            training: Whether dropout drops.
            recurrent_kernels: What takes the place of layers' own, by the layers' names.

        Returns:
            The model's output for each timestep, and the new states.
        """
        kernels = recurrent_kernels or {}
        new_states: States = {}

        def operation(op: keras.Operation, *args: Any) -> Any:
            if makes_mask(op):
                return None
            if isinstance(op, keras.layers.Masking | PadMarker):
                return args[0]
            if isinstance(op, keras.layers.RNN):
                names = self._states_of[op.name]
                own = [states[name] for name in names]
                outputs, changed = scan(op, args[0], own, kernels.get(op.name))
                new_states.update(zip(names, changed, strict=True))
                return outputs
            trains = getattr(op, "_call_has_training_arg", False)
            return op(*args, training=training) if trains else op(*args)

        return self.walk(inputs, operation), new_states
