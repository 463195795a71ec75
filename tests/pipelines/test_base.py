"""What all pipelines share: buckets of similar length, and the count of bad inputs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipelines.base import BadInputs, BadInputWarning, bucket_boundaries, bucketed_batches


def test_buckets_count_their_batches() -> None:
    """The announced number of batches is the number that TensorFlow makes."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        lengths = draw.integers(1, 50, draw.integers(1, 90)).astype(np.int32)
        boundaries = bucket_boundaries(lengths)
        assert len(boundaries) <= 7 and boundaries == sorted(set(boundaries))
        made = tf.data.Dataset.from_tensor_slices(lengths).bucket_by_sequence_length(
            lambda n: n, boundaries or [99], [4] * (len(boundaries or [99]) + 1)
        )
        assert len(list(made)) == bucketed_batches(lengths, boundaries, 4)
    assert bucket_boundaries(np.full(9, 7)) == []


def test_bad_inputs_warn_once_for_many() -> None:
    """A warning shows five and counts the rest."""
    bad = BadInputs("skip")
    for i in range(9):
        bad.add(f"{i}.wav", "the file must be good.")
    with pytest.warns(BadInputWarning, match=r"9 bad inputs(.|\n)*4\.wav(.|\n)*and 4 more"):
        bad.warn()
    bad.warn(since=9)
