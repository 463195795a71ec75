"""Rows of tables: CSV, TSV, JSONL and Parquet, in a stream, each bad row named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from pipelines.base import BadInputs

Row = tuple[int, tuple[str, ...]]
"""The line or row in its file, counted from one, and the fields that were asked for."""

Layout = Callable[[str, tuple[str, ...]], tuple[str, ...]]
"""A line of a file without columns as fields; fewer where some are missing."""

LONGEST_FIELD = 2**26  # characters; csv's own limit of 131,072 is less than a book


def lines(file: TextIO) -> Iterator[tuple[int, str]]:
    """The lines of a file without their ends, numbered from one."""
    for number, line in enumerate(file, 1):
        yield number, line.rstrip("\r\n")


def csv_rows(file: TextIO, path: Path, columns: tuple[str, ...], bad: BadInputs) -> Iterator[Row]:
    """Rows of comma-separated columns (RFC 4180)."""
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    places = _places(header, columns, path)
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad.add(f"{path}:{number}", f"a row must be CSV. Received: {error}.")
            continue
        if _fits(values, header, f"{path}:{number}", bad):
            yield number, tuple(values[place] for place in places)


def tsv_rows(
    file: TextIO, path: Path, columns: tuple[str, ...], headless: Layout | None, bad: BadInputs
) -> Iterator[Row]:
    """Rows of tab-separated columns, nothing quoted.

    Args:
        file: The file, from its beginning.
        path: What errors call it.
        columns: The columns that are wanted.
        headless: How to read lines where the first one does not name those columns; None where it
            must.
        bad: Takes rows that have other fields than the header.
    """
    numbered = lines(file)
    number, first = next(numbered, (1, ""))
    header = first.split("\t")
    if headless and not set(columns) <= set(header):
        yield number, headless(first, columns)
        for number, line in numbered:
            yield number, headless(line, columns)
        return
    places = _places(header, columns, path)
    for number, line in numbered:
        values = line.split("\t")
        if _fits(values, header, f"{path}:{number}", bad):
            yield number, tuple(values[place] for place in places)


def json_rows(file: TextIO, path: Path, columns: tuple[str, ...], bad: BadInputs) -> Iterator[Row]:
    """Rows of JSON objects, one a line."""
    for number, line in lines(file):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"a {type(row).__name__}")
        except ValueError as error:
            bad.add(f"{path}:{number}", f"a line must be a JSON object. Received: {error}.")
            continue
        absent = [column for column in columns if column not in row]
        if absent:
            bad.add(
                f"{path}:{number}",
                f"a line must have {' and '.join(absent)}. Received: {', '.join(row) or 'none'}.",
            )
        else:
            yield number, tuple(plain(row[column]) for column in columns)


def parquet_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """Rows of a Parquet file, a batch of them in memory at a time."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: Parquet needs the package pyarrow. Run: pip install pyarrow"
        ) from error
    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: the file must be Parquet. Received: {error}") from error
    number = 0
    with file:
        _places(file.schema_arrow.names, columns, path)
        for batch in file.iter_batches(columns=[*columns]):
            # As bytes, for pyarrow stops at the first text that is no UTF-8.
            read_columns = [
                c.cast(pa.large_binary()) if c.type in (pa.string(), pa.large_string()) else c
                for c in (batch.column(name) for name in columns)
            ]
            for values in zip(*(c.to_pylist() for c in read_columns), strict=True):
                number += 1
                yield number, tuple(map(plain, values))


def plain(value: Any) -> str:
    """A cell as text, empty where it is missing."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return "" if value is None or value != value else str(value)  # NaN is unequal to itself


def _places(header: Sequence[str], columns: tuple[str, ...], path: Path) -> list[int]:
    absent = [column for column in columns if column not in header]
    if absent:
        raise ValueError(
            f"{path}: the file must have the columns {', '.join(columns)}. Received: "
            f"{', '.join(header)}. Rename them, or name yours by the settings that end in _column."
        )
    return [header.index(column) for column in columns]


def _fits(values: list[str], header: list[str], where: str, bad: BadInputs) -> bool:
    if len(values) == len(header):
        return True
    received = "an empty line" if not any(values) else f"{len(values)}"
    bad.add(where, f"a row must have {len(header)} fields, as the header. Received: {received}.")
    return False
