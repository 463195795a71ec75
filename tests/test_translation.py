"""The translation task from a file of pairs to translations, figures and pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines.base import BadInputWarning
from pipelines.text.pairs import PairPipeline
from rnnapp import overrides, plots, predict, train
from rnnapp.device.beam_search import Hypothesis
from rnnapp.runs import Run
from rnnapp.specs import DecodingSpec
from rnnapp.tasks import translation
from rnnapp.tasks.translation import TASK, Translations

Trained = tuple[keras.Model, PairPipeline, DecodingSpec]


@pytest.fixture(scope="module")
def trained(translator: Run, phrases: Path) -> Trained:
    """The trained model, its pipeline with data, and how it is asked."""
    pipeline = translator.load_pipeline().open(str(phrases))
    return translator.load_model(), pipeline, translator.spec.evaluation


@pytest.fixture(scope="module")
def answered(trained: Trained) -> Translations:
    """What the trained model says on the test split."""
    model, pipeline, spec = trained
    return translation.answers(model, pipeline, "test", "test", spec, lambda done, total: None)


def test_figures_are_of_the_sources_of_the_split(trained: Trained, answered: Translations) -> None:
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
    model.compile(loss=TASK.loss(TASK.train), metrics=list(TASK.metrics()))
    again = model.evaluate(pipeline.dataset("test", 16), verbose=0, return_dict=True)
    assert figures["perplexity"] == pytest.approx(again["perplexity"], rel=1e-5)
    other = dataclasses.replace(spec, seed=1)
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


def test_answers_are_for_people(translator: Run, trained: Trained) -> None:
    """Text in the target's spelling; the best first, and the same alone and in a batch."""
    asked = ["two red dog.", "one blue.", "three three two one dog red."]
    answers = predict(translator.folder, asked)
    assert answers[0]["text"] in ("chien rouge deux !", "chien rouge deux.")
    for source, answer in zip(asked, answers, strict=True):
        assert answer["input"] == source
        scores = [answer["score"], *(other["score"] for other in answer["alternatives"])]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        (alone,) = predict(translator.folder, [source])
        assert alone["text"] == answer["text"]
        assert alone["score"] == pytest.approx(answer["score"], abs=1e-4)
        (greedy,) = predict(translator.folder, [source], settings=["beam_size=1"])
        assert not greedy["alternatives"] and greedy["score"] <= answer["score"] + 1e-4


@pytest.mark.parametrize("exports", [False, True])
def test_bad_sources_are_named(
    translator: Run, translator_exported: Path, exports: bool, tmp_path: Path
) -> None:
    """Empty ones, and ones longer than any in training; the others are translated."""
    source = translator_exported if exports else translator.folder
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe one")
    asked = ["one.", " ", "one " * 60, str(tmp_path / "bad.txt"), "two."]
    answers = predict(source, asked)
    assert [bool(answer.get("text")) for answer in answers] == [True, False, False, False, True]
    assert "`source` must be more than whitespace" in answers[1]["error"]
    most = 6 if exports else 50  # a file's shapes are fixed, at the longest training source
    assert f"`source` must be at most {most} tokens. Received: source=60" in answers[2]["error"]
    assert "bad.txt" in answers[3]["error"]
    with pytest.raises(ValueError, match="more than whitespace"):
        predict(source, asked[:2], on_bad_input="stop")


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


def test_another_translator_goes_on_with_its_words(translator: Run, tmp_path: Path) -> None:
    """Weights mean nothing under other vocabularies, of either side."""
    (tmp_path / "more.tsv").write_text("one cat.\tchat un !\n" * 8 + "two dog.\tchien deux.\n" * 8)
    settings = [f"start={translator.folder}", "epochs=1", "learning_rate=1e-9"]
    run = train("translation", tmp_path / "more.tsv", tmp_path / "run", settings=settings)
    ours, theirs = (each.load_pipeline() for each in (run, translator))
    assert ours.vocabulary == theirs.vocabulary and "cat" not in ours.source.vocabulary
    for mine, other in zip(
        run.load_model().trainable_weights, translator.load_model().trainable_weights, strict=True
    ):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    with pytest.raises(ValueError, match="`lowercase` must be False, as of the tokenizer"):
        TASK.pipeline(dataclasses.replace(ours.spec, lowercase=True), theirs.tokenizer)


def test_unknown_words_are_counted(translator: Run) -> None:
    """A translation of something else than was said must not look like one."""
    with pytest.warns(BadInputWarning, match="2 of 6 tokens are not in the vocabulary"):
        predict(translator.folder, ["one red cat.", "cat."])
