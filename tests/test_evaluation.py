"""Figures are those of the model's answers, and of the model as a listener."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnapp import TASKS, Run, evaluate, predict
from rnnapp.device import Event
from rnnapp.evaluation import answer
from rnnapp.specs import ListeningSpec
from rnnapp.tasks import listening
from rnnapp.tasks.listening import (
    THRESHOLDS,
    Clips,
    Hearing,
    Truth,
    choose_threshold,
    compose,
    match,
)

from .conftest import PITCHES, RATE, clip
from .test_losses_metrics import size_of

COMMANDS = ("high", "low")
LABELS = ["_silence_", "_unknown_", *COMMANDS]


@pytest.fixture
def copied(evaluated: Run, tmp_path: Path) -> Path:
    """A copy of the evaluated run."""
    return shutil.copytree(evaluated.folder, tmp_path / "run")


def some_clips() -> Clips:
    """Two clips of each label, of two lengths."""
    generator = np.random.default_rng(0)
    targets = np.repeat(np.arange(4), 2)
    lengths = np.where(np.arange(8) % 2, 2400, 1600)
    waveforms = np.stack([clip(LABELS[t], generator) for t in targets])
    waveforms[np.arange(2400) >= lengths[:, None]] = 0
    return Clips(waveforms, lengths, targets, LABELS, RATE)


def test_figures_are_those_of_the_answers(evaluated: Run, tones: Path) -> None:
    """`evaluate` and `predict` say the same of the same files."""
    names = (tones / "testing_list.txt").read_text().split()
    answers = predict(evaluated.folder, [tones / name for name in names])
    right = [
        answer["label"] == name.split("/")[0] for answer, name in zip(answers, names, strict=True)
    ]
    figures = evaluated.metrics()["evaluation"]["test"]
    assert figures["examples"] == len(names)
    assert figures["accuracy"] == np.mean(right) > 0.9


def test_an_evaluation_adds_to_the_run(finished: Run, evaluated: Run) -> None:
    """What training wrote stays; pictures are drawn; the detector goes on to the export."""
    before, after = finished.metrics(), evaluated.metrics()
    assert after["training"] == before["training"]
    assert set(after) - set(before) == {"evaluation", "detector", "listening"}
    assert after["listening"]["test_misses"] < 0.2  # tones are easy, but it has to hear them
    for name in ("confusion_test.png", "listening_test.png"):
        assert min(size_of(evaluated.folder / name)) > 300


def test_other_data_is_all_test(copied: Path, tones: Path, tmp_path: Path) -> None:
    """Recordings from elsewhere are judged whole, under their own name, with the threshold kept."""
    before, folder = Run.open(copied).metrics(), tmp_path / "test"
    folder.symlink_to(tones)
    figures = evaluate(copied, folder)
    assert figures["examples"] == len(list(tones.glob("*/*.wav")))
    assert "test_misses" not in figures
    after = Run.open(copied).metrics()
    assert after["evaluation"].pop("data_test")["accuracy"] == figures["accuracy"]
    assert after == before


def test_folders_of_one_name_keep_their_own_figures(
    copied: Path, tones: Path, tmp_path: Path
) -> None:
    """A second folder `clips` adds its figures; the first, judged again, replaces its own."""
    for place, label in (("a", "high"), ("b", "low"), ("a", "high")):
        folder = tmp_path / place / "clips"
        if not folder.exists():
            shutil.copytree(tones / label, folder / label)
        evaluate(copied, folder)
    evaluations = Run.open(copied).metrics()["evaluation"]
    assert set(evaluations) == {"test", "data_clips", "data_clips_2"}
    assert evaluations["data_clips_2"]["data"] == str((tmp_path / "b" / "clips").resolve())


def test_other_splits_and_no_recording(copied: Path) -> None:
    """A quick look at a split does not choose a threshold."""
    values = json.loads((copied / "metrics.json").read_text())
    del values["detector"], values["listening"]
    (copied / "metrics.json").write_text(json.dumps(values))
    figures = evaluate(copied, split="validation", listen=False)
    assert figures["examples"] == 32
    assert set(Run.open(copied).metrics()["evaluation"]) == {"test", "validation"}
    assert "detector" not in Run.open(copied).metrics()


def test_listening_cannot_cost_the_figures(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips are judged first, and other splits than the test split alone."""

    def fail(*_: Any) -> None:
        raise MemoryError

    (copied / "metrics.json").unlink()
    monkeypatch.setattr(listening, "Hearing", fail)
    assert evaluate(copied, split="validation")["examples"] == 32
    with pytest.raises(MemoryError):
        evaluate(copied)
    assert set(Run.open(copied).metrics()["evaluation"]) == {"validation", "test"}


