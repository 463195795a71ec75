"""Batches that are made side by side, and ahead of whoever takes them."""

from __future__ import annotations

import os

import tensorflow as tf

AHEAD = 4  # batches


def cores() -> int:
    """How many batches are made side by side: the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def made_ahead(dataset: tf.data.Dataset, count: int, repeat: bool) -> tf.data.Dataset:
    """Declares how many batches a dataset has, and has some of them made ahead.

    Nothing is tuned meanwhile: what tunes is a thread that looks up every minute, and whoever drops
    an iterator waits for it now and then (seen for 53 s at the end of a training, TensorFlow 2.21).

    Args:
        dataset: The batches.
        count: How many there are in a pass.
        repeat: Whether passes go on without end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    known = tf.data.INFINITE_CARDINALITY if repeat else count
    counted = dataset.apply(tf.data.experimental.assert_cardinality(known))
    return counted.prefetch(AHEAD).with_options(options)
