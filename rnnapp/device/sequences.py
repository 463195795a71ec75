"""Classify sequences of tokens or of measurements: a probability for each class out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from rnnapp.device import description
from rnnapp.device.description import PROBABILITIES, require
from rnnapp.device.interpreter import Model, load
from rnnapp.device.stepper import Stepper

LENGTHS = "lengths"


class SequenceClassifier:
    """Answers a sequence at a time by the signature `predict`, or step by step what is too long.

    Args:
        model: a .tflite file with the signature `predict`, or its bytes, or a loaded model.
        labels: name of each class; from `labels.txt` in the file or beside it by default.
        num_threads: threads of the interpreter, unless the model is loaded already.

    Attributes:
        labels: name of each class, in the order of the probabilities.
        time: timesteps of the longest sequence that `predict` takes.

    Raises:
        OSError: the file is absent or cannot be read.
        ValueError: it classifies no sequences with lengths, or its labels are unknown or do not
            match.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Model,
        *,
        labels: Sequence[str] | None = None,
        num_threads: int = 1,
    ) -> None:
        self.model = model if isinstance(model, Model) else load(model, num_threads)
        inputs, outputs = self.model.inputs("predict"), self.model.outputs("predict")
        others = [info for name, info in inputs.items() if name != LENGTHS]
        found = sorted(inputs)
        expected = f"a sequence and `{LENGTHS}` as the inputs of `predict`"
        require(self.model, len(others) == 1 and LENGTHS in inputs, expected, found)
        answers = f"the output `{PROBABILITIES}` in `predict`"
        require(self.model, PROBABILITIES in outputs, answers, sorted(outputs))
        self._sequence, self._answer = others[0], outputs[PROBABILITIES]
        self.time = self._sequence.shape[1]
        self.labels = description.labels(self.model, labels, self._answer.shape[-1])

    def predict(self, sequence: np.ndarray) -> np.ndarray:
        """Classify a sequence.

        Args:
            sequence: (timesteps,) token ids, integers; or (timesteps, features), floats. One that
                is longer than `time` is read step by step if the model can be; else its beginning
                is, and a warning says so.

        Returns:
            float32 (classes,), in the order of `labels`.

        Raises:
            ValueError: the sequence is empty, or has another shape.
        """
        sequence = np.asarray(sequence)
        if not len(sequence) or sequence.shape[1:] != self._sequence.shape[2:]:
            wanted = ", ".join(["timesteps", *map(str, self._sequence.shape[2:])])
            raise ValueError(
                f"A sequence must have the shape ({wanted}) with one timestep at least. "
                f"Received: {sequence.shape}"
            )
        if len(sequence) <= self.time:
            return self._whole(sequence)
        if "step" in self.model.signatures:
            return self._stepwise(sequence)
        warnings.warn(
            f"Only the first {self.time} of {len(sequence)} timesteps were read: {self.model.name} "
            "takes no more, and has no steps, for it reads backwards as well.",
            stacklevel=2,
        )
        return self._whole(sequence[: self.time])

    def _whole(self, sequence: np.ndarray) -> np.ndarray:
        rest = [(0, self.time - len(sequence)), *[(0, 0)] * (sequence.ndim - 1)]
        padded = self._sequence.quantize(np.pad(sequence, rest)[None])
        lengths = np.array([len(sequence)], np.int32)
        stored = self.model.run("predict", **{self._sequence.name: padded, LENGTHS: lengths})
        return self._answer.dequantize(stored[PROBABILITIES])[0]

    def _stepwise(self, sequence: np.ndarray) -> np.ndarray:
        stepper = Stepper(self.model)
        ((name, info),) = stepper.inputs.items()
        size = info.shape[1]
        answers = [
            stepper(**{name: sequence[None, start : start + size]})
            for start in range(0, len(sequence) - size + 1, size)
        ]
        return answers[-1][PROBABILITIES][0]
