"""Run a recurrent model one step at a time, carrying its states from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from rnnapp.device.interpreter import TensorInfo

NEXT = "next_"


class Runnable(Protocol):
    """A model in a runtime, run by signature and by name; `rnnapp.device.Model` is one."""

    name: str
    signatures: list[str]

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describe the inputs of a signature, by name."""

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describe the outputs of a signature, by name."""

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a signature once on stored values, by name."""


class Stepper:
    """Callable that feeds data to a step signature and keeps the states between calls.

    A state is an input `NAME` with an output `next_NAME`; every other input is data. States start
    as zeros, and are requantized on the way where the two scales differ.

    Args:
        model: a loaded model.
        signature: the signature that makes one step.

    Attributes:
        inputs: description of the data inputs, by name.
        outputs: description of the outputs that are no states, by name.

    Raises:
        ValueError: the model has no such signature, or a state's two ends differ in shape or dtype.
    """

    def __init__(self, model: Runnable, signature: str = "step") -> None:
        self._model, self._signature = model, signature
        inputs, outputs = model.inputs(signature), model.outputs(signature)
        self._state_infos = {
            name: (info, outputs.pop(NEXT + name))
            for name, info in inputs.items()
            if NEXT + name in outputs
        }
        self.inputs = {name: inputs[name] for name in inputs if name not in self._state_infos}
        self.outputs = outputs
        for info, following in self._state_infos.values():
            if (info.shape, info.dtype) != (following.shape, following.dtype):
                raise ValueError(
                    f"{model.name}: the state `{info.name}` and `{following.name}` must agree in "
                    f"shape and dtype. Received: {info} and {following}"
                )
        self.reset()

    def reset(self) -> None:
        """Set every state to zeros."""
        self._states = {
            name: np.full(info.shape, info.zero_point, info.dtype)
            for name, (info, _) in self._state_infos.items()
        }

    @property
    def states(self) -> dict[str, np.ndarray]:
        """Copy of the states as stored, by name; assign such a copy to go on from it."""
        return {name: value.copy() for name, value in self._states.items()}

    @states.setter
    def states(self, states: Mapping[str, np.ndarray]) -> None:
        _check_names("states", states, self._state_infos)
        for name, (info, _) in self._state_infos.items():
            value = states[name]
            if value.shape != info.shape or value.dtype != info.dtype:
                raise ValueError(
                    f"The state `{name}` must be {info.dtype} of shape {info.shape}. "
                    f"Received: {value.dtype} of shape {value.shape}"
                )
        self._states = {name: states[name].copy() for name in self._state_infos}

    def __call__(self, **data: np.ndarray) -> dict[str, np.ndarray]:
        """Make one step.

        Args:
            **data: real values of every data input, by name.

        Returns:
            Real values of every output that is no state, by name.

        Raises:
            ValueError: the names or shapes are not the signature's.
            TypeError: a value does not fit the input's dtype.
        """
        _check_names("inputs", data, self.inputs)
        stored = {name: info.quantize(data[name]) for name, info in self.inputs.items()}
        results = self._model.run(self._signature, **stored, **self._states)
        self._states = {
            name: _requantize(results[following.name], following, info)
            for name, (info, following) in self._state_infos.items()
        }
        return {name: info.dequantize(results[name]) for name, info in self.outputs.items()}


def _requantize(stored: np.ndarray, source: TensorInfo, target: TensorInfo) -> np.ndarray:
    """Move stored values from one scale to another."""
    if (source.scale, source.zero_point) == (target.scale, target.zero_point):
        return stored
    return target.quantize(source.dequantize(stored))


def _check_names(kind: str, received: Mapping[str, object], known: Mapping[str, object]) -> None:
    if received.keys() != known.keys():
        raise ValueError(f"The {kind} must be: {sorted(known)}. Received: {sorted(received)}")
