"""Which examples there are in some data, and the split of each."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.base import BadInputs, Split, which_split
from pipelines.text import files, sources, tfds
from pipelines.text.sources import Source
from pipelines.text.spec import PairSpec, TextSpec
from pipelines.text.tables import Layout, Row

_Found = tuple[str, int, Split | None, tuple[str, ...]]  # path, row, named split, fields


@dataclass(frozen=True, slots=True)
class Example:
    """Where one example came from, and where it goes.

    Args:
        path: The file, or `tfds:NAME/SPLIT`.
        row: Its line or row there; 0 for a whole file.
        split: "train", "validation" or "test".
        label: Its class; "" for a pair.
        digest: Of what it holds, so that changed data show.
    """

    path: str
    row: int
    split: str
    label: str
    digest: str


def index(
    data: str,
    spec: TextSpec | PairSpec,
    columns: tuple[str, ...],
    layout: Layout,
    bad: BadInputs,
    *,
    test_only: bool = False,
) -> Iterator[tuple[Example, tuple[str, ...]]]:
    """Reads and splits the examples of some data.

    Splits that the data name are kept. The others are taken out of the rest by a hash of the first
    column's text, letter case and spacing aside: the same texts are never in two of them.

    Args:
        data: As `sources.find` takes it, or `tfds:NAME[/CONFIG]`.
        spec: The pipeline's settings.
        columns: The columns of text, and of the label where there are labels.
        layout: What a line of a file without columns holds.
        bad: Takes what cannot be used.
        test_only: Puts all of it into the test split.

    Yields:
        The usable examples, each with its fields.
    """
    labelled = isinstance(spec, TextSpec)
    if data.startswith(tfds.PREFIX):
        named: set[Split | None] = {*tfds.splits(data)}
        found: Iterable[_Found] = tfds.read(data, columns, bad)
    else:
        every = sources.find(data, labelled=labelled)
        named = {source.split for source in every}
        found = (
            (str(source.path), number, source.split, fields)
            for source in every
            for number, fields in _rows(source, columns, layout, bad, spec.encoding)
        )
    validation = 0.0 if "validation" in named else spec.validation_percent
    testing = 0.0 if "test" in named else spec.testing_percent
    for path, number, given, fields in found:
        split: str = given or "train"
        if test_only:
            split = "test"
        elif split == "train":
            split = which_split(spec.split_salt + key(fields[0]), validation, testing)
        label = " ".join(fields[1].split()) if labelled else ""
        yield Example(path, number, split, label, digest(*fields)), fields


def key(text: str) -> str:
    """A text as duplicates are told by: composed, case folded, one space between words."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def digest(*fields: str) -> str:
    """A short name of what some fields hold."""
    return hashlib.sha1("\0".join(fields).encode()).hexdigest()[:12]


def write(examples: Iterable[Example], path: Path) -> None:
    """Writes `splits.csv`, a line an example."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(field.name for field in dataclasses.fields(Example))
        rows.writerows(dataclasses.astuple(example) for example in examples)


def _rows(
    source: Source, columns: tuple[str, ...], layout: Layout, bad: BadInputs, encoding: str
) -> Iterator[Row]:
    if source.label is not None:
        text = files.document(source.path, bad, encoding)
        if text is not None:
            yield 0, (text, source.label)
    elif source.beside is not None:
        yield from files.read_parallel((source.path, source.beside), columns, bad, encoding)
    else:
        yield from files.read(source.path, columns, layout, bad, encoding)
