"""The translation task from a file of pairs to translations, figures and pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pipelines.text.pairs import PairPipeline
from rnnapp import overrides, plots, tasks, training
from rnnapp.device.beam_search import Hypothesis
from rnnapp.runs import Run
from rnnapp.tasks import translation
from rnnapp.tasks.translation import TASK, Translations

WORDS = {
    "one": "un",
    "two": "deux",
    "three": "trois",
    "red": "rouge",
    "blue": "bleu",
    "dog": "chien",
}
TINY = (
    *("units=32", "embedding_dim=16", "batch_size=16", "epochs=12", "learning_rate=0.01"),
    *("dropout=0", "label_smoothing=0", "max_sentences=12", "pictures=2", "beam_size=3"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words told backwards in another language, a few sources with two translations."""
    draw, rows = np.random.default_rng(0), []
    sources = {" ".join(draw.choice([*WORDS], draw.integers(2, 6))) for _ in range(400)}
    for number, source in enumerate(sorted(sources)):
        said = " ".join(WORDS[word] for word in source.split()[::-1])
        rows += [f"{source}.\t{said} !", *([f"{source}.\t{said}."] if number % 5 == 0 else [])]
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[keras.Model, PairPipeline, Any]:
    """A model that was compiled as every run's is, and its pipeline and spec."""
    spec = TASK.spec(str(data), TINY)
    pipeline = TASK.pipeline(spec.pipeline).fit(str(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.TASKS, TASK.name, TASK)
        model = training.compiled(Run(tmp_path_factory.mktemp("run"), spec), pipeline)
    size = spec.train.batch_size
    model.fit(
        pipeline.dataset("train", size, training=True, repeat=True),
        steps_per_epoch=pipeline.num_batches("train", size),
        epochs=spec.train.epochs,
        verbose=0,
        shuffle=False,
    )
    return model, pipeline, spec


@pytest.fixture(scope="module")
def answered(trained: tuple[keras.Model, PairPipeline, Any]) -> Translations:
    """What the trained model says on the test split."""
    model, pipeline, spec = trained
    return translation.answers(
        model, pipeline, "test", "test", spec.evaluation, lambda done, total: None
    )


def test_figures_are_of_the_sources_of_the_split(
    trained: tuple[keras.Model, PairPipeline, Any], answered: Translations
) -> None:
    """Each once, drawn by the seed, with all of its references as they were written."""
    model, pipeline, spec = trained
    pairs = pipeline.sentences("test")
    assert len(answered.sources) == len(set(answered.sources)) == 12
    assert answered.num_sources == len({source for source, _ in pairs}) > 12
    for source, references in zip(answered.sources, answered.references, strict=True):
        assert references == [target for other, target in pairs if other == source]
    figures = TASK.score(answered)
    assert figures["sentences"] == 12 and figures["references"] == sum(
        map(len, answered.references)
    )
    assert figures["bleu"] > 60 and figures["accuracy"] > 0.8  # it has learnt
    assert figures["bleu"] > figures["bleu_single"]
    again = model.evaluate(pipeline.dataset("test", 16), verbose=0, return_dict=True)
    assert figures["perplexity"] == pytest.approx(again["perplexity"], rel=1e-5)
    other = dataclasses.replace(spec.evaluation, seed=1)
    drawn = translation.answers(model, pipeline, "test", "test", other, lambda *_: None)
    assert drawn.sources != answered.sources


def test_pictures_have_the_words_on_their_axes(answered: Translations, tmp_path: Path) -> None:
    """As many as were asked for; none of a model without attention."""
    pictures = TASK.plot(answered, tmp_path)
    assert [path.name for path in pictures] == ["attention_test_1.png", "attention_test_2.png"]
    assert all(path.stat().st_size > 5000 for path in pictures)
    blind = [[dataclasses.replace(best, attention=None)] for (best,) in answered.found]
    without = dataclasses.replace(answered, found=blind)
    assert TASK.plot(without, tmp_path) == []


def test_answers_are_for_people(trained: tuple[keras.Model, PairPipeline, Any]) -> None:
    """Text in the target's spelling; the best first, and the same alone and in a batch."""
    model, pipeline, spec = trained
    asked = ["two red dog.", "one blue.", "three three two one dog red."]
    answers = TASK.decode(pipeline, translation.ask(model, pipeline, asked, spec.evaluation))
    assert answers[0]["translation"] in ("chien rouge deux !", "chien rouge deux.")
    for source, answer in zip(asked, answers, strict=True):
        scores = [answer["score"], *(other["score"] for other in answer["alternatives"])]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        (alone,) = TASK.decode(
            pipeline, translation.ask(model, pipeline, [source], spec.evaluation)
        )
        assert alone["translation"] == answer["translation"]
        assert alone["score"] == pytest.approx(answer["score"], abs=1e-4)


def test_bad_sources_are_named(trained: tuple[keras.Model, PairPipeline, Any]) -> None:
    """Empty ones, and ones longer than any in training."""
    model, pipeline, spec = trained
    with pytest.raises(ValueError, match="`source` must be more than whitespace"):
        translation.ask(model, pipeline, ["one.", " "], spec.evaluation)
    with pytest.raises(ValueError, match="`source` must be at most 50 tokens"):
        translation.ask(model, pipeline, ["one " * 60], spec.evaluation)


def test_a_picture_takes_any_script(tmp_path: Path) -> None:
    """Without a font for it, a formula in it, a space of its own, or room for it."""
    source, target = ["猫は", "$5", "_$^", "x" * 99, " "], ["кошка", "قطة", "\n", "🙂"]
    weights = np.full((4, 5), 0.2)
    picture = plots.attention(weights, source, target, tmp_path / "a.png")
    assert picture.stat().st_size > 5000


def test_the_default_data_are_made_once(tmp_path: Path) -> None:
    """Offline, and left alone where they are there."""
    told: list[int] = []
    TASK.default_data(tmp_path / "home", lambda done, total: told.append(done))
    (path,) = (tmp_path / "home").iterdir()
    first = path.read_bytes()
    TASK.default_data(tmp_path / "home", lambda done, total: told.append(done))
    assert path.read_bytes() == first and len(told) == first.count(b"\n") == 6000


def test_presets_are_settings_of_the_task() -> None:
    """Each name is known, each value fits; and specs survive their JSON."""
    for name in TASK.presets:
        spec = TASK.spec(None, [f"preset={name}"])
        assert spec != TASK.spec() and TASK.spec_from_dict(overrides.to_dict(spec)) == spec


def test_a_hypothesis_without_end_is_told(answered: Translations) -> None:
    """A search that was cut short is no translation to be silent about."""
    cut = [[Hypothesis(best.token_ids, best.score, 0.0, False, None)] for (best,) in answered.found]
    figures = TASK.score(dataclasses.replace(answered, found=cut))
    assert figures["unended"] == 12
