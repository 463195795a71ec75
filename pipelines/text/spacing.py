"""Where words and marks stand apart: text made of tokens again, as people write it."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pipelines.text import unicode
from pipelines.text.tokenization import WordTokenizer

FILE = "spacing.json"
Mark = tuple[str, int] | None
"""A token that is no word, and 0 for its first, third... place in a text, 1 for the others; or None
for any word."""
Gap = tuple[Mark, Mark]


class Spacing:
    """Joins words and marks with the spaces that a language puts between them.

    Its habits are learnt from texts, not written down: French says "Est-ce vrai ?" where English
    says "Is it true?". A mark's odd and even places in a text are told apart, for by turns quotes
    open and close. Two marks that never met stand together if either does with words; a mark of
    which nothing is known stands apart.

    Args:
        together: Whether two neighbours stand together, of those that were met.
    """

    def __init__(self, together: dict[Gap, bool] | None = None) -> None:
        self.together = together or {}

    @classmethod
    def of(cls, texts: Iterable[str], tokenizer: WordTokenizer) -> Spacing:
        """Learns from texts.

        Args:
            texts: The training split.
            tokenizer: Finds their words and marks.

        Returns:
            What the majority of their places says.
        """
        votes: Counter[Gap] = Counter()
        for text in texts:
            words = tokenizer.words(text)
            found = _together(unicode.normalize(text, tokenizer.lowercase), words)
            for gap, together in zip(itertools.pairwise(_marks(words)), found, strict=True):
                votes[gap] += 1 if together else -1
        return cls({gap: count > 0 for gap, count in votes.items()})

    def join(self, words: list[str]) -> str:
        """The text of words and marks."""
        text = "".join(words[:1])
        for gap, word in zip(itertools.pairwise(_marks(words)), words[1:], strict=True):
            text += word if self._closes(gap) else f" {word}"
        return text

    def save(self, folder: Path) -> None:
        """Writes `spacing.json` into a folder."""
        rows = [[*gap, together] for gap, together in self.together.items()]
        (folder / FILE).write_text(json.dumps(rows), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Spacing:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: If the folder holds no such file.
        """
        rows = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls({(_mark(left), _mark(right)): together for left, right, together in rows})

    def _closes(self, gap: Gap) -> bool:
        left, right = gap
        return self.together.get(
            gap, self.together.get((None, right), False) or self.together.get((left, None), False)
        )


def _mark(value: list | None) -> Mark:
    """A mark as JSON holds it."""
    return None if value is None else (value[0], value[1])


def _marks(words: list[str]) -> list[Mark]:
    """Which of the words are marks; None for the others."""
    seen: Counter[str] = Counter()
    marks: list[Mark] = []
    for word in words:
        if word[:1].isalnum():
            marks.append(None)
        else:
            marks.append((word, seen[word] % 2))
            seen[word] += 1
    return marks


def _together(text: str, words: list[str]) -> list[bool]:
    """Whether each word but the first follows the one before it without a space."""
    together = []
    end = 0
    for word in words:
        begin = text.index(word, end)
        together.append(begin == end)
        end = begin + len(word)
    return together[1:]
