"""From a folder of recordings to batches."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from pipelines.audio import NO_AUGMENTATION, AudioPipeline, AugmentationSpec

from .conftest import RATE, batches, plain, record

CHEAP = dataclasses.replace(NO_AUGMENTATION, gain_probability=1.0, noise_probability=1.0)


def same(one: list, other: list) -> bool:
    """Whether two lists of batches are bit-identical."""
    return len(one) == len(other) and all(
        np.array_equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("clip_seconds", [1.0, None])
def test_batches_hold_the_recordings(folder: Path, clip_seconds: float | None) -> None:
    """Every clip of a split comes once, unchanged, zeros behind it, under its label.

    Its length is its own; in a window, which a device hears to its end, the window's.
    """
    pipeline = AudioPipeline(plain(clip_seconds=clip_seconds)).fit(str(folder))
    assert pipeline.labels == ("no", "yes") and pipeline.num_classes == 2
    assert sum(pipeline.splits.values()) == 60 and min(pipeline.splits.values()) > 0
    expected = {}
    for clip in pipeline.clips:
        if clip.split == "train":
            samples = soundfile.read(clip.path, dtype="float32")[0]
            if clip_seconds:
                samples = np.pad(samples, (0, RATE - len(samples)))
            expected[samples.tobytes()] = pipeline.labels.index(clip.label)
    heard = {}
    for waveform, lengths, labels in batches(pipeline.dataset("train", 16)):
        for row, length, label in zip(waveform, lengths, labels, strict=True):
            heard[row[:length].tobytes()] = label
            assert (row[length:] == 0).all()
    assert heard == expected and len(heard) == pipeline.splits["train"]


@pytest.mark.parametrize("clip_seconds", [1.0, None])
@pytest.mark.parametrize("training", [False, True])
def test_dataset_is_as_declared(folder: Path, clip_seconds: float | None, training: bool) -> None:
    """Types, shapes and the number of batches are what the pipeline says before any is made."""
    spec = plain(clip_seconds=clip_seconds, augmentation=CHEAP)
    pipeline = AudioPipeline(spec).fit(str(folder))
    dataset = pipeline.dataset("train", 8, training=training)
    assert dataset.element_spec == pipeline.element_spec
    made = batches(dataset)
    assert len(made) == int(dataset.cardinality()) == pipeline.num_batches("train", 8)
    assert sum(len(labels) for _, _, labels in made) == pipeline.splits["train"]
    if clip_seconds:
        assert {waveform.shape[1] for waveform, _, _ in made} == {1000}


def test_clips_of_similar_length_share_a_batch(folder: Path) -> None:
    """Without a window, buckets leave less padding than batches in any order."""
    pipeline = AudioPipeline(plain(clip_seconds=None)).fit(str(folder))
    made = batches(pipeline.dataset("train", 4, training=True))
    padded = sum(waveform.size for waveform, _, _ in made)
    real = sum(int(lengths.sum()) for _, lengths, _ in made)
    assert all(waveform.shape[1] == lengths.max() for waveform, lengths, _ in made)
    assert padded < 1.25 * real  # in order of the index, the same clips take 1.6 times the room
    assert real == pipeline._store.lengths[pipeline._rows("train")].sum()


def test_same_seed_and_epoch_make_the_same_batches(folder: Path) -> None:
    """A pass is a function of (seed, epoch), augmentation included, whenever it is made."""
    spec = plain(augmentation=AugmentationSpec())
    pipeline = AudioPipeline(spec).fit(str(folder))
    again = AudioPipeline(spec).fit(str(folder))

    def made(source: AudioPipeline, seed: int, epoch: int) -> list:
        return batches(source.dataset("train", 16, training=True, seed=seed, epoch=epoch))

    first = made(pipeline, 1, 5)
    assert same(first, made(again, 1, 5))
    assert not same(first, made(pipeline, 1, 6)) and not same(first, made(pipeline, 2, 5))


def test_batches_of_a_pass_are_augmented_differently(tmp_path: Path) -> None:
    """The same clip in two batches gets two gains: the batch's number is in the seed."""
    for word in ("yes", "no"):
        for i in range(8):
            record(tmp_path / word / f"{i:08x}_nohash_0.wav", np.full(1000, 0.5))
    spec = plain(
        validation_percent=0,
        testing_percent=0,
        augmentation=dataclasses.replace(NO_AUGMENTATION, gain_probability=1.0),
    )
    pipeline = AudioPipeline(spec).fit(str(tmp_path))
    levels = [
        row[0]
        for waveform, _, _ in batches(pipeline.dataset("train", 4, training=True))
        for row in waveform
    ]
    assert len(set(levels)) == 16


