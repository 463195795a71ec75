"""From pairs of sentences to batches for a translator."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.base import BadInputWarning
from pipelines.text.pairs import PairPipeline, PairSpec
from pipelines.text.tokenization import BEGIN, END, UNKNOWN
from tests.pipelines.conftest import lines, same_batches


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """300 pairs of sentences of different lengths, targets apart from sources."""
    draw = random.Random(0)
    rows = [
        f"s{n} {'word ' * draw.randrange(20)}.\tt{n} {'mot ' * draw.randrange(25)}!"
        for n in range(300)
    ]
    return lines(tmp_path / "pairs.txt", *rows)


def pairs(dataset: tf.data.Dataset) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All pairs of a dataset without padding, after the layout of each was checked."""
    made = []
    for inputs, targets in dataset.as_numpy_iterator():
        assert np.array_equal(inputs["target_ids"] != 0, targets != 0)
        for source, size, fed, asked in zip(*inputs.values(), targets, strict=True):
            assert (source[:size] != 0).all() and (source[size:] == 0).all()
            count = int((asked != 0).sum())
            assert fed[0] == BEGIN and asked[count - 1] == END
            assert np.array_equal(fed[1:count], asked[: count - 1])
            made.append((tuple(source[:size].tolist()), tuple(asked[: count - 1].tolist())))
    return made


@pytest.mark.parametrize("training", [False, True])
def test_every_pair_comes_once_and_encoded(data: Path, training: bool) -> None:
    """Sources, what the decoder is fed, and what it should answer one step ahead."""
    pipeline = PairPipeline(PairSpec()).fit(str(data))
    assert sum(pipeline.splits.values()) == 300 and min(pipeline.splits.values()) > 0
    rows = [row.split("\t") for row in data.read_text().splitlines()]
    for split in pipeline.splits:
        expected = [
            tuple(
                tuple(side.encode(text))
                for side, text in zip(
                    (pipeline.source, pipeline.target), rows[e.row - 1], strict=True
                )
            )
            for e in pipeline.examples
            if e.split == split
        ]
        dataset = pipeline.dataset(split, 8, training=training)
        assert dataset.element_spec == pipeline.element_spec
        assert sorted(pairs(dataset)) == sorted(expected)
        assert len([*dataset]) == int(dataset.cardinality()) == pipeline.num_batches(split, 8)


def test_both_lengths_of_a_batch_are_similar(data: Path) -> None:
    """Batches hold about as many tokens each, and little padding on either side."""
    pipeline = PairPipeline(PairSpec(validation_percent=0, testing_percent=0)).fit(str(data))
    tokens = pipeline._source_ids.lengths.sum() + pipeline._target_ids.lengths.sum() + 300
    made = [inputs for inputs, _ in pipeline.dataset("train", 16, training=True)]
    sizes = sorted(int(tf.size(x["source_ids"]) + tf.size(x["target_ids"])) for x in made)
    assert sizes[-1] <= 16 * tokens / 300
    assert sum(sizes) < 1.35 * tokens  # by the source's length alone, targets take twice the room
    assert len(made) == pipeline.num_batches("train", 16)


def test_each_side_has_its_vocabulary_from_training_alone(tmp_path: Path) -> None:
    """A word of one language is unknown to the other, and what is held out to both."""
    train = lines(tmp_path / "train.tsv", "one\tun", "two\tdeux")
    test = lines(tmp_path / "test.tsv", "three\ttrois")
    pipeline = PairPipeline(PairSpec(validation_percent=0)).fit(f"{train},{test}")
    assert sorted(pipeline.source.vocabulary[4:]) == ["one", "two"]
    assert sorted(pipeline.target.vocabulary[4:]) == ["deux", "un"]
    assert pairs(pipeline.dataset("test", 1)) == [((UNKNOWN,), (UNKNOWN,))]


def test_pairs_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    """A side that is missing, empty or too long: named, and the pair left out."""
    path = lines(
        tmp_path / "a.txt", "one\tun", "two", "three\t ", f"four\t{'x ' * 9}", "Go.\tVa !\tCC"
    )
    spec = PairSpec(max_tokens=8, validation_percent=0, testing_percent=0)
    with pytest.warns(BadInputWarning, match="3 bad inputs"):
        pipeline = PairPipeline(spec).fit(str(path))
    reasons = {where.rpartition(":")[2]: why for where, why in pipeline.bad_inputs}
    assert pipeline.splits["train"] == 2 and [*reasons] == ["2", "3", "4"]
    assert "source and target" in reasons["2"] and "`target` must not be empty" in reasons["3"]
    assert "at most 8 tokens. Received: 9" in reasons["4"]
    with pytest.raises(ValueError, match=r"a\.txt:2: .*on_bad_input=skip"):
        PairPipeline(PairSpec(on_bad_input="stop")).fit(str(path))
    with (
        pytest.warns(BadInputWarning),
        pytest.raises(ValueError, match="at least one usable pair"),
    ):
        PairPipeline().fit(str(lines(tmp_path / "b.txt", "one")))


def test_columns_and_parallel_files_are_pairs_too(tmp_path: Path) -> None:
    """Named columns of a table, and two files line by line."""
    spec = PairSpec(source_column="en", target_column="fr", validation_percent=0, testing_percent=0)
    table = lines(tmp_path / "a.csv", "fr,en", "un,one", "deux,two")
    sides = lines(tmp_path / "b.en", "one", "two"), lines(tmp_path / "b.fr", "un", "deux")
    made = [PairPipeline(spec).fit(data) for data in (str(table), f"{sides[0]}+{sides[1]}")]
    assert same_batches(*(pipeline.dataset("train", 2) for pipeline in made))
    assert made[0].source.vocabulary[4:] == ["one", "two"]


