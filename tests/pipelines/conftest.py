"""Folders of tiny recordings, and what a pipeline makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from pipelines.audio_spec import NO_AUGMENTATION, AudioSpec

if TYPE_CHECKING:
    import tensorflow as tf

RATE = 1000  # a low rate makes tiny data; nothing here depends on it


def plain(**options: object) -> AudioSpec:
    """Settings without augmentation for recordings at a low rate."""
    return AudioSpec(**{"sample_rate": RATE, "augmentation": NO_AUGMENTATION} | options)


def record(path: Path, samples: np.ndarray) -> None:
    """Writes samples as a 16-bit file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, subtype="PCM_16")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 clips of two words, 0.1 to 1 s long; the first sample tells which clip it is."""
    draw = np.random.default_rng(0)
    for word in ("yes", "no"):
        for speaker in range(30):
            samples = draw.uniform(-0.5, 0.5, draw.integers(100, 1001))
            record(tmp_path / "data" / word / f"{speaker:08x}_nohash_0.wav", samples)
    return tmp_path / "data"


def batches(dataset: tf.data.Dataset) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All of a dataset as NumPy: (waveform, lengths, labels)."""
    return [(x["waveform"], x["lengths"], y) for x, y in dataset.as_numpy_iterator()]


def lines(path: Path, *rows: str | bytes) -> Path:
    """Writes rows as lines of a text file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(r.encode() + b"\n" if isinstance(r, str) else r for r in rows))
    return path


def same_batches(one: tf.data.Dataset, other: tf.data.Dataset) -> bool:
    """Whether two datasets of `(inputs, targets)` are bit-identical."""
    first, second = ([*dataset.as_numpy_iterator()] for dataset in (one, other))
    return len(first) == len(second) and all(
        np.array_equal(a[1], b[1]) and all(np.array_equal(a[0][k], b[0][k]) for k in a[0])
        for a, b in zip(first, second, strict=True)
    )


def mocked(folder: Path, name: str, splits: tuple[str, ...]) -> Iterator[None]:
    """Mock data of 80 examples a split for a data set with these official splits."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=folder)
    builder.info.set_splits(
        tfds.core.SplitDict(
            [
                tfds.core.SplitInfo(
                    name=split, shard_lengths=[80], num_bytes=1, filename_template=None
                )
                for split in splits
            ]
        )
    )
    Path(builder.data_dir).mkdir(parents=True)
    builder.info.write_to_directory(builder.data_dir)
    with tfds.testing.mock_data(num_examples=80, data_dir=folder):
        yield
