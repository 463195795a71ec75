"""Unlabelled text for a language model that goes on to judge SST-2's sentences.

Of the folder of texts: the articles of `wikitext2/*.txt`, and the English sentences of
`tatoeba_eng_fra/fra-eng.zip`, each once. Of the folder of reviews: SST-2's training sentences, and
those of MR that are none of SST-2's. SST-2 was made of MR, so that MR holds its development and
test sentences as well: each sentence of MR is left out that shares `OVERLAP` letters and digits in
a row with any of them, spaces, marks, accents and case aside (2,549 of 10,662), or with a training
sentence (6,321).
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

OVERLAP = 25  # four words or five: that many are the same phrase at least


def write(reviews: Path, texts: Path, out: Path) -> tuple[str, str]:
    """Writes all text, a sentence or an article a line, in shuffled order; and that of reviews.

    Args:
        reviews: The folder of SST-2 and MR.
        texts: The folder of `wikitext2` and `tatoeba_eng_fra`.
        out: The folder to write to.

    Returns:
        The file of all text, and that of reviews alone.
    """
    out.mkdir(parents=True, exist_ok=True)
    judged = _reviews(reviews)
    everything = _articles(texts) + _sentences(texts) + judged
    return _shuffled(everything, out / "texts.txt"), _shuffled(judged, out / "reviews.txt")


def _shuffled(lines: list[str], path: Path) -> str:
    """Writes lines to a file."""
    order = np.random.default_rng(0).permutation(len(lines))
    text = "\n".join(_as_treebank(lines[place]) for place in order)
    path.write_text(text + "\n", encoding="utf-8")
    return str(path)


def _reviews(folder: Path) -> list[str]:
    """SST-2's training sentences, and sentences of MR that SST-2 knows nothing of."""
    parts = {part: _unlabelled(folder / f"stsa.binary.{part}") for part in ("train", "dev", "test")}
    seen = _phrases(text for texts in parts.values() for text in texts)
    others = _unlabelled(folder / "rt-polarity.all", "cp1252")
    return parts["train"] + [text for text in others if seen.isdisjoint(_phrases([text]))]


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


def _sentences(texts: Path) -> list[str]:
    """English sentences of Tatoeba."""
    with zipfile.ZipFile(texts / "tatoeba_eng_fra" / "fra-eng.zip") as archive:
        lines = archive.read("fra-eng/fra.txt").decode().splitlines()
    return list(dict.fromkeys(line.partition("\t")[0] for line in lines))


def _as_treebank(text: str) -> str:
    """Words, marks and endings parted as SST-2 has them."""
    text = re.sub(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))\b", r" \1", text.lower())
    text = re.sub(r'(?<=\w)([.,!?;:"]+)(?=\s|$)', r" \1 ", text)
    return " ".join(text.replace("(", "-lrb-").replace(")", "-rrb-").split())
