"""Text to token ids and back: characters, words and subwords behind one interface.

Each tokenizer exists twice, in plain Python and as TensorFlow operations for a SavedModel; a test
holds both to the same ids on any text.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipelines.base import require
from pipelines.text import subwords, unicode
from pipelines.text.subwords import CONTINUED

if TYPE_CHECKING:
    from pipelines.text.graph import TokenizerGraph
    from pipelines.text.spec import VocabularySpec

PADDING, UNKNOWN, BEGIN, END = range(4)
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
SETTINGS = ("tokens", "vocabulary_size", "lowercase", "min_count")  # what makes a tokenizer
MAX_WORD = 100  # characters; a longer word is unknown to subwords, as in BERT


class Tokenizer(ABC):
    """Text to token ids and back.

    Text is first brought to one form by `unicode.normalize`: invalid UTF-8 replaced,
    lowercased if so wanted, composed. Id 0 pads; 1 is unknown, 2 begins and 3 ends a sequence.
    `encode` adds none of them but the unknown one, which is also what text itself may say: data
    sets such as WikiText write `<unk>` for rare words.

    Args:
        vocabulary_size: Entries that the vocabulary may have, the four special ones included.
        lowercase: Whether text is lowercased.
        min_count: How often a token must occur to enter the vocabulary.
    """

    tokens: ClassVar[str]

    def __init__(
        self, vocabulary_size: int = 20000, *, lowercase: bool = False, min_count: int = 1
    ) -> None:
        self.vocabulary_size = vocabulary_size
        self.lowercase = lowercase
        self.min_count = min_count
        self._finders: dict[int, re.Pattern[str]] = {}
        self._adopt([])

    @property
    def vocabulary(self) -> list[str]:
        """All tokens in the order of their ids."""
        return self._vocabulary

    @property
    def ids(self) -> dict[str, int]:
        """The ids of what text can hold: all tokens but padding, begin and end."""
        return self._ids

    def fit(self, texts: Iterable[str]) -> Tokenizer:
        """Finds the vocabulary of some texts.

        Args:
            texts: The training split.

        Returns:
            The tokenizer itself.
        """
        self._adopt(self._find(unicode.normalize(text, self.lowercase) for text in texts))
        return self

    @abstractmethod
    def encode(self, text: str | bytes) -> list[int]:
        """The ids of a text."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; padding, begin and end are left out."""

    def graph(self, max_tokens: int | None = None) -> TokenizerGraph:
        """The same encoding as TensorFlow operations, for a SavedModel.

        Args:
            max_tokens: Longest sequence; longer ones are cut. None sets no limit.

        Returns:
            A `tf.Module`, called with string (batch,), that gives token ids int32 (batch,
            timesteps), padded on the right, and lengths int32 (batch,).
        """
        from pipelines.text import graph  # which takes the seconds that TensorFlow takes

        return graph.GRAPHS[self.tokens](self, max_tokens)

    def save(self, folder: str | Path) -> None:
        """Writes `vocabulary.txt`, a token a line, and `tokenizer.json`.

        In the vocabulary, a backslash and line ends within a token are written as in Python.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{escaped(token)}\n" for token in self.vocabulary)
        (folder / "vocabulary.txt").write_bytes(lines.encode())
        settings = {name: getattr(self, name) for name in SETTINGS}
        (folder / "tokenizer.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")

    def _find(self, texts: Iterator[str]) -> list[str]:
        """The tokens of a vocabulary after the special ones: the most frequent first."""
        room = self.vocabulary_size - len(SPECIAL)
        return subwords.most_common(self._counts(texts), room, self.min_count)

    def _counts(self, texts: Iterator[str]) -> Counter[str]:
        """How often each token occurs that the vocabulary may have."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(self._parts(text))
        for token in SPECIAL:
            del counts[token]
        return counts

    @abstractmethod
    def _parts(self, text: str) -> Iterable[str]:
        """What to count in a normalized text."""

    def _adopt(self, tokens: list[str]) -> None:
        self._vocabulary = [*SPECIAL, *tokens]
        self._ids = {token: number for number, token in enumerate(tokens, len(SPECIAL))}
        self._ids[SPECIAL[UNKNOWN]] = UNKNOWN

    def _spelt(self, ids: Iterable[int]) -> list[str]:
        return [self._vocabulary[i] for i in ids if i not in (PADDING, BEGIN, END)]


