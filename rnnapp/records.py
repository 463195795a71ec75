"""Files of answers, a record for each input, that a later call can go on with."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FIELDS = ("input", "label", "probability", "text", "error")  # columns of a CSV file
_CODING = ("utf-8", "surrogateescape")  # whatever bytes a path has


@dataclass(frozen=True)
class _Form:
    """How records are written.

    Args:
        head: What a file begins with.
        written: A record of an answer.
        read: What a record says, `input` at least.
        is_whole: Whether some lines are all of a record.
    """

    head: bytes
    written: Callable[[dict[str, Any]], bytes]
    read: Callable[[str], dict[str, Any]]
    is_whole: Callable[[bytes], bool]


def _json_line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, ensure_ascii=False).encode(*_CODING) + b"\n"


def _csv_row(values: Sequence[Any]) -> bytes:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow(values)
    return row.getvalue().encode(*_CODING)


def _csv_record(answer: dict[str, Any]) -> bytes:
    share = answer["probabilities"][answer["label"]] if "label" in answer else None
    return _csv_row([{"probability": share, **answer}.get(name) for name in FIELDS])


def _csv_read(record: str) -> dict[str, Any]:
    values = next(csv.reader(io.StringIO(record, newline="")))
    return {name: value for name, value in zip(FIELDS, values, strict=True) if value}


_FORMS = {
    ".jsonl": _Form(b"", _json_line, json.loads, lambda lines: lines.endswith(b"\n")),
    ".csv": _Form(
        _csv_row(FIELDS),
        _csv_record,
        _csv_read,
        # Quotes come in pairs, and a line may end between two.
        lambda lines: lines.endswith(b"\n") and lines.count(b'"') % 2 == 0,
    ),
}


class Records:
    """A file of answers, written as they come.

    Args:
        path: `.jsonl` for a JSON object a line; `.csv` for the columns `FIELDS`.
        inputs: What is answered, in its order.
        resume: Whether the file may be there, with the answers to the first of the inputs. A record
            that was cut short is taken away.

    Attributes:
        answered: How many records hold answers.
        failed: How many say why an input has none.

    Raises:
        ValueError: If the file has another ending, or holds something else.
        FileExistsError: If it is there and must not be.
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path, inputs: Sequence[str], resume: bool = False) -> None:
        if path.suffix.lower() not in _FORMS:
            raise ValueError(f"`out` must end in one of {', '.join(_FORMS)}. Received: {path}")
        if path.exists() and not resume:
            raise FileExistsError(
                f"{path} exists. Go on with it by --resume, or name another file."
            )
        self._path, self._form = path, _FORMS[path.suffix.lower()]
        self.answered = self.failed = 0
        if path.exists():
            os.truncate(path, self._read(inputs))
        # Unbuffered: each record is written at once.
        self._file = path.open("ab", buffering=0)
        if not self._file.tell():
            self._file.write(self._form.head)

    def add(self, answer: dict[str, Any]) -> None:
        """Writes the next answer down."""
        self._file.write(self._form.written(answer))
        self._count(answer)

    def _count(self, answer: dict[str, Any]) -> None:
        self.failed += "error" in answer
        self.answered += "error" not in answer

    def _read(self, inputs: Sequence[str]) -> int:
        """Counts the records that are there, and says where the last whole one ends."""
        end = 0
        for number, record in enumerate(self._whole()):
            if number or not self._form.head:
                self._check(record, inputs)
            elif record != self._form.head:
                raise self._foreign(record)
            end += len(record)
        return end

    def _whole(self) -> Iterator[bytes]:
        record = b""
        with self._path.open("rb") as file:
            for line in file:
                record += line
                if self._form.is_whole(record):
                    yield record
                    record = b""

    def _check(self, record: bytes, inputs: Sequence[str]) -> None:
        try:
            answer = self._form.read(record.decode(*_CODING))
            name = answer["input"]
        except (ValueError, LookupError, TypeError) as error:
            raise self._foreign(record) from error
        number = self.answered + self.failed
        if [name] != list(inputs[number : number + 1]):
            wanted = repr(inputs[number]) if number < len(inputs) else "nothing more"
            raise ValueError(
                f"{self._path} must hold answers to the same inputs, to be gone on with: as number "
                f"{number + 1}, {wanted}. Received: {name!r}"
            )
        self._count(answer)

    def _foreign(self, record: bytes) -> ValueError:
        return ValueError(
            f"{self._path} must hold answers as `rnnapp predict --out` writes them. "
            f"Received: {record[:60]!r}"
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