def test_same_seed_and_epoch_make_the_same_batches(data: Path) -> None:
    """A pass is a function of (seed, epoch), and passes follow each other."""
    pipeline = PairPipeline().fit(str(data))
    options = {"training": True, "seed": 1}
    count = pipeline.num_batches("train", 16)
    first = pipeline.dataset("train", 16, epoch=5, **options)
    assert same_batches(
        first, PairPipeline().fit(str(data)).dataset("train", 16, epoch=5, **options)
    )
    assert not same_batches(first, pipeline.dataset("train", 16, epoch=6, **options))
    endless = pipeline.dataset("train", 16, epoch=4, repeat=True, **options)
    assert same_batches(endless.skip(count).take(count), first)


def test_encode_is_what_evaluation_feeds(data: Path) -> None:
    """Pairs as the dataset has them; a source alone with a decoder about to begin."""
    pipeline = PairPipeline(PairSpec(tokens="characters", max_tokens=None)).fit(str(data))
    rows = data.read_text().splitlines()
    asked = [rows[e.row - 1].split("\t") for e in pipeline.examples if e.split == "test"]
    encoded = pipeline.encode(*map(tuple, asked))
    assert {value.dtype for value in encoded.values()} == {np.dtype(np.int32)}

    def unpadded(inputs: dict[str, np.ndarray]) -> list[tuple[bytes, bytes]]:
        sources = zip(inputs["source_ids"], inputs["source_lengths"], strict=True)
        begun = [ids[ids != 0].tobytes() for ids in inputs["target_ids"]]
        return [*zip([ids[:n].tobytes() for ids, n in sources], begun, strict=True)]

    fed = [pair for x, _ in pipeline.dataset("test", 4).as_numpy_iterator() for pair in unpadded(x)]
    assert sorted(unpadded(encoded)) == sorted(fed)
    sources = [source for source, _ in asked]
    assert (pipeline.encode(*sources)["target_ids"] == BEGIN).all()
    served, lengths = pipeline.graph()(sources)
    assert np.array_equal(served, encoded["source_ids"])
    assert np.array_equal(lengths, encoded["source_lengths"])
    with pytest.raises(ValueError, match="`source` must be more than whitespace"):
        pipeline.encode(" ")


def test_saved_pipeline_opens_the_same_splits(data: Path, tmp_path: Path) -> None:
    """A loaded pipeline has both vocabularies, settings and splits of the fitted one."""
    spec = PairSpec(split_salt="2", vocabulary_size=99)
    told: list[tuple[int, int]] = []
    fitted = PairPipeline(spec).fit(str(data), seed=4, progress=lambda *n: told.append(n))
    assert told[-1] == (300, 300)
    fitted.save(tmp_path / "run")
    loaded = PairPipeline.load(tmp_path / "run")
    assert loaded.spec == spec
    assert loaded.open(str(data)).examples == fitted.examples
    assert same_batches(loaded.dataset("test", 8), fitted.dataset("test", 8))
    assert len((tmp_path / "run" / "splits.csv").read_text("utf-8").splitlines()) == 301
    assert loaded.open(str(data), test_only=True).splits["test"] == 300
    with pytest.raises(ValueError, match="must be fitted or loaded"):
        PairPipeline().open(str(data))


def test_sentences_are_those_of_the_batches(data: Path) -> None:
    """References are what translators wrote, not what a tokenizer made of it."""
    pipeline = PairPipeline(PairSpec(max_tokens=20, on_bad_input="skip"))
    with pytest.warns(BadInputWarning):
        pipeline.fit(str(data))
    rows = [tuple(row.split("\t")) for row in data.read_text().splitlines()]
    for split in pipeline.splits:
        told = pipeline.sentences(split)
        assert told == [rows[e.row - 1] for e in pipeline.examples if e.split == split]
        encoded = [
            (tuple(pipeline.source.encode(s)), tuple(pipeline.target.encode(t))) for s, t in told
        ]
        assert sorted(encoded) == sorted(pairs(pipeline.dataset(split, 8)))
    with pytest.raises(ValueError, match="`split` must be one of train, validation, test"):
        pipeline.sentences("dev")


@pytest.mark.parametrize("tokens", ["words", "subwords", "characters", "whitespace"])
def test_a_translation_is_text_again(tmp_path: Path, tokens: str) -> None:
    """As the target side of the training split is written, after saving and loading too."""
    targets = ["Est-ce l'été ?", "Oui, c'est vrai.", "« Non », dit-il : voilà !"]
    if tokens == "whitespace":
        targets = ["Oui , c' est vrai .", "Non !"]
    path = lines(tmp_path / "a.tsv", *(f"{n}\t{target}" for n, target in enumerate(targets)))
    spec = PairSpec(tokens=tokens, lowercase=False, validation_percent=0, testing_percent=0)
    fitted = PairPipeline(spec).fit(str(path))
    fitted.save(tmp_path / "run")
    for pipeline in (fitted, PairPipeline.load(tmp_path / "run")):
        for target in targets:
            assert pipeline.tokenizer.spell([BEGIN, *pipeline.target.encode(target), END]) == target


def test_a_source_that_is_too_long_is_named(data: Path) -> None:
    """Longer ones were not in training; cut, they would be other sentences."""
    pipeline = PairPipeline(PairSpec(max_tokens=30)).fit(str(data))
    with pytest.raises(ValueError, match="`source` must be at most 30 tokens. Received: source=31"):
        pipeline.encode("ok", "word " * 31)
