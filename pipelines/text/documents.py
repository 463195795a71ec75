"""Documents of running text in pieces that fit in memory, and where the splits part them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from pipelines.base import SPLITS, BadInputs, Split
from pipelines.text import files, sources, store, tfds
from pipelines.text.spec import CorpusSpec

LONGEST_PIECE = 2**16  # characters; there are corpora of one line
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_SPACE = re.compile(r"\s")


class Piece(NamedTuple):
    """A line, a part of a long one, or a whole document.

    Args:
        path: The file, or `tfds:NAME/SPLIT`.
        split: The split that the data name for it, or that it is in.
        text: The text, its line end included where that is text.
        ends: Whether a document ends here.
    """

    path: str
    split: Split
    text: str
    ends: bool


class Origin(NamedTuple):
    """What a split has of a file.

    Args:
        path: The file, or `tfds:NAME/SPLIT`.
        split: "train", "validation" or "test".
        documents: Documents that end there.
        tokens: Tokens, end tokens included.
        characters: Characters of text.
        digest: Of the text, so that changed data show.
    """

    path: str
    split: str
    documents: int
    tokens: int
    characters: int
    digest: str


class Documents:
    """All pieces of some data, read once, in order.

    Args:
        data: As `sources.find` takes it, or `tfds:NAME[/CONFIG]`.
        spec: The pipeline's settings.
        bad: Takes lines and rows that cannot be used.
        test_only: Puts all of it into the test split.
    """

    def __init__(self, data: str, spec: CorpusSpec, bad: BadInputs, test_only: bool) -> None:
        self._origins: list[tuple[str, Split, bool]] = []
        self._sizes: list[int] = []  # characters
        self._texts = store.texts(self._note(_read(data, spec, bad)))
        self._test_only = test_only
        named = {split for _, split, _ in self._origins}
        self._validation = 0.0 if "validation" in named else spec.validation_percent
        self._testing = 0.0 if "test" in named else spec.testing_percent

    def __len__(self) -> int:
        """How many pieces were read."""
        return len(self._origins)

    def __iter__(self) -> Iterator[Piece]:
        """The pieces with their final splits; one that a border falls into comes in parts.

        Splits that the data do not name are the last parts of the training text, by characters.
        A border is at the end of a word, or of a piece.
        """
        training = [split == "train" for _, split, _ in self._origins]
        total = sum(size for size, trained in zip(self._sizes, training, strict=True) if trained)
        train = total * (1 - (self._validation + self._testing) / 100)
        borders = [train, train + total * self._validation / 100, total]
        position, current = 0, 0
        for row, (path, split, ends) in enumerate(self._origins):
            text = self._texts.text(row)
            if self._test_only or not training[row]:
                yield Piece(path, "test" if self._test_only else split, text, ends)
                continue
            while current < 2 and position + len(text) > borders[current]:
                cut = _next_word(text, int(borders[current]) - position)
                if cut:
                    whole = cut == len(text)
                    yield Piece(path, SPLITS[current], text[:cut], ends and whole)
                    position, text, ends = position + cut, text[cut:], ends and not whole
                current += 1
            position += len(text)
            if text or ends:
                yield Piece(path, SPLITS[current], text, ends)

    def _note(self, pieces: Iterator[Piece]) -> Iterator[str]:
        for path, split, text, ends in pieces:
            self._origins.append((path, split, ends))
            self._sizes.append(len(text))
            yield text


def _next_word(text: str, place: int) -> int:
    """The first place from `place` on where a word has ended; 0 if it lies before the text."""
    found = _SPACE.search(text, place) if place > 0 else None
    return found.end() if found else len(text) if place > 0 else 0


def _read(data: str, spec: CorpusSpec, bad: BadInputs) -> Iterator[Piece]:
    columns = (spec.text_column,)
    if data.startswith(tfds.PREFIX):
        for path, _, official, fields in tfds.read(data, columns, bad):
            yield Piece(path, official, fields[0], True)
        return
    for source in sources.find(data):
        split: Split = source.split or "train"
        if source.path.suffix.lower() in _TABLES:
            for _, fields in files.read(source.path, columns, files.whole, bad, spec.encoding):
                yield Piece(str(source.path), split, fields[0], True)
        else:
            for text, ends in _document(source.path, spec, bad):
                yield Piece(str(source.path), split, text, ends)


def _document(path: Path, spec: CorpusSpec, bad: BadInputs) -> Iterator[tuple[str, bool]]:
    """The pieces of a text file, and after which of them a document ends."""
    number, ended = 1, True
    by_line = spec.document == "line"
    with files.opened(path, spec.encoding) as (file, _):
        for text in _pieces(file):
            line_ends = text.endswith("\n")
            if not files.encodable(text):
                bad.add(f"{path}:{number}", files.fault((text,), ("text",)) or "")
                text = ""
            text = text.removesuffix("\n") if by_line else text
            blank = not text.strip()
            if text and not (by_line and blank):
                ended = by_line and line_ends
                yield text, ended
            elif by_line and line_ends and not ended:  # the line's beginning came before
                ended = True
                yield "", True
            number += line_ends
    if not ended:
        yield "", True


def _pieces(file: TextIO) -> Iterator[str]:
    """The lines of a file, and long lines in parts of whole words; every line end is `\\n`."""
    rest = ""
    while block := file.readline(LONGEST_PIECE):
        block, rest = rest + block, ""
        if block.endswith(("\r", "\n")):
            block = block.rstrip("\r\n") + "\n"
        else:
            words = block.rfind(" ") + 1
            block, rest = (block[:words], block[words:]) if words else (block, "")
        if block:
            yield block
    if rest:
        yield rest
