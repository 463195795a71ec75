"""Cases: what an artefact is asked, and what its Keras model answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np

TEXT = "text"  # the input of signatures that read raw texts
POINTS = 24  # places of a stream, and lengths of a padded batch, that are compared

Measure = Literal["accuracy", "perplexity"]


@dataclass(frozen=True)
class Case:
    """Inputs of one call or one stream, and the probabilities that Keras answers with.

    Args:
        name: What the case protects.
        sequences: (batch, time, ...); or texts, objects (batch,).
        lengths: (batch,); what lies past them is not zero. Of texts, those of their tokens.
        expected: Probabilities, (answers, classes).
        targets: What is right, (answers,), -1 where nothing is; None where nowhere anything is.
        measure: Of the answers' quality, where it is known what is right.
        fed: What a decoder is told, token ids (batch, target timesteps), 0 where it is no more
            told, with an answer to each of the others in turn; None of models without one.
    """

    name: str
    sequences: np.ndarray
    lengths: np.ndarray
    expected: np.ndarray
    targets: np.ndarray | None = None
    measure: Measure = "accuracy"
    fed: np.ndarray | None = None

    def asked(self, sequences: np.ndarray) -> Case:
        """The case with other inputs to the same answers: texts, or with other padding."""
        return dataclasses.replace(self, sequences=sequences)

    def quality(self, probabilities: np.ndarray) -> float | None:
        """How good answers are; None where nothing is known to be right.

        Args:
            probabilities: (answers, classes).

        Returns:
            The share of right ones; or perplexity, the inverse of the geometric mean of what is
            given to the right ones.
        """
        if self.targets is None or not (self.targets >= 0).any():
            return None
        (known,) = np.nonzero(self.targets >= 0)
        answers, right = probabilities[known], self.targets[known]
        if self.measure == "accuracy":
            return float(np.mean(answers.argmax(-1) == right))
        given = answers[np.arange(len(right)), right].astype(np.float64)
        # Integers may give nothing at all, of which there is no logarithm.
        return float(np.exp(-np.log(np.maximum(given, 1e-9)).mean()))


def quality_loss(measure: Measure, own: float | None, model: float | None) -> float | None:
    """By what share of a model's quality an artefact is worse; negative if it is better.

    Args:
        measure: What the qualities are.
        own: The artefact's.
        model: The model's.
    """
    if own is None or not model:
        return None
    return own / model - 1 if measure == "perplexity" else 1 - own / model


def filled(sequences: np.ndarray, lengths: np.ndarray, value: np.ndarray | float) -> np.ndarray:
    """Sequences with something past their lengths; of tokens, an integer.

    Args:
        sequences: (batch, time, ...).
        lengths: (batch,).
        value: What broadcasts to them.
    """
    inside = np.arange(sequences.shape[1]) < lengths[:, None]
    inside = inside.reshape(inside.shape + (1,) * (sequences.ndim - 2))
    return np.where(inside, sequences, value).astype(sequences.dtype)
