"""A file of fixed shapes, run on any number of rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnapp.device.stepper import Runnable


class FixedShapes:
    """Runs the signatures of a translator that was exported with fixed shapes.

    Sources are padded on the right to the file's length, and rows go through the file as many at a
    time as it takes.

    Args:
        model: a loaded file with the signatures `encode` and `step`.

    Attributes:
        max_source_length: the longest source that it takes, in tokens.
    """

    def __init__(self, model: Runnable) -> None:
        self._model = model
        self._rows = {
            name: next(iter(model.inputs(name).values())).shape[0] for name in ("encode", "step")
        }
        self.max_source_length = model.inputs("encode")["source_ids"].shape[1]

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a signature on any number of rows.

        Args:
            signature: "encode" or "step".
            **inputs: what it takes, by name.

        Returns:
            What it gives, by name.

        Raises:
            ValueError: a source is too long.
        """
        if signature == "encode":
            inputs["source_ids"] = self._padded(inputs["source_ids"])
        size, count = self._rows[signature], len(next(iter(inputs.values())))
        parts = [self._some(signature, inputs, slice(i, i + size)) for i in range(0, count, size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _padded(self, source_ids: np.ndarray) -> np.ndarray:
        """(batch, timesteps) -> (batch, max_source_length)."""
        missing = self.max_source_length - source_ids.shape[1]
        if missing < 0:
            raise ValueError(
                f"{self._model.name} takes sources of at most {self.max_source_length} tokens. "
                f"Received: {source_ids.shape[1]}. Export with a longer source."
            )
        return np.pad(source_ids, [(0, 0), (0, missing)])

    def _some(
        self, signature: str, inputs: Mapping[str, np.ndarray], rows: slice
    ) -> dict[str, np.ndarray]:
        """One run; rows that are missing repeat the last one."""
        size = self._rows[signature]
        chosen = {name: value[rows] for name, value in inputs.items()}
        count = len(next(iter(chosen.values())))
        filled = {
            name: np.concatenate([value, np.repeat(value[-1:], size - count, axis=0)])
            for name, value in chosen.items()
        }
        infos = self._model.inputs(signature)
        typed = {name: value.astype(infos[name].dtype) for name, value in filled.items()}
        outputs = self._model.run(signature, **typed)
        return {name: value[:count] for name, value in outputs.items()}
