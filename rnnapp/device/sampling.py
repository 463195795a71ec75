"""Draw the next token of a text from a language model's logits."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen among the probable ones.

    Args:
        temperature: what logits are divided by: under one, probable tokens get more so; 0 always
            takes the most probable one.
        top_k: keep the so many most probable tokens alone; 0 keeps all.
        top_p: keep the fewest most probable tokens whose probabilities reach this sum: the nucleus
            of Holtzman et al. 2020 (arXiv:1904.09751); 1 keeps all.

    Raises:
        ValueError: a setting is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        whole = isinstance(self.top_k, int) and not isinstance(self.top_k, bool)
        rules = {
            "temperature": (0 <= self.temperature < math.inf, "zero or more"),
            "top_k": (whole and self.top_k >= 0, "an integer of zero or more"),
            "top_p": (0 < self.top_p <= 1, "in (0, 1]"),
        }
        for name, (condition, must) in rules.items():
            if not condition:
                value = getattr(self, name)
                raise ValueError(f"`{name}` must be {must}. Received: {name}={value!r}")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Compute what the next token is drawn from.

        Args:
            logits: (vocabulary,), any of which may be minus infinity, but not all.

        Returns:
            Probabilities, float64 (vocabulary,); zero for tokens that are left out. Of equally
            probable tokens, those of low ids are kept first.
        """
        logits = np.asarray(logits, np.float64)
        order = np.argsort(-logits, kind="stable")
        if self.temperature == 0:
            return np.bincount(order[:1], minlength=len(logits)).astype(np.float64)
        shares = np.exp((logits[order] - logits[order[0]]) / self.temperature)
        shares[self.top_k or len(shares) :] = 0
        shares /= shares.sum()
        reached = np.cumsum(shares) - shares  # by the tokens before each
        shares[reached >= self.top_p] = 0
        probabilities = np.zeros_like(shares)
        probabilities[order] = shares / shares.sum()
        return probabilities


class Sampler:
    """Callable that draws tokens, the same ones for the same seed.

    Args:
        sampling: how they are chosen.
        seed: of the draws; None for other ones each time.
        banned: ids of tokens that are never drawn.
    """

    def __init__(
        self, sampling: Sampling, seed: int | None = None, banned: Collection[int] = ()
    ) -> None:
        self.sampling = sampling
        self._banned = list(banned)
        self._random = np.random.default_rng(seed)

    def __call__(self, logits: np.ndarray) -> int:
        """Draw a token.

        Args:
            logits: (vocabulary,).

        Returns:
            Its id.
        """
        logits = np.array(logits, np.float64)
        logits[self._banned] = -np.inf
        probabilities = self.sampling.probabilities(logits)
        place = self._random.random() * probabilities.sum()
        drawn = np.searchsorted(np.cumsum(probabilities), place, side="right")
        return int(min(drawn, np.flatnonzero(probabilities)[-1]))  # a sum may round under `place`
