"""What a client is answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnapp.serving.signatures import Arrays

LABEL, PROBABILITIES = "label", "probabilities"


@dataclass(frozen=True)
class Prediction:
    """What a model said to a batch.

    Args:
        outputs: Arrays by name, a row for each of the inputs; strings as bytes objects.
        signature: Which of its functions.
        version: The model's version; None where REST does not say which.
    """

    outputs: Arrays
    signature: str
    version: int | None

    @property
    def labels(self) -> list[str]:
        """The most probable label of each row."""
        return [label.decode() for label in self._output(LABEL)]

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities, (batch, classes)."""
        return self._output(PROBABILITIES)

    def _output(self, name: str) -> np.ndarray:
        if name not in self.outputs:
            raise KeyError(f"The answer has no {name!r}. Its outputs: {sorted(self.outputs)}")
        return self.outputs[name]


@dataclass(frozen=True)
class VersionStatus:
    """Where a version of a model stands.

    Args:
        version: Its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: Why it could not be loaded; "" if nothing went wrong.
    """

    version: int
    state: str
    error: str = ""
