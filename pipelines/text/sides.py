"""The two sides of a translation, source and target, each with its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np

from pipelines.base import require
from pipelines.text import store, tokenization
from pipelines.text.spacing import Spacing
from pipelines.text.spec import PairSpec
from pipelines.text.tokenization import Tokenizer, WordTokenizer


@dataclass(frozen=True)
class Sides:
    """What turns sentences into token ids, and the other side's ids into sentences.

    Args:
        source: Of what is translated.
        target: Of translations.
        spacing: How the target's language spaces words and marks; None where its tokenizer knows.
    """

    source: Tokenizer
    target: Tokenizer
    spacing: Spacing | None = None

    @classmethod
    def of(cls, sources: Iterable[str], targets: Sequence[str], spec: PairSpec) -> Sides:
        """Learns both vocabularies.

        Args:
            sources: Of the training split.
            targets: Likewise.
            spec: The settings.
        """
        source, target = (tokenization.of(spec).fit(side) for side in (sources, targets))
        return cls(source, target, Spacing.of(targets, target) if _spaced(target) else None)

    def checked(self, spec: PairSpec) -> Sides:
        """The same, if both are what a pipeline's settings ask for.

        Raises:
            ValueError: If they are not.
        """
        for side in (self.source, self.target):
            tokenization.checked(side, spec)
        return self

    def encode(
        self, sources: Sequence[str], max_tokens: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Makes the inputs of one batch.

        Args:
            sources: Sentences.
            max_tokens: The longest that one may be; None for any.

        Returns:
            Source ids, int32 (batch, timesteps), padded on the right, and lengths, int32 (batch,).

        Raises:
            ValueError: If a source is empty or too long.
        """
        for text in sources:
            require(bool(text.strip()), "source", "more than whitespace", text)
        ids = [np.array(self.source.encode(text), np.int32) for text in sources]
        source_ids, lengths = store.padded_with_lengths(ids)
        longest = int(lengths.max(initial=0))
        fits = max_tokens is None or longest <= max_tokens
        require(fits, "source", f"at most {max_tokens} tokens", longest)
        return source_ids, lengths

    def spell(self, target_ids: Sequence[int]) -> str:
        """The text of a target's ids, spaced as the training split's targets are."""
        text = self.target.decode(target_ids)
        return self.spacing.join(text.split()) if self.spacing else text

    def save(self, folder: Path) -> None:
        """Writes `source/` and `target/`, each with a vocabulary and a tokenizer's settings."""
        self.source.save(folder / "source")
        self.target.save(folder / "target")
        if self.spacing:
            self.spacing.save(folder / "target")

    @classmethod
    def load(cls, folder: Path) -> Sides:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: If the folder holds no such files.
        """
        source, target = (tokenization.load(folder / side) for side in ("source", "target"))
        return cls(source, target, Spacing.load(folder / "target") if _spaced(target) else None)


def _spaced(tokenizer: Tokenizer) -> TypeGuard[WordTokenizer]:
    """Whether a tokenizer parts marks from words."""
    return tokenizer.tokens in ("words", "subwords")
