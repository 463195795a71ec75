"""What a model's numbers mean to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def classification(probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """The answer of a classifier to one sequence.

    Args:
        probabilities: Floats (classes,).
        labels: The names of the classes.

    Returns:
        `label`, and `probabilities` by label, the most probable first.
    """
    order = np.argsort(-probabilities)
    return {
        "label": labels[order[0]],
        "probabilities": {labels[i]: float(probabilities[i]) for i in order},
    }