class CharacterTokenizer(Tokenizer):
    """A token is a Unicode code point."""

    tokens = "characters"

    def encode(self, text: str | bytes) -> list[int]:
        """The ids of a text."""
        normal = unicode.normalize(text, self.lowercase)
        return [self._ids.get(character, UNKNOWN) for character in normal]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; unknown characters become U+FFFD."""
        unknown = SPECIAL[UNKNOWN]
        return "".join("\ufffd" if token == unknown else token for token in self._spelt(ids))

    def _parts(self, text: str) -> Iterable[str]:
        return text


class WordTokenizer(Tokenizer):
    """A token is a word, a number or a punctuation mark, as `unicode.word_pattern` says."""

    tokens = "words"

    def pattern(self, last: int = sys.maxunicode) -> str:
        """The regular expression of a token, for Python's `re` and for RE2.

        Args:
            last: The greatest code point of the text.
        """
        return f"{SPECIAL[UNKNOWN]}|{unicode.word_pattern(last)}"

    def encode(self, text: str | bytes) -> list[int]:
        """The ids of a text."""
        return [self._ids.get(word, UNKNOWN) for word in self.words(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, with a space between any two words."""
        return " ".join(self._spelt(ids))

    def words(self, text: str | bytes) -> list[str]:
        """The words of a text."""
        return self._parts(unicode.normalize(text, self.lowercase))

    def _parts(self, text: str) -> list[str]:
        # Two lesser patterns of the same meaning: `re` is slow with characters beyond 16 bits.
        last = 0x7F if text.isascii() else 0xFFFF if max(text) <= "\uffff" else sys.maxunicode
        if last not in self._finders:
            self._finders[last] = re.compile(self.pattern(last))
        return self._finders[last].findall(text)


class WhitespaceTokenizer(WordTokenizer):
    """A token is whatever stands between whitespace, in text that was tokenized already."""

    tokens = "whitespace"

    def pattern(self, last: int = sys.maxunicode) -> str:
        """The regular expression of a token."""
        return f"[^{unicode.space_ranges()}]+"


class SubwordTokenizer(WordTokenizer):
    """A token is a piece of a word: the longest one of the vocabulary at each place.

    The vocabulary is WordPiece's, and words are matched greedily from the left; a word that has
    no such pieces is unknown as a whole (Wu et al. 2016, arXiv:1609.08144). `longest_piece` has
    the characters of the longest one.
    """

    tokens = "subwords"

    def encode(self, text: str | bytes) -> list[int]:
        """The ids of a text."""
        return [piece for word in self.words(text) for piece in self._pieces(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, with a space between any two words."""
        return " ".join(self._spelt(ids)).replace(f" {CONTINUED}", "")

    def _adopt(self, tokens: list[str]) -> None:
        super()._adopt(tokens)
        self.longest_piece = max(len(piece.removeprefix(CONTINUED)) for piece in self._ids)
        self._pieces = functools.lru_cache(2**16)(self._match)  # most words come again

    def _match(self, word: str) -> tuple[int, ...]:
        if len(word) > MAX_WORD:
            return (UNKNOWN,)
        pieces: list[int] = []
        begin = 0
        while begin < len(word):
            mark = CONTINUED if begin else ""
            for end in range(min(len(word), begin + self.longest_piece), begin, -1):
                piece = self._ids.get(mark + word[begin:end])
                if piece is not None:
                    break
            else:
                return (UNKNOWN,)
            pieces.append(piece)
            begin = end
        return tuple(pieces)

    def _find(self, texts: Iterator[str]) -> list[str]:
        return subwords.train(
            self._counts(texts), self.vocabulary_size - len(SPECIAL), self.min_count
        )


TOKENIZERS: dict[str, type[Tokenizer]] = {
    "characters": CharacterTokenizer,
    "words": WordTokenizer,
    "whitespace": WhitespaceTokenizer,
    "subwords": SubwordTokenizer,
}


def tokenizer(
    tokens: str, vocabulary_size: int = 20000, *, lowercase: bool = False, min_count: int = 1
) -> Tokenizer:
    """A tokenizer of the kind that `tokens` names, not yet fitted.

    Raises:
        ValueError: If there is no such kind; the message lists those that there are.
    """
    require(tokens in TOKENIZERS, "tokens", f"one of {', '.join(TOKENIZERS)}", tokens)
    return TOKENIZERS[tokens](vocabulary_size, lowercase=lowercase, min_count=min_count)


def of(spec: VocabularySpec) -> Tokenizer:
    """The tokenizer that a pipeline's settings ask for, not yet fitted."""
    return tokenizer(
        spec.tokens, spec.vocabulary_size, lowercase=spec.lowercase, min_count=spec.min_count
    )


def checked(tokenizer: Tokenizer, spec: VocabularySpec) -> Tokenizer:
    """A tokenizer that is taken over, if it is what a pipeline's settings ask for.

    Raises:
        ValueError: If it is not.
    """
    for name in SETTINGS:
        theirs, asked = getattr(tokenizer, name), getattr(spec, name)
        require(theirs == asked, name, f"{theirs!r}, as of the tokenizer taken over", asked)
    return tokenizer


def load(folder: str | Path) -> Tokenizer:
    """Reads what `Tokenizer.save` wrote.

    Raises:
        FileNotFoundError: If the folder holds no tokenizer.
    """
    folder = Path(folder)
    made = tokenizer(**json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
    lines = (folder / "vocabulary.txt").read_bytes().decode().split("\n")[len(SPECIAL) : -1]
    made._adopt([_ESCAPE.sub(lambda found: _MEANT[found[1]], line) for line in lines])
    return made


def escaped(token: str) -> str:
    """A token on one line: a backslash and line ends within it are written as in Python."""
    return token.translate(_ESCAPED)


_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r"})
_ESCAPE = re.compile(r"\\([\\nr])")
_MEANT = {"\\": "\\", "n": "\n", "r": "\r"}
