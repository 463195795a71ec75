"""Validation sequences that go along with a run, to prove its exports with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Replay:
    """Validation sequences kept with a run.

    Args:
        sequences: Float32 (examples, time, ...), padded with zeros on the right.
        lengths: True lengths, int32 (examples,).
        targets: Labels, int32 (examples,).
    """

    sequences: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray

    @classmethod
    def load(cls, path: Path) -> Replay:
        """Reads what `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["sequences"].astype(np.float32), arrays["lengths"], arrays["targets"])

    def save(self, path: Path) -> None:
        """Writes the sequences as float16, in which a 16-bit recording keeps 11 bits."""
        sequences = self.sequences.astype(np.float16)
        np.savez_compressed(path, sequences=sequences, lengths=self.lengths, targets=self.targets)

    @property
    def time(self) -> int:
        """Length of the window that the sequences are padded to."""
        return self.sequences.shape[1]
