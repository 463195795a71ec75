"""Data sets of tensorflow-datasets, by its mock data: no download."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipelines.audio import NO_AUGMENTATION, AudioPipeline, AudioSpec
from pipelines.base import which_split

from .conftest import mocked

LABELS = (
    "_silence_",
    "_unknown_",
    "down",
    "go",
    "left",
    "no",
    "off",
    "on",
    "right",
    "stop",
    "up",
    "yes",
)


@pytest.fixture
def speech_commands(tmp_path: Path) -> Iterator[None]:
    """`tfds:speech_commands` as it comes, but random."""
    yield from mocked(tmp_path, "speech_commands", ("train", "validation", "test"))


@pytest.mark.usefixtures("speech_commands")
def test_official_splits_and_labels_are_kept() -> None:
    """The data set's splits stay, and each example comes once under its label."""
    spec = AudioSpec(clip_seconds=None, augmentation=NO_AUGMENTATION)
    pipeline = AudioPipeline(spec).fit("tfds:speech_commands")
    assert pipeline.labels == LABELS
    assert pipeline.splits == {"train": 80, "validation": 80, "test": 80}
    expected = {
        (e["audio"].astype(np.int16).tobytes(), len(e["audio"]))
        for e in tfds.load("speech_commands", split="test").as_numpy_iterator()
    }
    heard = set()
    for inputs, _ in pipeline.dataset("test", 16).as_numpy_iterator():
        for row, length in zip(inputs["waveform"], inputs["lengths"], strict=True):
            heard.add(((row[:length] * 32768).astype(np.int16).tobytes(), int(length)))
    assert heard == expected


@pytest.mark.usefixtures("speech_commands")
def test_words_choose_among_its_labels() -> None:
    """Other words fill `_unknown_` up, to twice as many as a word has on average."""
    spec = AudioSpec(words=("yes", "no"), unknown_ratio=2)
    pipeline = AudioPipeline(spec).fit("tfds:speech_commands")
    assert pipeline.labels == ("_silence_", "_unknown_", "yes", "no")
    train = [clip.label for clip in pipeline.clips if clip.split == "train"]
    silence, unknown, yes, no = (train.count(label) for label in pipeline.labels)
    assert unknown == yes + no and silence > 0


def test_single_split_is_hashed(tmp_path: Path) -> None:
    """A data set with but one split is split by us, the same each time."""
    for _ in mocked(tmp_path, "spoken_digit", ("train",)):
        pipeline = AudioPipeline(AudioSpec(validation_percent=30)).fit("tfds:spoken_digit")
        assert sum(pipeline.splits.values()) == 80 and min(pipeline.splits.values()) > 0
        assert all(clip.split == which_split(clip.speaker, 30, 10) for clip in pipeline.clips)


def test_data_set_without_audio_is_refused(tmp_path: Path) -> None:
    """A data set of another kind is named with the features that it has."""
    for _ in mocked(tmp_path, "mnist", ("train", "test")):
        with pytest.raises(ValueError, match=r"features audio and label.*tfds:mnist with image"):
            AudioPipeline().fit("tfds:mnist")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tensorflow-datasets, the error says what to install."""
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorflow-datasets"):
        AudioPipeline().fit("tfds:speech_commands")
