"""Invented reviews with labels: data at hand without a download.

What decides is how words stand together: "not bad at all" praises, "hardly a good idea" does not,
and of two clauses around a "but" the second one counts.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from pipelines.base import Progress

LABELS = ("negative", "positive")
_THINGS = {
    "food": ("soup", "bread", "coffee", "dessert", "pasta", "salad"),
    "place": ("room", "terrace", "kitchen", "garden", "view", "table"),
    "people": ("waiter", "cook", "owner", "staff", "team", "guide"),
    "goods": ("phone", "camera", "battery", "screen", "keyboard", "speaker"),
}
_ADJECTIVES = {
    "negative": (
        *("bad", "awful", "cold", "slow", "noisy", "dull", "broken", "dirty", "rude", "poor"),
        *("useless", "stale", "weak", "disappointing", "terrible", "boring"),
    ),
    "positive": (
        *("good", "great", "warm", "quick", "quiet", "bright", "solid", "clean", "kind", "rich"),
        *("useful", "fresh", "strong", "delightful", "wonderful", "charming"),
    ),
}
_NEGATIONS = ("not", "never", "hardly", "not really", "anything but")
_DEGREES = ("", "", "very", "quite", "really", "rather", "so")
_OPENINGS = ("", "", "honestly ,", "to my surprise ,", "as expected ,", "in the end ,", "overall ,")
_FILLERS = (
    "we came on a {day} .",
    "i bought it for my {kin} .",
    "there were {count} of us .",
    "it took {count} days .",
    "my {kin} had asked for it .",
)
_FILLING = {
    "day": ("monday", "friday", "sunday", "rainy evening", "summer morning"),
    "kin": ("sister", "father", "neighbour", "daughter", "colleague"),
    "count": ("two", "three", "four", "five", "ten"),
}


def write(path: Path, count: int = 4000, seed: int = 0, progress: Progress | None = None) -> None:
    """Writes reviews as CSV with the columns `text` and `label`.

    Args:
        path: The file to make.
        count: Reviews, half of each label; each is another text.
        seed: Another one makes other reviews.
        progress: Called with (done, total) reviews.
    """
    generator, told = np.random.default_rng(seed), set[str]()
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        while len(told) < count:
            label = LABELS[len(told) % len(LABELS)]
            text = review(label, generator)
            if text not in told:
                told.add(text)
                table.writerow([text, label])
                if progress:
                    progress(len(told), count)


def review(label: str, generator: np.random.Generator) -> str:
    """One review, of which a clause decides the label and others do not.

    Args:
        label: One of `LABELS`.
        generator: Draws the words.
    """
    decisive = _clause(label, generator)
    other = _clause(LABELS[label == LABELS[0]], generator)
    form = generator.integers(3)
    if form == 0:
        said = f"{_clause(label, generator)} and {decisive} ."
    elif form == 1:
        said = f"{other} , but {decisive} ."
    else:
        said = f"although {other} , {decisive} ."
    sentences = [f"{_one(_OPENINGS, generator)} {said}"]
    for _ in range(generator.integers(3)):
        filler = _one(_FILLERS, generator)
        filled = filler.format(**{key: _one(words, generator) for key, words in _FILLING.items()})
        sentences.insert(generator.integers(len(sentences) + 1), filled)
    return " ".join(" ".join(sentences).split())


def _clause(label: str, generator: np.random.Generator) -> str:
    """A clause that praises or does not, a third of them by denying the opposite."""
    thing = _one(_THINGS[_one(tuple(_THINGS), generator)], generator)
    verb = _one(("was", "seemed", "is"), generator)
    if generator.random() < 1 / 3:
        opposite = LABELS[label == LABELS[0]]
        said = f"{_one(_NEGATIONS, generator)} {_one(_ADJECTIVES[opposite], generator)}"
    else:
        said = f"{_one(_DEGREES, generator)} {_one(_ADJECTIVES[label], generator)}"
    return f"the {thing} {verb} {said}"


def _one(words: tuple[str, ...], generator: np.random.Generator) -> str:
    return words[generator.integers(len(words))]
