"""How a listener is judged."""

from __future__ import annotations

from dataclasses import dataclass

from rnnapp import overrides
from rnnapp.specs.checks import not_negative, positive


@dataclass(frozen=True)
class ListeningSpec:
    """How a command model is judged as a listener: over a long recording, not clip by clip.

    Args:
        minutes: Length of the recording of each split, made of its commands, words and noise.
        false_accepts_per_hour: What the threshold, chosen on validation data, lets through.
        smoothing_ms: Moving average over the probabilities, in milliseconds.
        refractory_ms: Least time between two detections, in milliseconds.
        tolerance_ms: How long after a clip's end its detection still counts, in milliseconds.
        seed: Of the recording.
    """

    minutes: float = 30.0
    false_accepts_per_hour: float = 30.0
    smoothing_ms: float = 200.0
    refractory_ms: float = 750.0
    tolerance_ms: float = 500.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the fields."""
        overrides.settle_types(self)
        positive(self, "minutes")
        not_negative(self, "false_accepts_per_hour", "smoothing_ms", "refractory_ms")
        not_negative(self, "tolerance_ms", "seed")
