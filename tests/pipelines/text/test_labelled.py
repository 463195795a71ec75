"""From labelled texts to batches of token ids."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.base import BadInputWarning
from pipelines.text import batches, store
from pipelines.text.corpus import CorpusPipeline
from pipelines.text.labelled import TextPipeline, TextSpec
from pipelines.text.pairs import PairPipeline
from pipelines.text.tokenization import UNKNOWN
from tests.pipelines.conftest import lines, same_batches

WORDS = [
    "the",
    "film",
    "was",
    "not",
    "so",
    "good",
    "and",
    "I",
    "had",
    "seen",
    "it",
    "before",
    "with",
    "my",
    "old",
    "uncle",
]


def sentences(count: int, longest: int = 40) -> list[str]:
    """Distinct sentences of drawn words, from one to `longest` of them."""
    draw = random.Random(0)
    return [
        " ".join([f"n{number}", *draw.choices(WORDS, k=draw.randrange(longest))])
        for number in range(count)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """300 sentences of two labels."""
    rows = (f"{'pos' if n % 3 else 'neg'} {text}" for n, text in enumerate(sentences(300)))
    return lines(tmp_path / "data.txt", *rows)


def examples(dataset: tf.data.Dataset) -> list[tuple[tuple[int, ...], int]]:
    """All sequences of a dataset without padding, each with its label."""
    made = []
    for inputs, labels in dataset.as_numpy_iterator():
        for row, length, label in zip(*inputs.values(), labels, strict=True):
            assert (row[length:] == 0).all() and (row[:length] != 0).all()
            made.append((tuple(row[:length].tolist()), int(label)))
    return made


@pytest.mark.parametrize("training", [False, True])
def test_every_text_comes_once_and_encoded(data: Path, training: bool) -> None:
    """Each text of a split under its label, whatever batch it is in, zeros behind it."""
    pipeline = TextPipeline(TextSpec()).fit(str(data))
    assert pipeline.labels == ("neg", "pos") and pipeline.num_classes == 2
    assert sum(pipeline.splits.values()) == 300 and min(pipeline.splits.values()) > 0
    rows = data.read_text().splitlines()
    for split in pipeline.splits:
        expected = [
            (tuple(pipeline.tokenizer.encode(rows[e.row - 1][4:])), pipeline.labels.index(e.label))
            for e in pipeline.examples
            if e.split == split
        ]
        dataset = pipeline.dataset(split, 8, training=training)
        assert sorted(examples(dataset)) == sorted(expected)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_dataset_is_as_declared(data: Path, training: bool, batch_size: int) -> None:
    """Types, shapes and the number of batches are what is said before any is made."""
    pipeline = TextPipeline(TextSpec(testing_percent=0)).fit(str(data))
    dataset = pipeline.dataset("train", batch_size, training=training)
    assert dataset.element_spec == pipeline.element_spec
    made = [*dataset]
    assert len(made) == int(dataset.cardinality()) == pipeline.num_batches("train", batch_size)
    with pytest.raises(ValueError, match="test split must not be empty"):
        pipeline.dataset("test", batch_size)
    with pytest.raises(ValueError, match=r"one of train, validation, test.*split='val'"):
        pipeline.dataset("val", batch_size)
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        pipeline.dataset("train", 0)


def test_batches_hold_about_as_many_tokens_each(data: Path) -> None:
    """As many as `batch_size` texts of mean length, padding included, and little of that."""
    pipeline = TextPipeline(TextSpec(testing_percent=0, validation_percent=0)).fit(str(data))
    budget = 16 * pipeline._ids.lengths.mean()
    made = [inputs for inputs, _ in pipeline.dataset("train", 16, training=True)]
    sizes = sorted(int(tf.size(inputs["token_ids"])) for inputs in made)
    assert sizes[-1] <= budget
    # All but the last one cut are full up to one text and one bucket's step.
    assert sizes[1] > 0.9 * (budget - 40)
    assert sum(sizes) < 1.15 * pipeline._ids.lengths.sum()
    assert len({inputs["token_ids"].shape[0] for inputs in made}) > 3


@pytest.mark.parametrize("sides", [1, 2])
def test_plans_keep_their_budget(sides: int) -> None:
    """For any lengths: every example once, none over budget but alone, as many batches a pass."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        lengths = draw.integers(1, draw.integers(2, 300), (draw.integers(1, 200), sides))
        plan = batches.plan(np.arange(len(lengths)), lengths, int(draw.integers(1, 20)))
        assert plan.sizes.sum() == len(lengths) and plan.sizes.min() > 0
        for rows, sizes in (plan.ordered(), plan.shuffled(1, 2)):
            assert sorted(rows) == [*range(len(lengths))]
            assert sorted(sizes) == sorted(plan.sizes)
            parts = np.split(rows, np.cumsum(sizes)[:-1])
            budget = plan.budget
            assert all(
                len(part) == 1 or lengths[part].max(axis=0).sum() * len(part) <= budget
                for part in parts
            )


