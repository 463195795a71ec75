"""The task from text to text: it learns, goes on where it was killed, and leaves a plain model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp import Run, metrics, predict, tasks, train
from rnnapp.exporting.runtimes import RUNTIMES
from rnnapp.generation import GenerationSpec
from rnnapp.layers.streaming import streams
from rnnapp.tasks import language_model
from rnnapp.tasks.base import Evaluation

from .conftest import TINY_WRITER
from .test_losses_metrics import size_of
from .test_training import Killed, history, kill_in_epoch

TASK = language_model.TASK
RESUMED = (*TINY_WRITER, "epochs=3", "optimizer=asgd", "averaging_patience=1", "learning_rate=4")


@pytest.fixture(scope="module")
def evaluated_model(writer: Run, tales: Path) -> Evaluation:
    """Its answers to the test split."""
    model, pipeline = writer.load_model(), writer.load_pipeline().open(str(tales))
    assert TASK.answers
    settings = TASK.evaluation_spec
    return TASK.answers(model, pipeline, "test", "test", settings, lambda *_: None)


def test_the_grammar_is_learnt(evaluated_model: Evaluation) -> None:
    """In seconds, far below what counts of words know; the figures are of one and the same sum."""
    pipeline, figures = evaluated_model.pipeline, TASK.score(evaluated_model)
    batches = pipeline.dataset("train", 1).as_numpy_iterator()
    seen = np.concatenate([targets[targets != 0] for _, targets in batches])
    counts = np.bincount(seen, minlength=len(pipeline.vocabulary)) + 1
    unigram = -np.log(counts / counts.sum())[evaluated_model.targets].mean()
    assert figures["perplexity"] < np.exp(unigram) / 3
    assert figures["perplexity"] == pytest.approx(np.exp(figures["nats_per_token"]))
    assert figures["tokens"] == pipeline.splits["test"] == len(evaluated_model.targets)
    bits = figures["nats_per_token"] * figures["tokens"] / np.log(2)
    assert figures["bits_per_character"] == pytest.approx(bits / pipeline.characters["test"])


def test_the_best_epoch_is_the_model(writer: Run, tales: Path) -> None:
    """What is left is what validation chose, a plain Keras model that can be run step by step."""
    model = writer.load_model()
    assert type(model) is keras.Model or type(model).__name__ == "Functional"
    assert streams(model) and [x.name for x in model.inputs] == ["token_ids", "lengths"]
    rows = history(writer.folder)
    figures = writer.metrics()["training"]
    assert figures["val_loss"] == min(float(row["val_loss"]) for row in rows)
    assert figures["parameters"] == model.count_params()


def test_pictures_show_the_text(evaluated_model: Evaluation, tmp_path: Path) -> None:
    """Words side by side, and long texts cut."""
    (picture,) = TASK.plot(evaluated_model, tmp_path)
    assert min(size_of(picture)) > 300


def test_it_writes_tales(evaluated_model: Evaluation) -> None:
    """Of the words that it has read, and greedily in the order that it learnt."""
    assert TASK.writer
    spec = GenerationSpec(temperature=0, max_tokens=40, stop_at_end=False)
    writer = TASK.writer(evaluated_model.model, evaluated_model.pipeline, spec)
    (answer,) = writer.answers(["Once there"])
    text = answer["text"].removeprefix("Once there")
    assert text.startswith((" is ", " are some ")) and len(text.split()) == 40


def test_a_killed_run_goes_on_to_the_same_weights(
    tales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States, averages, dropped weights and all: to the bit the same."""
    whole = train(TASK.name, tales, tmp_path / "whole", settings=RESUMED)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in_epoch(3, patch)
        train(TASK.name, tales, tmp_path / "killed", settings=RESUMED)
    assert len(history(tmp_path / "killed")) == 2
    resumed = train(TASK.name, out=tmp_path / "killed", resume=True)
    assert history(resumed.folder) == history(whole.folder)
    for ours, theirs in zip(resumed.load_model().weights, whole.load_model().weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)


def test_weights_are_averaged_or_it_is_said(
    tales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that knows no averages must not train by half of an algorithm."""
    monkeypatch.setitem(tasks.TASKS, TASK.name, dataclasses.replace(TASK, trainer=None))
    with pytest.raises(ValueError, match="`optimizer` must be adamw for language_model"):
        train(TASK.name, tales, tmp_path / "run", settings=RESUMED)


def test_default_data_are_made_once(tmp_path: Path) -> None:
    """Offline, and large enough for the default batches."""
    told: list[tuple[int, int]] = []
    for _ in range(2):
        TASK.default_data(tmp_path / "tales", lambda *done: told.append(done))
    files = list((tmp_path / "tales").iterdir())
    assert [file.name for file in files] == ["tales.txt"] and told[-1] == (200_000, 200_000)
    before = told.copy()
    TASK.default_data(tmp_path / "tales", lambda *done: told.append(done))
    assert told == before


@pytest.mark.parametrize("preset", TASK.presets)
def test_presets_are_settings(preset: str) -> None:
    """Each name in them is one of a setting, and is not ambiguous."""
    spec = TASK.spec(None, [f"preset={preset}"])
    assert spec.model != TASK.model


@pytest.mark.parametrize("settings", [["temperature=0"], ["temperature=1.2", "top_k=5"]])
def test_a_device_writes_what_the_run_writes(
    settings: list[str], writer: Run, writer_exported: Path
) -> None:
    """Token by token, without TensorFlow, from prompts with and without unknown words."""
    settings = [*settings, "seed=7", "max_tokens=40"]
    prompts = ["Once there", "", "the old king"]
    ours, theirs = (
        predict(source, prompts, settings=settings) for source in (writer.folder, writer_exported)
    )
    assert ours == theirs
    for prompt, answer in zip(prompts, ours, strict=True):
        assert answer["text"].startswith(prompt) and len(answer["text"]) > len(prompt)


def test_settings_are_for_who_has_them(evaluated: Run) -> None:
    """A temperature that nobody heeds is a misunderstanding."""
    with pytest.raises(ValueError, match="`settings` must be none: this task's answers have none"):
        predict(evaluated.folder, ["a.wav"], settings=["temperature=0"])


def test_a_server_says_what_follows_raw_texts(writer: Run, writer_exported: Path) -> None:
    """Behind an end token, as running text has it; an empty text is a beginning."""
    texts, pipeline = ["Once there", "", "the old"], writer.load_pipeline()
    inputs = pipeline.encode(*texts)
    logits = writer.load_model().predict_on_batch(inputs)
    last = logits[np.arange(3), inputs["lengths"] - 1]
    with RUNTIMES["tf_c_api"].load(writer_exported / "serving" / "1") as served:
        raw = np.array([text.encode() for text in texts], object)
        outputs = served.run("serving_default", text=raw)
    np.testing.assert_allclose(outputs["probabilities"], metrics.softmax(last), atol=1e-5)
    assert outputs["label"][0].decode() in ("is", "are")
