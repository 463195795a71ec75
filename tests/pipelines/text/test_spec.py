"""Settings of text: kept as JSON, refused where they make no sense."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pipelines.text.spec import TOKENS, CorpusSpec, PairSpec, TextSpec
from pipelines.text.tokenization import TOKENIZERS


@pytest.mark.parametrize("kind", [TextSpec, CorpusSpec, PairSpec])
def test_spec_is_json_and_back(kind: type) -> None:
    """Settings survive JSON, as run folders keep them."""
    spec = kind(tokens="subwords", validation_percent=1.5, vocabulary_size=9)
    assert kind(**json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


def test_every_kind_of_tokens_has_a_tokenizer() -> None:
    """A setting that is allowed must be possible."""
    assert set(TOKENS) == set(TOKENIZERS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextSpec(tokens="word"), "one of words, whitespace, characters, subwords. Rec"),
        (lambda: TextSpec(vocabulary_size=4), "`vocabulary_size` must be an integer of at least 5"),
        (lambda: TextSpec(min_count=0), "`min_count` must be an integer of at least 1"),
        (lambda: TextSpec(lowercase="no"), "`lowercase` must be one of true, false"),
        (lambda: TextSpec(max_tokens=0), "`max_tokens` must be an integer of at least 1"),
        (lambda: TextSpec(label_column=""), "`label_column` must be the name of a column"),
        (lambda: TextSpec(encoding="utf-9"), "`encoding` must be one that Python knows"),
        (lambda: TextSpec(validation_percent=60, testing_percent=60), "must be at most 100"),
        (lambda: TextSpec(on_bad_input="ignore"), "one of skip, stop. Received: on_bad_input='ig"),
        (lambda: CorpusSpec(sequence_length=True), "`sequence_length` must be an integer"),
        (lambda: CorpusSpec(document="page"), "`document` must be one of file, line"),
        (lambda: PairSpec(max_tokens=-1), "`max_tokens` must be an integer of at least 1"),
    ],
)
def test_wrong_setting_is_named(make: object, message: str) -> None:
    """A setting that makes no sense is refused when it is made."""
    with pytest.raises(ValueError, match=message):
        make()
