"""Text made of tokens stands as people write it, in whatever language it was learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.text.spacing import Spacing
from pipelines.text.tokenization import SubwordTokenizer, WordTokenizer

ENGLISH = (
    "Is it true?",
    'He said, "Wait (a bit)!", and left.',
    "It costs $5, or 10% of it; that's all.",
    'Who said "yes"?',
    'The "best" and the "rest" of us.',
    "Yes... maybe.",
)
FRENCH = (
    "Est-ce vrai ?",
    "Il a dit : « Attends ! », et puis s'en est allé.",
    "J'ai 3,5 % d'eau ; c'est l'été qu'on n'aime pas.",
    "Qu'est-ce que c'est ? L'œuvre d'aujourd'hui.",
)
GERMAN = ("Er sagte: „Ja!“, und ging.", "Was „gut“ ist, weiß er.")


@pytest.mark.parametrize("texts", [ENGLISH, FRENCH, GERMAN], ids=["english", "french", "german"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_texts_come_back_from_their_words(texts: tuple[str, ...], lowercase: bool) -> None:
    """Punctuation, apostrophes, quotes that open and close, numbers; each language its own way."""
    tokenizer = WordTokenizer(lowercase=lowercase)
    spacing = Spacing.of(texts, tokenizer)
    for text in texts:
        assert spacing.join(tokenizer.words(text)) == (text.lower() if lowercase else text)


def test_subwords_are_words_again() -> None:
    """Pieces are put together before marks find their places."""
    tokenizer = SubwordTokenizer(110).fit(FRENCH)
    spacing = Spacing.of(FRENCH, tokenizer)
    encoded = [tokenizer.encode(text) for text in FRENCH]
    assert any(len(ids) > len(tokenizer.words(t)) for ids, t in zip(encoded, FRENCH, strict=True))
    for ids, text in zip(encoded, FRENCH, strict=True):
        assert spacing.join(tokenizer.decode(ids).split()) == text


def test_the_majority_decides() -> None:
    """A slip in the training split does not become a habit; what is unknown stands apart."""
    tokenizer = WordTokenizer()
    spacing = Spacing.of(["a, b", "c, d", "e ,f"], tokenizer)
    assert spacing.join(["x", ",", "y", ";", "z"]) == "x, y ; z"
    assert spacing.join([]) == "" and Spacing().join(["a", ",", "b"]) == "a , b"


def test_habits_are_kept(tmp_path: Path) -> None:
    """A saved spacing joins as before."""
    spacing = Spacing.of(ENGLISH, WordTokenizer())
    spacing.save(tmp_path)
    loaded = Spacing.load(tmp_path)
    assert loaded.together == spacing.together and {True, False} == {*loaded.together.values()}
