"""What pipelines of separate examples share: those of similar length are batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.base import SPLITS, Fitted
from pipelines.text import batches
from pipelines.text.index import Example

Load = Callable[[tf.Tensor], Any]
"""Makes a batch of the numbers of its examples, int64 (batch,)."""


class Bucketed(Fitted):
    """A pipeline whose batches hold about as many tokens each, of examples of similar length.

    Attributes:
        examples: Where each came from, and its split.
    """

    examples: list[Example]

    @property
    def splits(self) -> dict[str, int]:
        """How many examples each split has."""
        return {split: len(self._rows(split)) for split in SPLITS}

    def dataset(
        self,
        split: str,
        batch_size: int,
        *,
        training: bool = False,
        seed: int = 0,
        epoch: tf.Variable | int = 0,
        repeat: bool = False,
    ) -> tf.data.Dataset:
        """Batches of a split, as `element_spec` has them, examples of similar lengths together.

        Args:
            split: "train", "validation" or "test".
            batch_size: Examples of mean length in a batch; there are more of shorter ones, and
                fewer of longer ones, so that batches hold about as many tokens each.
            training: Shuffle as (seed, epoch) says and nothing else.
            seed: The run's seed.
            epoch: Which pass this is. A variable (on the CPU) is read anew by each iteration, so
                that one dataset object serves all epochs.
            repeat: Go on with the passes that follow, without end and without a pause between
                two, for `fit(steps_per_epoch=pipeline.num_batches(...))`.

        Returns:
            A dataset of (inputs, targets).

        Raises:
            ValueError: If the split is unknown or empty.
        """
        return batches.batches(
            self._plan(split, batch_size),
            self._loader(),
            training=training,
            seed=seed,
            epoch=epoch,
            repeat=repeat,
        )

    def num_batches(self, split: str, batch_size: int) -> int:
        """How many batches a pass over a split has.

        Raises:
            ValueError: If the split is unknown or empty.
        """
        return len(self._plan(split, batch_size).sizes)

    def texts(self, split: str, batch_size: int) -> Iterator[str]:
        """The raw texts that a model reads of a split, in the order of `dataset` without training.

        Args:
            split: "train", "validation" or "test".
            batch_size: As in `dataset`.
        """
        rows, _ = self._plan(split, batch_size).ordered()
        yield from map(self._text, rows)

    @abstractmethod
    def _lengths(self) -> np.ndarray:
        """Lengths of the sequences of each example: int (examples, sequences)."""

    @abstractmethod
    def _loader(self) -> Load:
        """What makes batches."""

    @abstractmethod
    def _text(self, row: int) -> str:
        """What a model reads of an example."""

    def _rows(self, split: str) -> np.ndarray:
        return np.flatnonzero([example.split == split for example in self.examples])

    def _plan(self, split: str, batch_size: int) -> batches.Plan:
        batches.check_split(split, self.splits)
        rows = self._rows(split)
        return batches.plan(rows, self._lengths()[rows], batch_size)
