"""Reading text files of many formats as rows of fields, in a stream, each bad row named."""

from __future__ import annotations

import codecs
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

from pipelines.base import BadInputs, require
from pipelines.text import tables
from pipelines.text.tables import Layout, Row

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".zip")


def label_first(line: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """`LABEL the text`, as text and label."""
    label, text = [*line.split(maxsplit=1), "", ""][:2]
    return text, label


def tab_parted(line: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """`first<TAB>second`, and whatever stands behind a further tab left out."""
    return tuple(line.split("\t")[: len(columns)])


def whole(line: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The line as the only field."""
    return (line,)


def read(
    path: Path, columns: tuple[str, ...], layout: Layout, bad: BadInputs, encoding: str = "utf-8"
) -> Iterator[Row]:
    """Reads some columns of a file.

    CSV (RFC 4180), TSV (nothing is quoted), JSONL and Parquet have named columns; a TSV without
    the wanted names in its first line, and any other file, is read line by line by `layout`. Of a
    zip archive, its one file is read.

    Args:
        path: The file.
        columns: The names of the columns.
        layout: What a line of a file without columns holds.
        bad: Takes rows with bytes that are not in the encoding, with an empty or missing field,
            or out of form.
        encoding: The file's encoding.

    Yields:
        The usable rows.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If a column is absent; the message names those that there are.
    """
    if path.stat().st_size == 0:
        bad.add(str(path), "the file must hold text. Received: an empty file, 0 bytes.")
        return
    for number, fields in _rows(path, columns, layout, bad, encoding):
        reason = fault(fields, columns)
        if reason:
            bad.add(f"{path}:{number}", reason)
        else:
            yield number, fields


def read_parallel(
    paths: tuple[Path, Path], columns: tuple[str, ...], bad: BadInputs, encoding: str = "utf-8"
) -> Iterator[Row]:
    """Reads two files of which each line of one belongs to that line of the other.

    Args:
        paths: The files.
        columns: What the lines are called.
        bad: Takes unusable lines, and the end of the shorter file.
        encoding: The files' encoding.

    Yields:
        The usable lines, side by side.
    """
    with opened(paths[0], encoding) as (left, _), opened(paths[1], encoding) as (right, _):
        for number, lines in enumerate(zip_longest(left, right, fillvalue=""), 1):
            if "" in lines:  # a line has its end, so that this is beyond the last
                short, long = paths if lines[0] == "" else paths[::-1]
                must = f"the file must have as many lines as {long}"
                bad.add(str(short), f"{must}. Received: {number - 1}.")
                return
            fields = tuple(line.rstrip("\r\n") for line in lines)
            reason = fault(fields, columns)
            if reason:
                bad.add(f"{paths[0]}:{number}", reason)
            else:
                yield number, fields


def document(path: Path, bad: BadInputs, encoding: str = "utf-8") -> str | None:
    """The whole text of a file, every line end as `\\n`, if it can be used."""
    with opened(path, encoding) as (file, _):
        text = file.read().replace("\r\n", "\n").replace("\r", "\n")
    reason = fault((text,), ("text",))
    if reason:
        bad.add(str(path), reason)
        return None
    return text


def text_of(raw: str | Path, encoding: str = "utf-8") -> str:
    """A text, or what a path of a `.txt` file holds; one word that ends so is a path.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty or not in that encoding.
    """
    file = str(raw).endswith(".txt") and (len(str(raw).split()) == 1 or Path(raw).is_file())
    named = isinstance(raw, Path) or file
    return (document(Path(raw), BadInputs("stop"), encoding) or "") if named else str(raw)


def usable(raw: str | Path, encoding: str = "utf-8") -> str:
    """A text that holds something; arguments and errors as `text_of`.

    Raises:
        ValueError: If it holds nothing but whitespace.
    """
    text = text_of(raw, encoding)
    require(bool(text.strip()), "text", "more than whitespace", text)
    return text


def fault(fields: tuple[str, ...], columns: tuple[str, ...]) -> str | None:
    """What is wrong with the fields of a row, if anything."""
    for column, field in zip(columns, fields, strict=False):
        if not field or field.isspace():
            return f"`{column}` must not be empty. Received: {field!r}."
        if not encodable(field):
            return f"`{column}` must be in the encoding that is set. Received: {_shown(field)}."
    if len(fields) < len(columns):
        return f"a row must hold {' and '.join(columns)}. Received: {_shown(' '.join(fields))}."
    return None


def encodable(text: str) -> bool:
    """Whether a text is valid Unicode: what did not decode has become lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def opened(path: Path, encoding: str = "utf-8") -> Iterator[tuple[TextIO, str]]:
    """A file's lines with their ends as they are, and its name: in an archive, the one inside."""
    encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    if path.suffix.lower() != ".zip":
        with open(path, encoding=encoding, errors="surrogateescape", newline="") as file:
            yield file, path.name
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if _is_data(name)]
        require(len(names) == 1, "data", f"an archive of one file of data ({path})", names)
        with archive.open(names[0]) as raw:
            yield io.TextIOWrapper(raw, encoding, "surrogateescape", newline=""), names[0]


def _is_data(name: str) -> bool:
    """Whether a file in an archive holds data: no folder, nothing hidden, nothing of a system's."""
    path = Path(name)
    return not (name.endswith("/") or path.name[0] in "._" or path.parts[0] == "__MACOSX")


def _rows(
    path: Path, columns: tuple[str, ...], layout: Layout, bad: BadInputs, encoding: str
) -> Iterator[Row]:
    if path.suffix.lower() == ".parquet":
        yield from tables.parquet_rows(path, columns)
        return
    with opened(path, encoding) as (file, name):
        match Path(name).suffix.lower():
            case ".csv":
                yield from tables.csv_rows(file, path, columns, bad)
            case ".tsv":
                headless = layout if layout is tab_parted else None
                yield from tables.tsv_rows(file, path, columns, headless, bad)
            case ".jsonl" | ".ndjson":
                yield from tables.json_rows(file, path, columns, bad)
            case _:
                for number, line in tables.lines(file):
                    yield number, layout(line, columns)


def _shown(text: str) -> str:
    """The beginning of a text; bytes that did not decode show as surrogates."""
    return ascii(text[:40])
