"""The signature `step`: pieces of any length as steps, and the states between them."""

from __future__ import annotations

import numpy as np

from rnnapp.device.stepper import NEXT
from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.signatures import Arrays, Signature
from rnnapp.serving.tensors import dtype_of

STEP = "step"


class StepForm:
    """What a step takes: data under one name, and states, each an output `next_NAME` of the last.

    Args:
        signature: The signature `step`.

    Attributes:
        name: What the data are called.
        spec: Their type and shape.
        dtype: Their type, as NumPy has it.
        shape: Their shape in one step, of one stream: (timesteps, ...).

    Raises:
        ServingError: If the signature is none of a step.
    """

    def __init__(self, signature: Signature) -> None:
        states = [name for name in signature.inputs if NEXT + name in signature.outputs]
        others = [name for name in signature.inputs if name not in states]
        shapes = [(spec.shape or ())[1:] for spec in signature.inputs.values()]
        if len(others) != 1 or any(-1 in shape for shape in shapes) or () in shapes:
            raise ServingError(Code.FAILED_PRECONDITION, "The model's step keeps no state.")
        (self.name,) = others
        self._signature, self._states = signature, states
        following = {NEXT + name for name in states}
        self._answers = [name for name in signature.outputs if name not in following]
        self.spec = signature.inputs[self.name]
        self.dtype, self.shape = dtype_of(self.spec.dtype), (self.spec.shape or ())[1:]

    def zeros(self) -> Arrays:
        """The states that a stream begins with."""
        specs = {name: self._signature.inputs[name] for name in self._states}
        return {
            name: np.zeros((1, *(spec.shape or ())[1:]), dtype_of(spec.dtype))
            for name, spec in specs.items()
        }

    def nothing(self) -> np.ndarray:
        """Data of no timesteps, (0, ...)."""
        return np.zeros((0, *self.shape[1:]), self.dtype)

    def cut(self, heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Data, (timesteps, ...), as steps, (steps, 1, timesteps of a step, ...), and the rest."""
        count = len(heard) // self.shape[0]
        end = count * self.shape[0]
        return heard[:end].reshape(count, 1, *self.shape), heard[end:]

    def parted(self, outputs: Arrays) -> tuple[Arrays, Arrays]:
        """What a step gave, as its answers and as the states of the next."""
        answers = {name: outputs[name] for name in self._answers}
        return answers, {name: outputs[NEXT + name] for name in self._states}

    def stacked(self, answers: list[Arrays]) -> Arrays:
        """The answers of several steps, a row each; of none, no rows."""
        if answers:
            return {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}
        specs = {name: self._signature.outputs[name] for name in self._answers}
        return {
            name: np.zeros((0, *np.maximum((spec.shape or ())[1:], 0)), dtype_of(spec.dtype))
            for name, spec in specs.items()
        }
