"""A stream of tokens in rows that are read side by side, window after window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.base import require


@dataclass(frozen=True)
class Windows:
    """Predictions of a stream laid out in rows, and cut into windows.

    A prediction is of a token from those before it: a stream has one less than tokens.

    Args:
        predictions: Predictions that are laid out.
        rows: Rows of them.
        row_length: Predictions in a row; the last rows may have fewer.
        width: Predictions in a window; the last window of a row may have fewer.
        spare: Predictions that are left out.
    """

    predictions: int
    rows: int
    row_length: int
    width: int
    spare: int = 0

    def __len__(self) -> int:
        """How many windows each row has."""
        return -(-self.row_length // self.width)

    def cut(
        self, stream: np.ndarray, number: int, start: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One window of every row.

        Args:
            stream: Token ids, int32 (tokens,).
            number: Which window.
            start: Predictions that are left out before the first; the other spare ones are last.

        Returns:
            Token ids (rows, width), lengths (rows,) and the tokens that follow each id (rows,
            width), int32, padded with zeros on the right.
        """
        inside = number * self.width + np.arange(self.width)
        places = self.row_length * np.arange(self.rows)[:, None] + inside  # (rows, width)
        real = (inside < self.row_length) & (places < self.predictions)
        places = np.where(real, start + places, 0)
        ids, targets = np.where(real, stream[places], 0), np.where(real, stream[places + 1], 0)
        return ids, real.sum(axis=1, dtype=np.int32), targets


def all_of(tokens: int, rows: int, width: int) -> Windows:
    """Windows that hold every prediction of a stream exactly once.

    Args:
        tokens: Tokens in the stream.
        rows: Rows to lay it out in.
        width: Predictions in a window.
    """
    require(rows > 0, "batch_size", "a positive integer", rows)
    return Windows(tokens - 1, rows, -(-(tokens - 1) // rows), width)


def full_ones(tokens: int, rows: int, width: int) -> Windows:
    """Windows without padding; arguments as `all_of`.

    Raises:
        ValueError: If the stream does not fill one window of each row.
    """
    require(rows > 0, "batch_size", "a positive integer", rows)
    row_length = (tokens - 1) // rows // width * width
    if not row_length:
        raise ValueError(
            f"The training text must hold batch_size x sequence_length = {rows} x {width} tokens "
            f"at least. Received: {tokens - 1}. Lower either, or add text."
        )
    predictions = rows * row_length
    return Windows(predictions, rows, row_length, width, tokens - 1 - predictions)