def test_same_seed_and_epoch_make_the_same_batches(data: Path) -> None:
    """A pass is a function of (seed, epoch), whenever it is made; evaluation of nothing."""
    pipeline, again = (TextPipeline(TextSpec()).fit(str(data)) for _ in range(2))

    def made(source: TextPipeline, seed: int, epoch: int) -> tf.data.Dataset:
        return source.dataset("train", 16, training=True, seed=seed, epoch=epoch)

    first = made(pipeline, 1, 5)
    assert same_batches(first, made(again, 1, 5))
    assert not same_batches(first, made(pipeline, 1, 6))
    assert not same_batches(first, made(pipeline, 2, 5))
    assert same_batches(
        pipeline.dataset("train", 16), again.dataset("train", 16, seed=3, epoch=tf.Variable(9))
    )


def test_passes_follow_each_other(data: Path) -> None:
    """An endless dataset is pass after pass; a variable of the epoch is read by each iteration."""
    pipeline = TextPipeline(TextSpec()).fit(str(data))
    options = {"training": True, "seed": 3}
    count = pipeline.num_batches("train", 16)
    endless = pipeline.dataset("train", 16, epoch=2, repeat=True, **options)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert not endless.options().autotune.enabled  # nobody waits for its thread
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    once = pipeline.dataset("train", 16, epoch=epoch, **options)
    for number in range(2):
        epoch.assign(2 + number)
        assert same_batches(endless.skip(number * count).take(count), once)


@pytest.mark.parametrize("tokens", ["characters", "words"])
def test_encode_is_what_evaluation_feeds(data: Path, tmp_path: Path, tokens: str) -> None:
    """Texts, their files and the graph give the rows that the dataset has, cut alike."""
    spec = TextSpec(tokens=tokens, max_tokens=20, vocabulary_size=60)
    with pytest.warns(BadInputWarning, match=r"texts were longer than 20 tokens.*data\.txt:\d"):
        pipeline = TextPipeline(spec).fit(str(data))
    rows = data.read_text().splitlines()
    texts = [rows[e.row - 1][4:] for e in pipeline.examples if e.split == "test"]
    fed = sorted(ids for ids, _ in examples(pipeline.dataset("test", 4)))
    encoded = pipeline.encode(*texts)
    assert {value.dtype for value in encoded.values()} == {np.dtype(np.int32)}
    batch = tf.data.Dataset.from_tensors((encoded, np.zeros(len(texts), np.int32)))
    assert sorted(ids for ids, _ in examples(batch)) == fed
    served, lengths = pipeline.graph()(texts)
    assert np.array_equal(served, encoded["token_ids"])
    assert np.array_equal(lengths, encoded["lengths"])
    path = lines(tmp_path / "one.txt", texts[0])
    for raw in (path, str(path)):
        assert np.array_equal(*(pipeline.encode(x)["token_ids"] for x in (raw, texts[0] + "\n")))
    with pytest.raises(ValueError, match="`text` must be more than whitespace"):
        pipeline.encode("fine", " \n")


def test_more_padding_changes_nothing(data: Path) -> None:
    """A text's ids and length are its own, whatever shares its batch."""
    pipeline = TextPipeline(TextSpec()).fit(str(data))
    alone = pipeline.encode("the film")
    beside = pipeline.encode("the film", " ".join(WORDS * 9))
    assert beside["lengths"][0] == alone["lengths"][0] == 2
    assert (beside["token_ids"][0, :2] == alone["token_ids"][0]).all()
    assert (beside["token_ids"][0, 2:] == 0).all()


def test_vocabulary_and_labels_come_from_training_alone(tmp_path: Path) -> None:
    """What only validation and test say is unknown, and their unseen labels are bad inputs."""
    train = lines(tmp_path / "train.txt", "0 alpha beta", "1 gamma beta")
    valid = lines(tmp_path / "dev.txt", "1 delta beta", "2 alpha")
    test = lines(tmp_path / "test.txt", "0 epsilon epsilon epsilon")
    with pytest.warns(BadInputWarning, match=r"dev\.txt:2: the label must be one of 0, 1\. Rec"):
        pipeline = TextPipeline().fit(f"{train},{valid},{test}")
    assert sorted(pipeline.vocabulary[4:]) == ["alpha", "beta", "gamma"]
    assert pipeline.splits == {"train": 2, "validation": 1, "test": 1}
    ((ids, _),) = examples(pipeline.dataset("test", 4))
    assert ids == (UNKNOWN,) * 3
    assert pipeline.bad_inputs[0][0] == f"{valid}:2"
    with pytest.raises(ValueError, match=r"dev\.txt:2: .*on_bad_input=skip"):
        TextPipeline(TextSpec(on_bad_input="stop")).fit(f"{train},{valid},{test}")


