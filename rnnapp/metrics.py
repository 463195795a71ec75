"""Figures of merit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def classification(
    targets: np.ndarray, logits: np.ndarray, labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, macro F1, recall of each label, and the confusion matrix.

    Args:
        targets: True labels, integers (examples,).
        logits: Floats (examples, classes).
        labels: The names of the classes.

    Returns:
        `examples`, `accuracy`, `macro_f1`, `recall` by label and `confusion` (true, predicted).
    """
    from sklearn.metrics import confusion_matrix, f1_score

    predicted, classes = logits.argmax(axis=-1), np.arange(len(labels))
    matrix = confusion_matrix(targets, predicted, labels=classes)
    present = matrix.sum(axis=1) > 0
    recall = np.diag(matrix)[present] / matrix.sum(axis=1)[present]
    names = [label for label, there in zip(labels, present, strict=True) if there]
    f1 = f1_score(targets, predicted, labels=classes[present], average="macro", zero_division=0)
    return {
        "examples": int(matrix.sum()),
        "accuracy": float(np.mean(predicted == targets)),
        "macro_f1": float(f1),
        "recall": {name: float(value) for name, value in zip(names, recall, strict=True)},
        "confusion": matrix.tolist(),
    }


def calibration(targets: np.ndarray, logits: np.ndarray, bins: int = 10) -> dict[str, Any]:
    """Whether answers are right as often as their probabilities say.

    The expected calibration error of Guo et al. 2017, arXiv:1706.04599.

    Args:
        targets: True labels, integers (examples,).
        logits: Floats (examples, classes).
        bins: Ranges of equal width that the probabilities of answers are sorted into.

    Returns:
        `calibration_error`, the mean distance of the two; and `reliability`, for each bin with
        answers `examples`, their mean `confidence` and `accuracy`.
    """
    probabilities = softmax(logits)
    confidence, right = probabilities.max(axis=-1), probabilities.argmax(axis=-1) == targets
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = [
        {
            "examples": int((place == number).sum()),
            "confidence": float(confidence[place == number].mean()),
            "accuracy": float(right[place == number].mean()),
        }
        for number in np.unique(place)
    ]
    error = sum(row["examples"] * abs(row["confidence"] - row["accuracy"]) for row in rows)
    return {"calibration_error": float(error / len(targets)), "reliability": rows}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits (..., classes)."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
