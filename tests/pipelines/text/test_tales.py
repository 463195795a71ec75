"""The invented tales have what a language model is to learn."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.text import tales


def test_tales_are_the_same_for_a_seed(tmp_path: Path) -> None:
    """A default run can be repeated; another seed tells others."""
    told: list[tuple[int, int]] = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tales.write(tmp_path / name, 5000, seed, lambda *done: told.append(done))
    texts = [(tmp_path / name).read_text() for name in "abc"]
    assert texts[0] == texts[1] != texts[2]
    assert 5000 <= len(texts[0]) < 7000 and texts[0].endswith(".\n\n")
    assert told[-1] == (5000, 5000)


def test_every_tale_is_whole() -> None:
    """It begins, ends, and closes what it quotes; its hero stays one, or several."""
    teller = tales.Teller(0)
    for _ in range(300):
        tale = teller.tale()
        assert re.match(r"Once there (is an? |are some )", tale)
        assert re.search(r"\. And so (it|they) [a-z]+ [a-z ]+\.$", tale)
        assert tale.count('"') % 2 == 0
        several = tale.startswith("Once there are")
        assert not re.search(r"\b[Ii]t\b" if several else r"\b[Tt]hey\b", tale)


def test_verbs_agree_with_their_subjects() -> None:
    """Of the next noun before it, or of the hero's pronoun, where no clause stands between."""
    teller = tales.Teller(1)
    text = " ".join(teller.tale() for _ in range(300))
    one, several = "|".join(tales._NOUNS), "|".join(tales._NOUNS.values())
    groups = (*tales._SLEEP, *tales._KNOW)
    verbs_of_one, verbs_of_several = ("|".join(verbs) for verbs in zip(*groups, strict=True))
    plain = r"(?:^|[.,] |[Tt]hat )(?:[Tt]he) (?:\w+ )?"
    assert re.search(rf"{plain}({one}) ({verbs_of_one})\b", text)
    assert not re.search(rf"{plain}({one}) ({verbs_of_several})\b", text)
    assert not re.search(rf"{plain}({several}) ({verbs_of_one})\b", text)
    assert not re.search(rf"\b[Tt]hey ({verbs_of_one})\b|\b[Ii]t ({verbs_of_several})\b", text)


def test_clauses_nest_and_end() -> None:
    """Far enough that a verb may stand a dozen words behind its subject."""
    teller = tales.Teller(2)
    sentences = re.split(r"[.]", " ".join(teller.tale() for _ in range(300)))
    most = max(len(re.findall(r"\bthat\b", sentence)) for sentence in sentences)
    assert 3 <= most <= 12
