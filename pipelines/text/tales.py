"""Invented tales: running text at hand without a download, from a grammar that can be learnt.

Verbs agree with a subject that other nouns may stand behind ("the fox that the geese fear sleeps"),
clauses nest, what is quoted is closed again, and a tale goes on about whom it begins with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.base import Progress

_NOUNS = {
    **{"fox": "foxes", "goose": "geese", "king": "kings", "child": "children", "wolf": "wolves"},
    **{"miller": "millers", "owl": "owls", "sailor": "sailors", "mouse": "mice", "giant": "giants"},
}
# Of one, and of several.
_SEE = (("sees", "see"), ("fears", "fear"), ("follows", "follow"), ("greets", "greet"))
_SLEEP = (("sleeps", "sleep"), ("sings", "sing"), ("waits", "wait"), ("laughs", "laugh"))
_KNOW = (("knows", "know"), ("hopes", "hope"), ("forgets", "forget"), ("dreams", "dream"))
_SAY = (("says", "say"), ("asks", "ask"), ("whispers", "whisper"), ("shouts", "shout"))
_PLACES = ("by the river", "under the hill", "in the old mill", "at the harbour", "near the well")
_TIMES = ("at dawn", "in winter", "all night", "on the third day", "before the rain")
_ADJECTIVES = ("", "", "", "little", "old", "proud", "hungry", "silent", "clever")
_REQUESTS = ("open the gate", "bring me the lantern", "tell me your name", "come home with us")
_DEEPEST = 3


class Phrase(NamedTuple):
    """Who something is said of.

    Args:
        text: The words.
        several: Whether they are more than one.
    """

    text: str
    several: bool


def write(
    path: Path, characters: int = 200_000, seed: int = 0, progress: Progress | None = None
) -> None:
    """Writes tales as text, with a blank line between two.

    Args:
        path: The file to make.
        characters: How long it is at least; the last tale is whole.
        seed: Another one makes other tales.
        progress: Called with (done, total) characters.
    """
    teller, done = Teller(seed), 0
    with path.open("w", encoding="utf-8") as file:
        while done < characters:
            done += file.write(f"{teller.tale()}\n\n")
            if progress:
                progress(min(done, characters), characters)


class Teller:
    """Tells tales, the same ones for the same seed.

    Args:
        seed: Of all that is drawn.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def tale(self) -> str:
        """A tale of some sentences, about one hero or several."""
        hero = self._noun("a")
        sentences = [f"Once there {_agreed(('is', 'are'), hero)} {hero.text} {self._one(_PLACES)}."]
        hero = Phrase("they" if hero.several else "it", hero.several)
        for _ in range(self._random.integers(3, 8)):
            subject = hero if self._random.random() < 0.5 else self._noun("the")
            sentences.append(self._sentence(subject))
        sentences.append(f"And so {hero.text} {self._verb(_SLEEP, hero)} {self._one(_TIMES)}.")
        return " ".join(sentences)

    def _sentence(self, subject: Phrase) -> str:
        kind = self._random.integers(4)
        if kind == 0:
            quoted = self._one(_REQUESTS).capitalize()
            return f'"{quoted}," {self._verb(_SAY, subject)} {self._full(subject, 0)}.'
        clause = self._clause(subject, 0)
        if kind == 1:
            other = self._clause(self._noun("the"), _DEEPEST)
            clause = f"when {other}, {clause}"
        return f"{clause[0].upper()}{clause[1:]}."

    def _clause(self, subject: Phrase, depth: int) -> str:
        """A subject and what it does; knowing takes another clause."""
        full, kind = self._full(subject, depth), self._random.integers(3)
        if kind == 0 and depth < _DEEPEST:
            inner = self._clause(self._noun("the"), depth + 1)
            return f"{full} {self._verb(_KNOW, subject)} that {inner}"
        if kind == 1:
            return f"{full} {self._verb(_SEE, subject)} {self._full(self._noun('the'), depth + 1)}"
        return f"{full} {self._verb(_SLEEP, subject)} {self._one((*_PLACES, *_TIMES))}"

    def _full(self, phrase: Phrase, depth: int) -> str:
        """A phrase, now and then with a clause that says which."""
        if not phrase.text.startswith("the ") or depth >= _DEEPEST or self._random.random() < 0.6:
            return phrase.text
        other = self._noun("the")
        if self._random.random() < 0.5:
            return f"{phrase.text} that {self._verb(_SEE, phrase)} {self._full(other, depth + 1)}"
        return f"{phrase.text} that {self._full(other, depth + 1)} {self._verb(_SEE, other)}"

    def _noun(self, article: str) -> Phrase:
        several = bool(self._random.integers(2))
        noun, adjective = self._one(list(_NOUNS)), self._one(_ADJECTIVES)
        words = [adjective, _NOUNS[noun] if several else noun]
        if article == "a":
            first = (adjective or noun)[0]
            article = "some" if several else "an" if first in "aeiou" else "a"
        return Phrase(" ".join(word for word in (article, *words) if word), several)

    def _verb(self, verbs: Sequence[tuple[str, str]], subject: Phrase) -> str:
        return _agreed(verbs[int(self._random.integers(len(verbs)))], subject)

    def _one(self, choices: Sequence[str]) -> str:
        return choices[int(self._random.integers(len(choices)))]


def _agreed(verb: tuple[str, str], subject: Phrase) -> str:
    return verb[subject.several]