@pytest.mark.parametrize("repeat", [False, True])
def test_one_dataset_serves_all_epochs_of_fit(folder: Path, repeat: bool) -> None:
    """`model.fit` iterates one dataset object; each epoch hears what its number says."""
    pipeline = AudioPipeline(plain(augmentation=CHEAP)).fit(str(folder))
    epoch = tf.Variable(2, dtype=tf.int64, trainable=False)
    count = pipeline.num_batches("train", 16)
    dataset = pipeline.dataset(
        "train", 16, training=True, seed=3, epoch=2 if repeat else epoch, repeat=repeat
    )
    heard: list[np.ndarray] = []

    class Listener(keras.Model):
        def train_step(self, data: tuple) -> dict:
            tf.numpy_function(lambda w: heard.append(w.copy()), [data[0]["waveform"]], [])
            return {"loss": tf.constant(0.0)}

    class Count(keras.callbacks.Callback):
        def on_epoch_begin(self, number: int, logs: dict | None = None) -> None:
            epoch.assign(number)

    model = Listener()
    model.compile()
    model.fit(
        dataset,
        initial_epoch=2,
        epochs=5,
        steps_per_epoch=count if repeat else None,
        verbose=0,
        callbacks=[Count()],
        shuffle=False,
    )
    alone = [
        waveform
        for number in (2, 3, 4)
        for waveform, _, _ in batches(
            pipeline.dataset("train", 16, training=True, seed=3, epoch=number)
        )
    ]
    assert len(heard) == len(alone) == 3 * count
    assert all(np.array_equal(a, b) for a, b in zip(heard, alone, strict=True))


@pytest.mark.parametrize("clip_seconds", [1.0, None])
def test_repeated_passes_follow_each_other(folder: Path, clip_seconds: float | None) -> None:
    """An endless dataset is one pass after the other, each as it would be alone."""
    spec = plain(clip_seconds=clip_seconds, augmentation=CHEAP)
    pipeline = AudioPipeline(spec).fit(str(folder))
    count = pipeline.num_batches("train", 16)
    endless = pipeline.dataset("train", 16, training=True, seed=3, epoch=2, repeat=True)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert not endless.options().autotune.enabled  # nobody waits for its thread
    alone = [
        batch
        for epoch in (2, 3)
        for batch in batches(pipeline.dataset("train", 16, training=True, seed=3, epoch=epoch))
    ]
    assert same(batches(endless.take(2 * count)), alone) and len(alone) == 2 * count


def test_evaluation_is_the_same_whatever_the_training(folder: Path) -> None:
    """Validation clips are neither shuffled nor augmented."""
    loud = AudioPipeline(plain(augmentation=AugmentationSpec())).fit(str(folder))
    quiet = AudioPipeline(plain()).fit(str(folder))
    assert same(
        batches(loud.dataset("validation", 8, seed=1, epoch=2)),
        batches(quiet.dataset("validation", 8)),
    )


