"""Sequences of similar length in batches of about equal token counts, the same for a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.ahead import cores, made_ahead
from pipelines.base import SPLITS, require
from pipelines.text import store
from pipelines.text.tokenization import BEGIN, END, PADDING

_STEP = 1.1  # a bucket's longest sequence over that of the one before: at most so much padding


@dataclass(frozen=True)
class Plan:
    """Which batches a split makes.

    Args:
        rows: The examples, (examples,).
        buckets: The bucket of each, (examples,); batches are cut from examples in their order.
        sizes: Examples in each batch, (batches,).
        budget: Tokens that a batch of more than one example may have, padding included.
    """

    rows: np.ndarray
    buckets: np.ndarray
    sizes: np.ndarray
    budget: float

    def ordered(self) -> tuple[np.ndarray, np.ndarray]:
        """The examples of all batches end to end, shortest first, and the batches' sizes."""
        return self.rows[np.argsort(self.buckets, kind="stable")], self.sizes

    def shuffled(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """As `ordered`, with examples shuffled within their buckets, and then the batches.

        Args:
            seed: The run's seed.
            epoch: Which pass this is.

        Returns:
            Examples, int64 (examples,), and sizes, int64 (batches,).
        """
        draw = np.random.default_rng([seed, epoch])
        order = draw.permutation(len(self.rows))
        order = order[np.argsort(self.buckets[order], kind="stable")]
        batches = np.split(self.rows[order], np.cumsum(self.sizes)[:-1])
        shuffled = draw.permutation(len(batches))
        return np.concatenate([batches[i] for i in shuffled]), self.sizes[shuffled]


def plan(rows: np.ndarray, lengths: np.ndarray, batch_size: int) -> Plan:
    """Cuts a split into batches that hold as many tokens each, padding included.

    That many are the tokens of `batch_size` examples of mean length. Which examples share a bucket
    depends on their lengths alone, so that every pass has as many batches.

    Args:
        rows: The examples, int (examples,).
        lengths: The lengths of the one or two sequences of each, int (examples, sequences).
        batch_size: Examples of mean length in a batch.

    Returns:
        The plan.

    Raises:
        ValueError: If `batch_size` is not positive.
    """
    require(batch_size > 0, "batch_size", "a positive integer", batch_size)
    bounds = _bounds(int(lengths.max()))
    number = np.searchsorted(bounds, lengths)  # (examples, sequences)
    bucket = number[:, 0]
    for further in number.T[1:]:
        # Up and down by turns, so that neighbours differ little where the first length changes.
        turned = np.where(bucket % 2, len(bounds) - 1 - further, further)
        bucket = bucket * len(bounds) + turned
    _, first, counts = np.unique(bucket, return_index=True, return_counts=True)
    budget = batch_size * float(lengths.sum(axis=1).mean())
    sizes = _cut(bounds[number[first]], counts, budget)
    return Plan(rows.astype(np.int64), bucket, sizes, budget)


def batches(
    plan: Plan,
    load: Callable[[tf.Tensor], Any],
    *,
    training: bool,
    seed: int,
    epoch: tf.Variable | int,
    repeat: bool,
) -> tf.data.Dataset:
    """The batches of a plan.

    Args:
        plan: The plan.
        load: Makes a batch of the numbers of its examples, int64 (batch,).
        training: Shuffle as (seed, epoch) says and nothing else.
        seed: The run's seed.
        epoch: Which pass this is; a variable is read anew by each iteration.
        repeat: Go on with the passes that follow, without end.

    Returns:
        The dataset.
    """

    def order(now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return plan.shuffled(seed, int(now)) if training else plan.ordered()

    def one_pass(now: tf.Tensor) -> tf.data.Dataset:
        rows, sizes = tf.numpy_function(order, [now], (tf.int64, tf.int64))
        rows, sizes = tf.ensure_shape(rows, [None]), tf.ensure_shape(sizes, [None])
        return tf.data.Dataset.from_tensor_slices(tf.RaggedTensor.from_row_lengths(rows, sizes))

    made = passes(one_pass, epoch, repeat).map(load, num_parallel_calls=cores())
    return made_ahead(made, len(plan.sizes), repeat)


def passes(
    one_pass: Callable[[tf.Tensor], tf.data.Dataset], epoch: tf.Variable | int, repeat: bool
) -> tf.data.Dataset:
    """One pass over some data, or one after the other without end.

    Args:
        one_pass: The pass of a number, int64 ().
        epoch: The number of the first one; a variable is read anew by each iteration.
        repeat: Whether others follow.
    """
    numbers = tf.data.Dataset.range(tf.int64.max if repeat else 1)
    return numbers.flat_map(lambda after: one_pass(tf.cast(epoch, tf.int64) + after))


def shifted(targets: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What a decoder is fed, and what it should answer.

    Args:
        targets: Token ids of sentences, int32 (timesteps,).

    Returns:
        The ids behind a begin token, and those before an end token, int32 (batch, timesteps + 1).
    """
    ids = store.padded(targets)  # (batch, timesteps)
    edge = np.zeros((len(targets), 1), ids.dtype)
    fed, asked = np.hstack([edge + BEGIN, ids]), np.hstack([ids, edge + PADDING])
    lengths = np.array([len(target) for target in targets])
    asked[np.arange(len(targets)), lengths] = END
    return fed, asked


def check_split(split: str, splits: dict[str, int]) -> None:
    """Checks that a split is known and holds something.

    Raises:
        ValueError: If it does not.
    """
    require(split in SPLITS, "split", f"one of {', '.join(SPLITS)}", split)
    if not splits[split]:
        raise ValueError(
            f"The {split} split must not be empty. Received: {splits}. Add data, or change "
            "validation_percent and testing_percent."
        )


def _bounds(longest: int) -> np.ndarray:
    """The longest sequence of each bucket, int (buckets,)."""
    bounds = [1]
    while bounds[-1] < longest:
        bounds.append(max(bounds[-1] + 1, int(bounds[-1] * _STEP)))
    return np.array(bounds)


def _cut(widths: np.ndarray, counts: np.ndarray, budget: float) -> np.ndarray:
    """Sizes of batches, none of them over budget, unless it holds one example alone.

    Args:
        widths: The longest sequences of each bucket, in the order of the batches, int (buckets,
            sequences).
        counts: Examples in each bucket, (buckets,).
        budget: Tokens that a batch may have, padding included.
    """
    sizes, size, widest = [], 0, np.zeros_like(widths[0])
    for width, left in zip(widths, counts.tolist(), strict=True):
        while left:
            wider = np.maximum(widest, width)
            taken = min(left, max(int(budget / wider.sum()), 1) - size)
            if taken > 0:
                size, left, widest = size + taken, left - taken, wider
            else:
                sizes.append(size)
                size, widest = 0, np.zeros_like(width)
    return np.array([*sizes, size], np.int64)
