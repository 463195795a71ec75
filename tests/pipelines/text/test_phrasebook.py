"""The invented language has rules that a translator can learn, and no exceptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.text import phrasebook
from pipelines.text.pairs import PairPipeline


def test_pairs_are_the_same_for_a_seed_and_told_once(tmp_path: Path) -> None:
    """No source in two splits, and the same data on every machine."""
    texts = []
    for number, seed in enumerate((0, 0, 1)):
        path = tmp_path / f"{number}.tsv"
        phrasebook.write(path, count=500, seed=seed)
        texts.append(path.read_text(encoding="utf-8"))
    assert texts[0] == texts[1] != texts[2]
    sources = [line.split("\t")[0] for line in texts[0].splitlines()]
    assert len(set(sources)) == len(sources) == 500
    assert sum(PairPipeline().fit(str(tmp_path / "0.tsv")).splits.values()) == 500


def test_words_agree() -> None:
    """Verbs stand last and agree with the subject; each ending of a phrase is that of its noun."""
    draw = np.random.default_rng(0)
    kinds = set()
    for _ in range(300):
        english, invented = phrasebook.pair(draw)
        words = invented.rstrip(".?").split()
        asked = english.endswith("?")
        assert asked == (words[-1] == "ka") and asked == english.startswith(("Do ", "Does "))
        verb = words[-2] if asked else words[-1]
        nouns = [word for word in words if word.lower() in ("la", "lo", "las", "los")]
        (subject,) = nouns
        assert verb.endswith("unt" if subject.lower().endswith("s") else "et")
        assert (" not " in english) == ("nu" in words)
        kinds.add((asked, " not " in english, verb[-2:]))
    assert len(kinds) == 6


def test_english_alone_decides_the_translation() -> None:
    """Two sentences that differ in a word differ in that word's translation at least."""
    draw = np.random.default_rng(1)
    pairs = dict(phrasebook.pair(draw) for _ in range(3000))
    assert len(set(pairs.values())) > 0.99 * len(pairs)
