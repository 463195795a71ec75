"""Text data sets of tensorflow-datasets, by its mock data: no download."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from pipelines.text.corpus import CorpusPipeline, CorpusSpec
from pipelines.text.labelled import TextPipeline, TextSpec
from pipelines.text.pairs import PairPipeline, PairSpec
from tests.pipelines.conftest import mocked


@pytest.fixture
def imdb(tmp_path: Path) -> Iterator[None]:
    """`tfds:imdb_reviews` as it comes, but random."""
    yield from mocked(tmp_path, "imdb_reviews", ("train", "test", "unsupervised"))


@pytest.mark.usefixtures("imdb")
def test_labelled_texts_keep_their_splits() -> None:
    """The official test set stays whole, validation is hashed out of training, no more is read."""
    pipeline = TextPipeline(TextSpec(validation_percent=30)).fit("tfds:imdb_reviews")
    assert pipeline.labels == ("neg", "pos") and pipeline.splits["test"] == 80
    assert pipeline.splits["train"] + pipeline.splits["validation"] == 80
    assert pipeline.splits["validation"] > 0
    official = [*tfds.load("imdb_reviews", split="test").as_numpy_iterator()]
    expected = sorted((pipeline.tokenizer.encode(e["text"]), e["label"]) for e in official)
    fed = (
        (x["token_ids"][: x["lengths"]].tolist(), label)
        for x, label in pipeline.dataset("test", 8).unbatch().as_numpy_iterator()
    )
    assert sorted(fed) == expected
    assert {e.path for e in pipeline.examples if e.split == "test"} == {"tfds:imdb_reviews/test"}


@pytest.mark.usefixtures("imdb")
def test_wrong_features_are_named() -> None:
    """The error lists the features that there are."""
    with pytest.raises(ValueError, match="features sentence, label. Received: text, label"):
        TextPipeline(TextSpec(text_column="sentence")).fit("tfds:imdb_reviews")


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("ted_hrlr_translate/fr_to_pt", PairSpec(max_tokens=None)),
        (
            "ted_hrlr_translate/fr_to_pt",
            PairSpec(max_tokens=None, source_column="fr", target_column="pt"),
        ),
    ],
)
def test_translations_are_pairs(tmp_path: Path, name: str, spec: PairSpec) -> None:
    """The two languages of a data set, by name or in its own order."""
    for _ in mocked(tmp_path, name, ("train", "validation", "test")):
        pipeline = PairPipeline(spec).fit(f"tfds:{name}")
        assert pipeline.splits == {"train": 80, "validation": 80, "test": 80}
        first = next(iter(tfds.load(name, split="test").as_numpy_iterator()))
        rows = [*pipeline.dataset("test", 8).unbatch().as_numpy_iterator()]
        source = pipeline.source.encode(first["fr"])
        assert any(row["source_ids"][: row["source_lengths"]].tolist() == source for row, _ in rows)


def test_running_text_is_a_corpus(tmp_path: Path) -> None:
    """Each example is a document, in its official split."""
    for _ in mocked(tmp_path, "tiny_shakespeare", ("train", "validation", "test")):
        pipeline = CorpusPipeline(CorpusSpec(sequence_length=5)).fit("tfds:tiny_shakespeare")
        assert [origin.documents for origin in pipeline.origins] == [80, 80, 80]
        assert min(pipeline.splits.values()) > 80


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tensorflow-datasets, the error says what to install."""
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorflow-datasets"):
        TextPipeline().fit("tfds:imdb_reviews")
