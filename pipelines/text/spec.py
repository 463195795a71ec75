"""Settings of the text pipelines: plain data, checked when made, free of TensorFlow."""

from __future__ import annotations

import codecs
import dataclasses
from dataclasses import dataclass
from typing import Literal

from pipelines.base import Policy, require

Tokens = Literal["words", "whitespace", "characters", "subwords"]
TOKENS = ("words", "whitespace", "characters", "subwords")


@dataclass(frozen=True)
class VocabularySpec:
    """What all text pipelines are told: how text becomes tokens, and what is held out.

    Args:
        tokens: "words" parts punctuation from words, "whitespace" takes text that is parted
            already, "characters" are Unicode code points, "subwords" are pieces of words.
        vocabulary_size: Entries that the vocabulary may have, the four special ones included.
        lowercase: Whether text is lowercased.
        min_count: How often a token must occur in the training split to enter the vocabulary.
        validation_percent: Share of the validation split, in percent, where the data name none.
        testing_percent: Share of the test split, in percent, where the data name none.
        encoding: How files are written; what is not in it is a bad input. Parquet is UTF-8.
        on_bad_input: "skip" leaves out what cannot be used and counts it; "stop" raises.
    """

    tokens: Tokens = "words"
    vocabulary_size: int = 20000
    lowercase: bool = True
    min_count: int = 1
    validation_percent: float = 10.0
    testing_percent: float = 10.0
    encoding: str = "utf-8"
    on_bad_input: Policy = "skip"

    def __post_init__(self) -> None:
        """Checks the fields."""
        _require_choice("tokens", self.tokens, TOKENS)
        _require_choice("on_bad_input", self.on_bad_input, ("skip", "stop"))
        require(_is_encoding(self.encoding), "encoding", "one that Python knows", self.encoding)
        _require_integer("vocabulary_size", self.vocabulary_size, 5)
        _require_integer("min_count", self.min_count, 1)
        require(isinstance(self.lowercase, bool), "lowercase", "one of true, false", self.lowercase)
        for name in ("validation_percent", "testing_percent"):
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))
        held_out = self.validation_percent + self.testing_percent
        require(held_out <= 100, "validation_percent + testing_percent", "at most 100", held_out)
        for field in dataclasses.fields(self):
            if field.name.endswith("_column"):
                name = getattr(self, field.name)
                require(
                    isinstance(name, str) and bool(name), field.name, "the name of a column", name
                )


@dataclass(frozen=True)
class TextSpec(VocabularySpec):
    """How labelled texts become padded batches of token ids.

    Args:
        max_tokens: Longest sequence; longer ones are cut and counted. None sets no limit.
        text_column: The column of texts, in files and data sets that have columns.
        label_column: The column of labels.
        split_salt: Text hashed with each text; another one gives other splits.
    """

    max_tokens: int | None = 1000
    text_column: str = "text"
    label_column: str = "label"
    split_salt: str = ""

    def __post_init__(self) -> None:
        """Checks the fields."""
        super().__post_init__()
        if self.max_tokens is not None:
            _require_integer("max_tokens", self.max_tokens, 1)


@dataclass(frozen=True)
class CorpusSpec(VocabularySpec):
    """How running text becomes one stream of token ids in windows.

    Args:
        sequence_length: Tokens in a window: how far back training propagates.
        document: What the end token closes in a text file: the whole "file", line ends being text
            like any other, or each "line", blank ones aside. A row of a table is a document.
        text_column: The column of texts, in files and data sets that have columns.
    """

    tokens: Tokens = "characters"
    lowercase: bool = False
    validation_percent: float = 5.0
    testing_percent: float = 5.0
    sequence_length: int = 100
    document: Literal["file", "line"] = "file"
    text_column: str = "text"

    def __post_init__(self) -> None:
        """Checks the fields."""
        super().__post_init__()
        _require_integer("sequence_length", self.sequence_length, 1)
        _require_choice("document", self.document, ("file", "line"))


@dataclass(frozen=True)
class PairSpec(VocabularySpec):
    """How sentences and their translations become padded batches of token ids.

    Args:
        max_tokens: Longest side of a pair, begin and end tokens aside; longer pairs are left out
            and counted, since half a sentence translates to nothing. None sets no limit.
        source_column: The column of sentences, in files and data sets that have columns.
        target_column: The column of translations.
        split_salt: Text hashed with each source sentence; another one gives other splits.
    """

    max_tokens: int | None = 50
    source_column: str = "source"
    target_column: str = "target"
    split_salt: str = ""

    def __post_init__(self) -> None:
        """Checks the fields."""
        super().__post_init__()
        if self.max_tokens is not None:
            _require_integer("max_tokens", self.max_tokens, 1)


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
    except (LookupError, TypeError):
        return False
    return True


def _require_integer(name: str, value: object, least: int) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(good, name, f"an integer of at least {least}", value)


def _require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    require(value in choices, name, f"one of {', '.join(choices)}", value)
