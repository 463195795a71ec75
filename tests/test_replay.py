"""The sequences that prove an export hold what a model is made for, at its own window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audio import AudioPipeline
from pipelines.audio_spec import AudioSpec
from pipelines.text.pairs import PairPipeline
from pipelines.text.spec import PairSpec
from rnnapp import Run
from rnnapp.replay import Replay, by_turns

from .conftest import RATE, SECONDS


def test_replay_keeps_what_exports_are_proved_with(finished: Run, tmp_path: Path) -> None:
    """Validation sequences as the model hears them, to the eleven bits of float16."""
    replay = Replay.load(finished.folder / "replay.npz")
    assert replay.sequences.dtype == np.float32
    assert replay.time == round(SECONDS * RATE) == replay.lengths.max()
    assert len(replay.targets) == 32
    assert [set(replay.targets[i : i + 4]) for i in range(0, 32, 4)] == 8 * [{0, 1, 2, 3}]
    drawn = np.random.default_rng(0).uniform(-1, 1, (3, 50)).astype(np.float32)
    Replay(drawn, np.array([50, 3, 1], np.int32), np.array([0, 1, 2])).save(tmp_path / "r.npz")
    loaded = Replay.load(tmp_path / "r.npz")
    np.testing.assert_allclose(loaded.sequences, drawn, rtol=2**-11)
    assert loaded.lengths.tolist() == [50, 3, 1]


def test_features_beyond_half_precision_stay(tmp_path: Path) -> None:
    """Of 65,505 and more, float16 makes infinity, which a model answers with no number."""
    features = np.array([[[1e5, -3e38, 1.0]]], np.float32)
    Replay(features, np.array([1], np.int32), np.array([0])).save(tmp_path / "r.npz")
    np.testing.assert_array_equal(Replay.load(tmp_path / "r.npz").sequences, features)


def test_what_judges_has_taught_nothing(finished: Run) -> None:
    """Integers look good on the very sequences that their ranges were learnt from."""
    judging, calibrating = (
        Replay.load(finished.folder / name) for name in ("replay.npz", "calibration.npz")
    )
    assert calibrating.time == judging.time
    assert len(calibrating.targets) == 64
    known = {row.tobytes() for row in judging.sequences}
    assert known.isdisjoint(row.tobytes() for row in calibrating.sequences)


def test_texts_go_along(reader: Run, reviews: Path) -> None:
    """What a server gets is raw; its tokens are those that the model was trained on."""
    replay = Replay.load(reader.folder / "replay.npz")
    assert replay.texts is not None
    pipeline = reader.load_pipeline()
    encoded = pipeline.encode(*replay.texts.raw)
    for lengths in (replay.lengths, replay.texts.lengths):
        np.testing.assert_array_equal(encoded["lengths"], lengths)
    for *rows, length in zip(
        encoded["token_ids"], replay.sequences, replay.texts.token_ids, replay.lengths, strict=True
    ):
        for row in rows:
            np.testing.assert_array_equal(row[:length], rows[0][:length])


@given(
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    count=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_labels_take_turns(targets: list[int], count: int, seed: int) -> None:
    """A certificate that replays silence alone proves little of the commands."""
    labels = np.array(targets)
    chosen = by_turns(labels, count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(labels))
    left = set(range(len(labels)))
    while chosen:  # each turn takes one of every label that is left
        turn = [chosen.pop(0) for _ in range(min(len(chosen), len({targets[i] for i in left})))]
        assert len({targets[i] for i in turn}) == len(turn)
        left -= set(turn)


@pytest.mark.parametrize(
    ("clip_seconds", "time", "lengths"), [(0.25, 2000, {2000}), (None, 1200, {400, 1200})]
)
def test_replay_has_the_window_of_the_model(
    clip_seconds: float | None, time: int, lengths: set[int], tmp_path: Path
) -> None:
    """It becomes the window of `predict` on a device, which cuts what is longer."""
    for label in ("high", "low"):
        (tmp_path / label).mkdir()
        for name, samples in (("t", 1200), ("t2", 700), ("v", 400), ("v2", 1600)):
            path = tmp_path / label / f"{name}_nohash_0.wav"
            soundfile.write(path, np.full(samples, 0.1), RATE)
    listed = "\n".join(f"{a}/{b}_nohash_0.wav" for a in ("high", "low") for b in ("v", "v2"))
    (tmp_path / "validation_list.txt").write_text(listed)
    (tmp_path / "testing_list.txt").touch()
    spec = AudioSpec(sample_rate=RATE, clip_seconds=clip_seconds)
    replay = Replay.draw(AudioPipeline(spec).fit(str(tmp_path)), "validation", 4, seed=0)
    assert replay.sequences.shape == (4, time) and replay.time == time
    assert set(replay.lengths) == lengths
    assert sorted(np.count_nonzero(replay.sequences, axis=1)) == 2 * [400] + 2 * [min(time, 1600)]


def test_texts_that_look_like_files_are_texts(tmp_path: Path) -> None:
    """A training must not end with the error of a file that nobody meant."""
    rows = "".join(f"file{number}.txt\tfichier{number}.txt\n" for number in range(80))
    (tmp_path / "pairs.tsv").write_text(rows)
    pipeline = PairPipeline(PairSpec(tokens="characters")).fit(str(tmp_path / "pairs.tsv"))
    replay = Replay.draw(pipeline, "validation", 20, 0)
    assert replay.texts is not None and all(text.endswith(".txt") for text in replay.texts.raw)
    np.testing.assert_array_equal(replay.texts.lengths, replay.lengths)
    assert replay.of_tokens and set(replay.targets[:, 0]) != {0}
