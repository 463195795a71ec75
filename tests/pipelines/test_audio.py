"""From a folder of recordings to batches."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from pipelines import audio_store
from pipelines.audio import NO_AUGMENTATION, AudioPipeline, AudioSpec, AugmentationSpec
from pipelines.base import BadInputs, BadInputWarning, bucket_boundaries, bucketed_batches

RATE = 1000  # a low rate makes tiny data; nothing here depends on it
CHEAP = dataclasses.replace(NO_AUGMENTATION, gain_probability=1.0, noise_probability=1.0)


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
    double = pipeline.encode(np.repeat(soundfile.read(paths[0])[0], 2), sample_rate=2 * RATE)
    assert abs(int(double["lengths"][0]) - int(lengths[0])) <= 1


def test_bad_files_are_counted_and_the_run_goes_on(folder: Path) -> None:
    """Each bad file is named with its reason, the rest trains, and one warning sums up."""
    (folder / "yes" / "empty.wav").touch()
    (folder / "yes" / "text.wav").write_text("no sound")
    (folder / "no" / "gone.wav").symlink_to("nowhere")
    record(folder / "no" / "none.wav", np.zeros(0))
    with pytest.warns(BadInputWarning, match="4 bad inputs were skipped") as caught:
        pipeline = AudioPipeline(plain()).fit(str(folder))
    assert sum(pipeline.splits.values()) == 60
    assert {Path(where).name for where, _ in pipeline.bad_inputs} == {
        "empty.wav",
        "text.wav",
        "gone.wav",
        "none.wav",
    }
    assert all(why.startswith("the file must ") for _, why in pipeline.bad_inputs)
    assert str(folder / "yes" / "empty.wav") in str(caught[0].message)
    assert len(batches(pipeline.dataset("train", 8))) > 0


def test_bad_file_can_stop_the_run(folder: Path) -> None:
    """With `on_bad_input="stop"`, the first bad file is the error, with what to do."""
    (folder / "yes" / "empty.wav").touch()
    with pytest.raises(ValueError, match=r"empty\.wav: .*0 bytes.*on_bad_input=skip"):
        AudioPipeline(plain(on_bad_input="stop")).fit(str(folder))


def test_long_clips_are_cut_with_a_warning(folder: Path) -> None:
    """A recording longer than the window, of ten minutes too, keeps its loudest part."""
    samples = np.zeros(600 * RATE)
    samples[300_000:300_400] = 0.5
    record(folder / "yes" / "long.wav", samples)
    with pytest.warns(BadInputWarning, match=r"1 clips were longer than 1 s.*long\.wav"):
        pipeline = AudioPipeline(plain()).fit(str(folder))
    row = [Path(clip.path).name for clip in pipeline.clips].index("long.wav")
    kept = pipeline._store.gather(np.array([row]), RATE)[0]
    assert np.sum(kept == 16384) == 400


def test_data_that_cannot_train_is_refused(folder: Path) -> None:
    """Nothing usable, a class without training clips, an empty split: each says what to do."""
    with pytest.raises(ValueError, match=r"must have clips in the training split.*no, yes"):
        AudioPipeline(plain(validation_percent=50, testing_percent=50)).fit(str(folder))
    pipeline = AudioPipeline(plain(validation_percent=0)).fit(str(folder))
    with pytest.raises(ValueError, match=r"validation split must not be empty"):
        pipeline.dataset("validation", 8)
    with pytest.raises(ValueError, match=r"one of train, validation, test.*split='val'"):
        pipeline.dataset("val", 8)
    with pytest.raises(ValueError, match="must be fitted or loaded"):
        AudioPipeline(plain()).open(str(folder))
    for path in folder.glob("*/*.wav"):
        path.write_bytes(b"")
    with (
        pytest.warns(BadInputWarning, match="60 bad"),
        pytest.raises(ValueError, match="at least one usable clip"),
    ):
        AudioPipeline(plain()).fit(str(folder))


@pytest.mark.parametrize("setting", ["noise", "rooms"])
def test_wrong_folder_of_noise_or_rooms_is_named(folder: Path, setting: str) -> None:
    """An absent or empty folder is refused when fitting, not deep inside training."""
    augmented = {"augmentation": AugmentationSpec()}
    with pytest.raises(FileNotFoundError, match=f"`{setting}` must be a folder"):
        AudioPipeline(plain(**augmented | {setting: "gone"})).fit(str(folder))
    (folder / "yes" / "empty").mkdir()
    with pytest.raises(ValueError, match=f"`{setting}` must be.*holds none"):
        AudioPipeline(plain(**augmented | {setting: str(folder / "yes/empty")})).fit(str(folder))


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


def test_store_on_disk_equals_store_in_memory() -> None:
    """Clips that no longer fit the bound come back the same from a file."""
    draw = np.random.default_rng(0)
    clips = [draw.integers(-9, 9, size).astype(np.int16) for size in (5, 0, 9, 3, 7)]
    memory, disk = audio_store.store(clips), audio_store.store(clips, spill_bytes=20)
    assert isinstance(disk.samples, np.memmap) and not isinstance(memory.samples, np.memmap)
    rows = np.array([3, 0, 1, 4, 2])
    assert np.array_equal(memory.gather(rows, 9), disk.gather(rows, 9))
    assert memory.gather(rows, 9)[3].tolist() == [*clips[4].tolist(), 0, 0]


def test_full_disk_while_spilling_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that outgrows the disk says where, and what to do."""

    class Full:
        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audio_store.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match="set TMPDIR elsewhere.*No space left") as caught:
        audio_store.store([np.zeros(100, np.int16)], spill_bytes=20)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename


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


def test_spec_is_json_and_back() -> None:
    """Settings survive JSON, as run folders keep them."""
    spec = AudioSpec(words=("yes", "no"), augmentation=AugmentationSpec(gain_db=(-3, 3)))
    assert AudioSpec(**json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AudioSpec(sample_rate=0), "`sample_rate` must be a positive integer. Received: s"),
        (lambda: AudioSpec(clip_seconds=-1.0), "`clip_seconds` must be a positive number"),
        (lambda: AudioSpec(words=("yes", "yes")), "`words` must be distinct words"),
        (lambda: AudioSpec(validation_percent=60, testing_percent=60), "must be at most 100"),
        (
            lambda: AudioSpec(on_bad_input="ignore"),
            "one of skip, stop. Received: on_bad_input='ign",
        ),
        (
            lambda: AugmentationSpec(speed=(2.0, 1.0)),
            "`speed` must be two numbers, the lower first",
        ),
        (lambda: AugmentationSpec(speed=(0.0, 1.0)), "`speed` must be positive"),
        (lambda: AugmentationSpec(gain_probability=1.5), r"`gain_probability` must be in \[0, 1\]"),
        (lambda: AugmentationSpec(equalizer_db=-1.0), "`equalizer_db` must be zero or more"),
    ],
)
def test_wrong_setting_is_named(make: object, message: str) -> None:
    """A setting that makes no sense is refused when it is made."""
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_inputs_warn_once_for_many() -> None:
    """A warning shows five and counts the rest."""
    bad = BadInputs("skip")
    for i in range(9):
        bad.add(f"{i}.wav", "the file must be good.")
    with pytest.warns(BadInputWarning, match=r"9 bad inputs(.|\n)*4\.wav(.|\n)*and 4 more"):
        bad.warn()
    bad.warn(since=9)
