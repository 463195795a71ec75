"""What every pipeline shares: its contract, its answer to bad input, its buckets of lengths."""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Policy = Literal["skip", "stop"]
_BUCKETS = 2**27 - 1  # as the Speech Commands data set splits itself
Progress = Callable[[int, int], None]
"""Called with how many are done and how many there are."""


class Pipeline(Protocol):
    """What a task may rely on: batches padded on the right, and one transformation throughout."""

    @property
    def element_spec(self) -> Any:
        """The `tf.TypeSpec`s of a batch: (inputs, targets)."""

    @property
    def splits(self) -> Mapping[str, int]:
        """How many examples each split has."""

    @property
    def bad_inputs(self) -> list[tuple[str, str]]:
        """What was skipped, as (where, reason)."""

    def fit(self, data: str, seed: int = 0, progress: Progress | None = None) -> Pipeline:
        """Reads `data`, splits it, and learns the fitted state from the training split alone."""

    def open(
        self, data: str, *, test_only: bool = False, progress: Progress | None = None
    ) -> Pipeline:
        """Reads `data` under the state that an earlier fit found."""

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
        """Batches of a split; in training shuffled and augmented as (seed, epoch) says."""

    def num_batches(self, split: str, batch_size: int) -> int:
        """How many batches a pass over a split has."""

    def encode(self, *raw: Any) -> Any:
        """The inputs of a batch made of `raw`, as training would see it."""

    def save(self, folder: str | Path) -> None:
        """Writes the fitted state without the data, and `splits.csv` with a line an example.

        A resumed run compares the lines with what it was begun with.
        """

    @classmethod
    def load(cls, folder: str | Path) -> Pipeline:
        """Reads what `save` wrote."""


class BadInputWarning(UserWarning):
    """Some inputs were left out or changed; the message names them."""


class BadInputs:
    """Collects inputs that cannot be used, or stops at the first, as the policy says.

    Args:
        policy: "skip" collects, "stop" raises.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.found: list[tuple[str, str]] = []

    def add(self, where: str, reason: str) -> None:
        """Records one bad input.

        Args:
            where: The file, with `:line` where it has lines.
            reason: What it must be, and what was received.

        Raises:
            ValueError: If the policy is "stop".
        """
        if self.policy == "stop":
            raise ValueError(
                f"{where}: {reason} Mend or remove it, or set on_bad_input=skip to go on without."
            )
        self.found.append((where, reason))

    def warn(self, since: int = 0) -> None:
        """Sums up in one warning what was skipped from the `since`-th record on."""
        found = self.found[since:]
        if found:
            shown = "\n".join(f"  {where}: {reason}" for where, reason in found[:5])
            rest = f"\n  and {len(found) - 5} more" if len(found) > 5 else ""
            warnings.warn(
                f"{len(found)} bad inputs were skipped:\n{shown}{rest}", BadInputWarning, 2
            )


class Fitted(ABC):
    """What pipelines share whose state is learnt from the data that `fit` reads.

    Args:
        policy: What bad input leads to.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._bad = BadInputs(policy)

    @property
    @abstractmethod
    def fitted(self) -> bool:
        """Whether the state is known."""

    @property
    def bad_inputs(self) -> list[tuple[str, str]]:
        """What was skipped, as (where, reason)."""
        return self._bad.found

    def open(self, data: str, *, test_only: bool = False, progress: Progress | None = None) -> Self:
        """Reads data under the state that an earlier fit found.

        Args:
            data: As in `fit`.
            test_only: Puts all of it into the test split, to evaluate on other data.
            progress: Called with (done, total) examples.

        Returns:
            The pipeline itself.

        Raises:
            FileNotFoundError: If a file or folder is absent.
            ValueError: If the pipeline is not fitted, or nothing in `data` can be used.
        """
        if not self.fitted:
            raise ValueError("The pipeline must be fitted or loaded before `open`.")
        return self._reread(data, test_only, progress)

    def _reread(self, data: str, test_only: bool, progress: Progress | None) -> Self:
        """Reads data, with none that was bad so far."""
        self._bad = BadInputs(self._policy)
        self._read(data, test_only, progress)
        return self

    @abstractmethod
    def _read(self, data: str, test_only: bool, progress: Progress | None) -> None:
        """Reads data; the state is learnt where it is not known."""


def require(condition: bool, name: str, must: str, received: object) -> None:
    """Raises the project's one form of error for a setting.

    Args:
        condition: What has to hold.
        name: The setting's name.
        must: What it must be, as in "must be ...".
        received: What was given.

    Raises:
        ValueError: If `condition` is false.
    """
    if not condition:
        raise ValueError(f"`{name}` must be {must}. Received: {name}={received!r}")


def which_split(key: str, validation_percent: float, testing_percent: float) -> str:
    """The split that the hash of a key falls into, the same on every machine and for ever.

    Args:
        key: What must be in one split alone: a speaker, a text.
        validation_percent: Share of the validation split.
        testing_percent: Share of the test split.
    """
    digest = int(hashlib.sha1(key.encode()).hexdigest(), 16)
    percent = digest % (_BUCKETS + 1) * (100.0 / _BUCKETS)
    if percent < validation_percent:
        return "validation"
    return "test" if percent < validation_percent + testing_percent else "train"


def bucket_boundaries(lengths: np.ndarray, buckets: int = 8) -> list[int]:
    """Boundaries that share sequences out evenly among buckets of similar length.

    Args:
        lengths: Length of every sequence, int (examples,).
        buckets: How many buckets there may be at most.

    Returns:
        Upper bounds, exclusive, of all buckets but the last; empty where all lengths are equal.
    """
    shares = np.linspace(0, 1, buckets + 1)[1:-1]
    inner = np.unique(np.quantile(lengths, shares, method="higher"))
    return [int(b) for b in inner if lengths.min() < b]


def bucketed_batches(lengths: np.ndarray, boundaries: list[int], batch_size: int) -> int:
    """How many batches `bucket_by_sequence_length` makes of sequences of these lengths."""
    sizes = np.bincount(np.digitize(lengths, boundaries), minlength=len(boundaries) + 1)
    return int(np.sum(-(-sizes // batch_size)))