def test_saved_pipeline_opens_the_same_splits(folder: Path, tmp_path: Path) -> None:
    """A loaded pipeline has the labels, settings and splits of the fitted one."""
    words = dict.fromkeys(("größe", "bed"), 5)
    for word, count in words.items():
        for i in range(count):
            record(folder / word / f"{i + 7:08x}_nohash_0.wav", np.full(100, 0.1))
    augmentation = AugmentationSpec(speed=(1, 2))
    spec = plain(words=("yes", "größe"), split_salt="2", augmentation=augmentation)
    fitted = AudioPipeline(spec).fit(str(folder), seed=4)
    fitted.save(tmp_path / "run" / "pipeline")
    loaded = AudioPipeline.load(tmp_path / "run" / "pipeline")
    assert loaded.spec == spec and loaded.labels == fitted.labels == ("_unknown_", "yes", "größe")
    assert loaded.open(str(folder)).clips == fitted.clips
    assert (tmp_path / "run/pipeline/labels.txt").read_text("utf-8").split() == [*fitted.labels]
    rows = (tmp_path / "run/pipeline/splits.csv").read_text("utf-8").splitlines()
    assert rows[0].startswith("path,label,speaker,split") and len(rows) == 1 + len(fitted.clips)


def test_whole_folder_can_be_the_test_set(folder: Path) -> None:
    """With `test_only`, every clip is tested, and in the order of the fitted labels."""
    pipeline = AudioPipeline(plain(words=("yes", "no"))).fit(str(folder))
    shutil.rmtree(folder / "no")
    pipeline.open(str(folder), test_only=True)
    assert pipeline.splits == {"train": 0, "validation": 0, "test": 30}
    labels = np.concatenate([y for _, _, y in batches(pipeline.dataset("test", 8))])
    assert (labels == 0).all()


def test_encode_is_what_evaluation_feeds(folder: Path) -> None:
    """A file and its samples are encoded to the row that the dataset makes of it."""
    pipeline = AudioPipeline(plain()).fit(str(folder))
    (waveform, lengths, _), *_ = batches(pipeline.dataset("test", 100))
    paths = [clip.path for clip in pipeline.clips if clip.split == "test"]
    for raw in (paths, [soundfile.read(path)[0] for path in paths]):
        encoded = pipeline.encode(*raw)
        assert np.array_equal(encoded["waveform"], waveform)
        assert np.array_equal(encoded["lengths"], lengths)


def test_a_sound_at_another_rate_is_as_long(folder: Path) -> None:
    """In seconds: twice the samples at twice the rate are as many in the model."""
    pipeline = AudioPipeline(plain(clip_seconds=None)).fit(str(folder))
    sound = soundfile.read(pipeline.clips[0].path)[0]
    double = pipeline.encode(np.repeat(sound, 2), sample_rate=2 * RATE)
    assert abs(int(double["lengths"][0]) - len(sound)) <= 1


def test_recorded_noise_and_rooms_are_heard(folder: Path, tmp_path: Path) -> None:
    """Folders of noise and rooms reach training, and only a noise's training stretch does."""
    record(folder / "_background_noise_" / "hum.wav", np.full(20 * RATE, 0.25))
    record(tmp_path / "more" / "rumble.wav", np.full(5 * RATE, 0.125))
    response = np.zeros(50)
    response[[10, 30]] = 0.9, 0.3
    record(tmp_path / "halls" / "hall.wav", response)
    spec = plain(
        noise=str(tmp_path / "more"), rooms=str(tmp_path / "halls"), augmentation=AugmentationSpec()
    )
    pipeline = AudioPipeline(spec).fit(str(folder))
    sources = pipeline.sources()
    hum, rumble = np.split(sources.noise.blocks.numpy(), sources.noise.first.numpy())[-2:]
    assert hum.size == 16 * RATE and (hum == 0.25 * 32768).all()  # 80 % of it
    assert rumble.size == 5 * RATE and (rumble == 0.125 * 32768).all()
    hall = sources.rooms.numpy()[-1]
    assert hall[20] / hall[0] == pytest.approx(1 / 3, abs=1e-3) and np.sum(hall != 0) == 2


def test_progress_counts_every_clip(folder: Path) -> None:
    """The callback sees each clip done, up to all."""
    seen: list[tuple[int, int]] = []
    AudioPipeline(plain()).fit(str(folder), progress=lambda *done: seen.append(done))
    assert seen == [(i + 1, 60) for i in range(60)]