@pytest.mark.parametrize(("split", "label"), [("train", "high"), ("test", "_silence_")])
def test_without_commands_there_is_nothing_to_listen_to(
    split: str, label: str, evaluated: Run, tmp_path: Path
) -> None:
    """A split without commands leaves the clips to be judged, and says so."""
    clips = [("validation", "high"), ("test", "_unknown_"), (split, label)]
    pipeline = SimpleNamespace(clips=[SimpleNamespace(split=s, label=n) for s, n in clips])
    pipeline.splits = {"validation": 1}
    with pytest.warns(UserWarning, match="Not judged as a listener.*commands.*Received:"):
        assert evaluated.task.listen(None, pipeline, None, tmp_path, print) == {}
    some = some_clips()
    silent = dataclasses.replace(some, targets=np.zeros_like(some.targets))
    with pytest.raises(ValueError, match="`clips` must be of commands, some at least"):
        compose(silent, 4.0, np.random.default_rng(0))


@pytest.mark.parametrize("listen", [None, lambda *_: {"a stream": {"delay_ms": 3.0}}])
def test_a_task_says_what_its_listener_is_worth(
    copied: Path, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it returns joins the figures, and a task need not have one."""
    task = dataclasses.replace(TASKS["speech_commands"], listen=listen)
    monkeypatch.setitem(TASKS, "speech_commands", task)
    figures, known = evaluate(copied), Run.open(copied).metrics()
    assert figures.get("delay_ms") == (listen and 3.0)
    assert known.get("a stream") == (listen and {"delay_ms": 3.0})


def test_answers_alone_leave_the_run_as_it_was(evaluated: Run, tones: Path) -> None:
    """Figures on some other data must not stand among the run's own."""
    before = {path: path.stat().st_mtime_ns for path in evaluated.folder.rglob("*")}
    pipeline = evaluated.load_pipeline().open(str(tones))
    score = evaluated.task.score(answer(evaluated, pipeline))
    known = evaluated.metrics()["evaluation"]["test"]
    assert score == {name: known[name] for name in score}
    assert {path: path.stat().st_mtime_ns for path in evaluated.folder.rglob("*")} == before


def test_a_model_that_cannot_stream_is_evaluated_all_the_same(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clips can be judged, if not its stream."""
    from rnnapp.layers.streaming import NotCausalError, StepModel

    def refuse(self: Any, model: Any, steps: int = 1) -> None:
        raise NotCausalError("it reads backwards")

    monkeypatch.setattr(StepModel, "__init__", refuse)
    figures = evaluate(copied)
    assert figures["accuracy"] > 0.9
    assert "test_misses" not in figures


def test_wrong_use_is_named(copied: Path, tmp_path: Path) -> None:
    """A folder, a split and an unfinished run each get their own answer."""
    with pytest.raises(ValueError, match="must be a run folder, as `rnnapp train` writes it"):
        evaluate(tmp_path)
    with pytest.raises(ValueError, match="`split` must be one of train, validation, test"):
        evaluate(copied, split="tset")
    (copied / "model.keras").unlink()
    with pytest.raises(ValueError, match=f"rnnapp train speech_commands --out {copied} --resume"):
        evaluate(copied)


class Heard:
    """A recording whose commands are missed least at one threshold, another one in each split."""

    best = {"validation": 0.3, "test": 0.7}

    def __init__(self, model: None, split: str, spec: ListeningSpec, report: object) -> None:
        self.split = split

    def at(self, threshold: float) -> tuple[float, float]:
        """No false accepts, and the more misses the farther from the best threshold."""
        return 0.0, abs(threshold - self.best[self.split])

    def curve(self) -> np.ndarray:
        """`at` for each threshold."""
        return np.array([self.at(threshold) for threshold in THRESHOLDS])


def test_the_threshold_comes_from_validation(
    evaluated: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen on the test recording, it would promise what no user gets."""
    monkeypatch.setattr(listening, "Hearing", Heard)
    monkeypatch.setattr(listening.Clips, "of", lambda pipeline, split: split)
    clips = [SimpleNamespace(split=split, label="high") for split in Heard.best]
    pipeline = SimpleNamespace(clips=clips)
    figures = evaluated.task.listen(None, pipeline, evaluated.spec.evaluation, tmp_path, print)
    assert figures["detector"]["threshold"] == 0.3
    assert figures["listening"]["validation_misses"] == 0
    assert figures["listening"]["test_misses"] == pytest.approx(0.4)
    assert min(size_of(tmp_path / "listening_test.png")) > 300


def test_a_recording_is_heard_as_its_clips_are(evaluated: Run) -> None:
    """Every step's probabilities are those of the whole model on what came before."""
    clips = some_clips()
    samples, _ = compose(clips, 4.0, np.random.default_rng(0))
    model = evaluated.load_model()
    heard, step_seconds = listening._hear(model, samples[None], RATE, lambda done, total: None)
    for step in (1, 20, heard.shape[1]):
        length = round(step * step_seconds * RATE)
        logits = model.predict_on_batch([samples[None, :length], np.array([length])])
        probabilities = np.exp(logits) / np.exp(logits).sum()
        # Float32 over some hundred steps.
        np.testing.assert_allclose(heard[:, step - 1], probabilities, rtol=0, atol=1e-5)


@given(seconds=st.floats(1, 30), seed=st.integers(0, 1000))
def test_a_recording_holds_what_it_says(seconds: float, seed: int) -> None:
    """Each command stands where its truth says, alone, over the background."""
    clips = some_clips()
    samples, truths = compose(clips, seconds, np.random.default_rng(seed))
    assert len(samples) == round(seconds * RATE)
    assert {truth.label for truth in truths} <= set(COMMANDS)
    ends = [0.0, *(truth.end for truth in truths)]
    for truth, end in zip(truths, ends, strict=False):
        assert end < truth.start < truth.end <= seconds
        part = samples[round(truth.start * RATE) : round(truth.end * RATE)]
        spectrum = np.abs(np.fft.rfft(part))
        pitch = spectrum.argmax() * RATE / len(part)
        assert pitch == pytest.approx(PITCHES[truth.label], abs=RATE / len(part))


def test_a_long_recording_has_words_of_both_kinds() -> None:
    """Misses need commands to be missed, false accepts something else to be taken for them."""
    clips = some_clips()
    samples, truths = compose(clips, 60.0, np.random.default_rng(0))
    heard = np.lib.stride_tricks.sliding_window_view(np.abs(samples), 80).max(axis=1)[::80]
    sounding = np.mean(heard > 0.09)
    assert 10 < len(truths) < 30
    assert sounding > sum(t.end - t.start for t in truths) / 60  # more than the commands alone


events = st.lists(st.tuples(st.sampled_from(COMMANDS), st.integers(0, 60)), max_size=8)


@given(said=events, heard=events, tolerance=st.sampled_from([0.0, 0.5, 2.0]))
def test_matching_counts_everything_once(
    said: list[tuple[str, int]], heard: list[tuple[str, int]], tolerance: float
) -> None:
    """Every event is a find or a false accept, every command a find or a miss."""
    truths = [Truth(label, float(t), t + 1.0) for label, t in sorted(said, key=lambda x: x[1])]
    fired = [Event(label, float(t), 1.0) for label, t in sorted(heard, key=lambda x: x[1])]
    wrong, missed = match(fired, truths, tolerance)
    assert len(fired) - wrong == len(truths) - missed >= 0
    for label in COMMANDS:
        alone = match(
            [e for e in fired if e.label == label],
            [t for t in truths if t.label == label],
            tolerance,
        )
        assert alone[0] <= wrong and alone[1] <= missed
    assert match([Event(t.label, t.start + 0.5, 1.0) for t in truths], truths, tolerance)[0] == 0
    late = [Event(t.label, t.end + tolerance + 0.25, 1.0) for t in truths[-1:]]
    assert match(late, truths[-1:], tolerance) == (len(late), len(late))


@given(
    false_accepts=st.lists(st.integers(0, 50), min_size=98, max_size=98),
    misses=st.lists(st.integers(0, 20), min_size=98, max_size=98),
    limit=st.integers(0, 50),
)
def test_the_chosen_threshold_keeps_to_the_limit(
    false_accepts: list[int], misses: list[int], limit: int
) -> None:
    """Among the thresholds that let few enough through, none misses less."""
    curve = np.stack([false_accepts, misses], axis=1)
    assert len(curve) == len(THRESHOLDS)
    threshold = choose_threshold(curve, limit)
    allowed = curve[:, 0] <= limit
    chosen = threshold == THRESHOLDS
    assert chosen.sum() == 1
    if allowed.any():
        assert allowed[chosen].all() and curve[chosen, 1] == curve[allowed, 1].min()
    else:
        assert threshold == THRESHOLDS.max()


def test_figures_are_rates(evaluated: Run) -> None:
    """A recording twice as long with the same mistakes has half as many an hour."""
    hearing = Hearing.__new__(Hearing)
    hearing.clips, hearing.step_seconds, hearing.refractory = some_clips(), 0.1, 1
    quiet, loud = np.zeros((30, 4)), np.zeros((30, 4))
    loud[5:10, 2] = 1.0
    hearing.smoothed, hearing.truths = [quiet, loud], [[Truth("low", 0, 1)], []]
    for minutes in (1.0, 2.0):
        hearing.spec = dataclasses.replace(ListeningSpec(), minutes=minutes)
        assert hearing.at(0.5) == (60 / minutes, 1.0)