def test_saved_pipeline_opens_the_same_splits(data: Path, tmp_path: Path) -> None:
    """A loaded pipeline has the labels, vocabulary, settings and splits of the fitted one."""
    spec = TextSpec(tokens="characters", split_salt="2", max_tokens=None)
    fitted = TextPipeline(spec).fit(str(data), seed=4)
    folder = tmp_path / "run" / "pipeline"
    fitted.save(folder)
    loaded = TextPipeline.load(folder)
    assert loaded.spec == spec and loaded.labels == fitted.labels
    assert loaded.vocabulary == fitted.vocabulary
    assert loaded.open(str(data)).examples == fitted.examples
    assert same_batches(loaded.dataset("test", 8), fitted.dataset("test", 8))
    rows = (folder / "splits.csv").read_text("utf-8").splitlines()
    assert rows[0] == "path,row,split,label,digest" and len(rows) == 301
    assert sum(loaded.open(str(data), test_only=True).splits.values()) == loaded.splits["test"]
    with pytest.raises(ValueError, match="must be fitted or loaded"):
        TextPipeline().open(str(data))
    data.write_text(data.read_text().replace("n7 ", "m7 "))
    loaded.open(str(data)).save(tmp_path / "other")
    changed = (tmp_path / "other" / "splits.csv").read_text("utf-8").splitlines()
    assert sum(a != b for a, b in zip(rows, changed, strict=True)) == 1


def test_documents_in_folders_of_labels(tmp_path: Path) -> None:
    """A whole file is one text, of many lines, under the label that its folder names."""
    for split, count in (("train", 30), ("test", 5)):
        for n in range(count):
            lines(tmp_path / split / ("pos", "neg")[n % 2] / f"{n}.txt", f"text {split}", f"of {n}")
    (tmp_path / "train" / "pos" / "empty.txt").touch()
    with pytest.warns(BadInputWarning, match=r"empty\.txt: `text` must not be empty"):
        pipeline = TextPipeline().fit(str(tmp_path))
    assert pipeline.splits["test"] == 5 and pipeline.splits["validation"] > 0
    assert pipeline.labels == ("neg", "pos")
    assert {len(ids) for ids, _ in examples(pipeline.dataset("train", 8))} == {4}


def test_data_that_cannot_train_are_refused(tmp_path: Path) -> None:
    """A single class, and nothing at all, are said as what they are."""
    with pytest.raises(ValueError, match=r"two classes in the training split.*: 1, in"):
        TextPipeline().fit(str(lines(tmp_path / "a.txt", *(f"1 {text}" for text in sentences(9)))))
    with (
        pytest.warns(BadInputWarning, match="an empty file, 0 bytes"),
        pytest.raises(ValueError, match="Received: none, in 0 texts"),
    ):
        TextPipeline().fit(str(lines(tmp_path / "b.txt")))


def test_long_documents_and_progress(tmp_path: Path) -> None:
    """10,000 tokens go through whole where nothing limits them; each text is told."""
    rows = [f"{n % 2} {'word ' * 10_000}{n}" for n in range(4)]
    told: list[tuple[int, int]] = []
    spec = TextSpec(max_tokens=None, validation_percent=0, testing_percent=0)
    pipeline = TextPipeline(spec).fit(
        str(lines(tmp_path / "a.txt", *rows)), progress=lambda *done: told.append(done)
    )
    assert told == [(n + 1, 4) for n in range(4)]
    assert {len(ids) for ids, _ in examples(pipeline.dataset("train", 2))} == {10_001}


def test_an_absent_file_is_no_full_disk(tmp_path: Path) -> None:
    """Rows are read while they are stored: what reading says is not what storing says."""
    for pipeline in (TextPipeline(), PairPipeline(), CorpusPipeline()):
        with pytest.raises(FileNotFoundError, match="nowhere.tsv"):
            pipeline.fit(str(tmp_path / "nowhere.tsv"))


def test_rows_spill_to_disk() -> None:
    """Above a size, texts and ids are in a file, and all is the same."""
    rows = [np.arange(n, dtype=np.int32) for n in (3, 0, 5)]
    for limit in (1, 1000):
        stored = store.collect(rows, spill_bytes=limit)
        assert isinstance(stored.values, np.memmap) == (limit == 1) and len(stored) == 3
        assert all(np.array_equal(stored[n], row) for n, row in enumerate(rows))
        assert stored.gather([2, 0]).tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 0]]
