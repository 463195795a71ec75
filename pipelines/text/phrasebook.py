"""Sentences in English with their translations to an invented language: data without a download.

The language has its verbs last and its adjectives behind their nouns, says where before it says
who, and asks by a word at the end. Articles and adjectives agree with their nouns in gender, number
and case, and verbs with their subjects in number. So each word's place and form follow from others,
which may stand anywhere in the sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.base import Progress

# English singular and plural, the stem, and the gender that decides its endings.
_NOUNS = (
    *(("girl", "girls", "mirel", "a"), ("boy", "boys", "tavor", "o"), ("cat", "cats", "fenn", "a")),
    *(
        ("dog", "dogs", "grus", "o"),
        ("bird", "birds", "silv", "a"),
        ("horse", "horses", "kael", "o"),
    ),
    *(("fish", "fishes", "undr", "a"), ("child", "children", "pell", "o")),
    *(("teacher", "teachers", "dovar", "o"), ("queen", "queens", "isolt", "a")),
    *(("baker", "bakers", "brem", "o"), ("sailor", "sailors", "marun", "o")),
)
_PLACES = (
    *(
        ("in the garden", "vel hortim"),
        ("at the river", "vel rivam"),
        ("near the old mill", "pri molim"),
    ),
    *(
        ("behind the house", "tra domam"),
        ("on the hill", "sur collim"),
        ("in the city", "vel urbam"),
    ),
)
_ADJECTIVES = (
    *(("small", "min"), ("big", "gran"), ("red", "rubr"), ("black", "nocr"), ("old", "vet")),
    *(("young", "juv"), ("happy", "lael"), ("tired", "fess"), ("clever", "sag"), ("quiet", "tac")),
)
# English with "they" and with "she", and the stem.
_VERBS = (
    *(("see", "sees", "vid"), ("love", "loves", "amar"), ("follow", "follows", "seku")),
    *(("hear", "hears", "ard"), ("know", "knows", "kon"), ("find", "finds", "trov")),
    *(("help", "helps", "jut"), ("call", "calls", "klam"), ("wash", "washes", "lav")),
    *(("fear", "fears", "tim"), ("watch", "watches", "spekt"), ("push", "pushes", "pul")),
)
_NUMBERS = (("two", "du"), ("three", "tri"), ("four", "kvar"))


@dataclass(frozen=True)
class _Phrase:
    """A noun with what stands around it, in both languages.

    Args:
        english: As in "the two red birds".
        invented: As in "las silvas rubras du".
        plural: Whether there is more than one.
    """

    english: str
    invented: str
    plural: bool


def write(path: Path, count: int = 6000, seed: int = 0, progress: Progress | None = None) -> None:
    """Writes pairs as `source<TAB>target`, a line each.

    Args:
        path: The file to make.
        count: Pairs; each has another source.
        seed: Another one makes other pairs.
        progress: Called with (done, total) pairs.
    """
    generator, told = np.random.default_rng(seed), set[str]()
    with path.open("w", encoding="utf-8") as file:
        while len(told) < count:
            english, invented = pair(generator)
            if english not in told:
                told.add(english)
                file.write(f"{english}\t{invented}\n")
                if progress:
                    progress(len(told), count)


def pair(generator: np.random.Generator) -> tuple[str, str]:
    """One sentence in English, and its translation.

    Args:
        generator: Draws the words.
    """
    subject, item = _phrase(generator, ""), _phrase(generator, "m")
    many, one, stem = _drawn(_VERBS, generator)
    verb = stem + ("unt" if subject.plural else "et")
    place, where = _drawn(_PLACES, generator) if generator.random() < 0.4 else ("", "")
    invented = f"{where} {subject.invented} {item.invented}"
    kind = generator.choice(["told", "denied", "asked"], p=[0.5, 0.25, 0.25])
    if kind == "told":
        said = f"{subject.english} {many if subject.plural else one} {item.english} {place}"
        return _sentence(said, "."), _sentence(f"{invented} {verb}", ".")
    auxiliary = "do" if subject.plural else "does"
    if kind == "denied":
        said = f"{subject.english} {auxiliary} not {many} {item.english} {place}"
        return _sentence(said, "."), _sentence(f"{invented} nu {verb}", ".")
    said = f"{auxiliary} {subject.english} {many} {item.english} {place}"
    return _sentence(said, "?"), _sentence(f"{invented} {verb} ka", "?")


def _phrase(generator: np.random.Generator, case: str) -> _Phrase:
    """A noun with an article or a number, and with an adjective or none."""
    one, many, stem, gender = _drawn(_NOUNS, generator)
    plural = generator.random() < 0.5
    ending = gender + ("s" if plural else "") + case
    adjective, quality = _drawn(_ADJECTIVES, generator) if generator.random() < 0.6 else ("", "")
    number, counted = (
        _drawn(_NUMBERS, generator) if plural and generator.random() < 0.5 else ("", "")
    )
    noun = f"l{ending} {stem}{ending}" + (f" {quality}{ending}" if quality else "")
    english = f"the {number} {adjective} {many if plural else one}"
    return _Phrase(english, f"{noun} {counted}", plural)


def _drawn(words: tuple, generator: np.random.Generator) -> tuple:
    return words[generator.integers(len(words))]


def _sentence(words: str, mark: str) -> str:
    """Words with one space between them, a capital letter before and a mark behind."""
    text = " ".join(words.split())
    return text[0].upper() + text[1:] + mark
