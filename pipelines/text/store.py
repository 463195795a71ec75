"""Many short arrays end to end in one: texts as they were read, and token ids."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

SPILL_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Ragged:
    """Rows of different length.

    Args:
        values: All rows end to end, (values,).
        begins: Where each row begins, int64 (rows,).
        ends: Where it ends, int64 (rows,).
    """

    values: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.begins)

    def __getitem__(self, row: int) -> np.ndarray:
        """One row, (values,)."""
        return self.values[self.begins[row] : self.ends[row]]

    @property
    def lengths(self) -> np.ndarray:
        """Values in each row, int32 (rows,)."""
        return (self.ends - self.begins).astype(np.int32)

    def every(self, step: int, first: int) -> Ragged:
        """Every `step`-th row from the row `first` on."""
        return Ragged(self.values, self.begins[first::step], self.ends[first::step])

    def text(self, row: int) -> str:
        """A row of bytes as the text that it was."""
        return self[row].tobytes().decode()

    def gather(self, rows: Iterable[int]) -> np.ndarray:
        """Copies rows into a batch.

        Args:
            rows: Which rows, int (batch,).

        Returns:
            The rows, padded with zeros on the right, (batch, longest); one wide at least, for
            models need a timestep.
        """
        return padded([self[row] for row in rows], self.values.dtype)


def padded(rows: list[np.ndarray], dtype: DTypeLike = np.int32) -> np.ndarray:
    """Rows of different length as one array, with zeros on the right, (rows, longest or 1)."""
    batch = np.zeros((len(rows), max([1, *map(len, rows)])), dtype)
    for out, row in zip(batch, rows, strict=True):
        out[: len(row)] = row
    return batch


def padded_with_lengths(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """As `padded`, int32, with the rows' lengths, int32 (rows,)."""
    return padded(rows), np.array([len(row) for row in rows], np.int32)


def texts(rows: Iterable[str], spill_bytes: int = SPILL_BYTES) -> Ragged:
    """Puts texts end to end as UTF-8; arguments and errors as `collect`."""
    return collect((np.frombuffer(row.encode(), np.uint8) for row in rows), np.uint8, spill_bytes)


def collect(
    rows: Iterable[Iterable[int] | np.ndarray],
    dtype: DTypeLike = np.int32,
    spill_bytes: int = SPILL_BYTES,
) -> Ragged:
    """Puts rows end to end, in memory or, when they are many, in a temporary file.

    Args:
        rows: Lists or arrays (values,), taken one at a time.
        dtype: What the values become.
        spill_bytes: Above this size, values are in a file that vanishes with the rows.

    Returns:
        The rows.

    Raises:
        OSError: If the disk is full; the message names the folder.
    """
    lengths = [0]
    with tempfile.SpooledTemporaryFile(spill_bytes, prefix="texts-") as file:
        for row in rows:
            values = np.asarray(row, dtype)
            with _full_disk_named():
                file.write(values.tobytes())
            lengths.append(len(values))
        with _full_disk_named():
            size = file.tell()
            file.flush()
        if size > spill_bytes:
            stored: np.ndarray = np.memmap(file, dtype, "r")
        else:
            file.seek(0)
            stored = np.frombuffer(file.read(), dtype)
    offsets = np.cumsum(lengths, dtype=np.int64)
    return Ragged(stored, offsets[:-1], offsets[1:])


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"Cannot spill texts to disk (set TMPDIR elsewhere): {error.strerror}"
        raise OSError(error.errno, reason, tempfile.gettempdir()) from error
