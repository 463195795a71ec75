"""From running text to windows that continue each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.base import BadInputWarning
from pipelines.text import documents
from pipelines.text.corpus import CorpusPipeline, CorpusSpec
from pipelines.text.tokenization import END, UNKNOWN
from pipelines.text.windows import all_of, full_ones
from tests.pipelines.conftest import lines, same_batches

PLAY = "".join(f"Speaker {n}:\nWhat is {n * n}?\n\n" for n in range(300))


@pytest.fixture
def play(tmp_path: Path) -> Path:
    """A text of 300 speeches."""
    return lines(tmp_path / "play.txt", PLAY.encode())


def laid_out(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows of a dataset side by side: ids and targets (rows, tokens), lengths (windows,)."""
    made = [(x["token_ids"], x["lengths"], y) for x, y in dataset.as_numpy_iterator()]
    ids, lengths, targets = zip(*made, strict=True)
    return np.hstack(ids), np.array(lengths), np.hstack(targets)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_windows_of_a_row_continue_each_other(play: Path, batch_size: int) -> None:
    """Row by row, training reads the stream in order: states may be carried on."""
    pipeline = CorpusPipeline(CorpusSpec(sequence_length=11)).fit(str(play))
    stream = pipeline._streams["train"]
    ids, lengths, targets = laid_out(pipeline.dataset("train", batch_size, training=True))
    assert (lengths == 11).all()
    assert np.array_equal(ids[:, 1:], targets[:, :-1])
    begin = np.flatnonzero(
        (np.lib.stride_tricks.sliding_window_view(stream, ids.size) == ids.ravel()).all(axis=1)
    )
    assert len(begin) == 1  # all rows end to end are one stretch of the stream
    assert np.array_equal(targets.ravel(), stream[begin[0] + 1 :][: targets.size])
    assert ids.size + pipeline.remainder(batch_size) == pipeline.splits["train"]
    assert pipeline.remainder(batch_size) < batch_size * (11 + 1)


@pytest.mark.parametrize("batch_size", [1, 7, 2000])
def test_evaluation_predicts_every_token_once(play: Path, batch_size: int) -> None:
    """In order, the first one and the last one too; what pads is no token."""
    pipeline = CorpusPipeline(CorpusSpec(sequence_length=11)).fit(str(play))
    ids, lengths, targets = laid_out(pipeline.dataset("validation", batch_size))
    stream = pipeline._streams["validation"]
    assert lengths.sum() == pipeline.splits["validation"] == len(stream) - 1
    assert (targets != 0).sum() == (ids != 0).sum() == lengths.sum()
    assert np.array_equal(targets[targets != 0], stream[1:])
    assert np.array_equal(ids[ids != 0], stream[:-1])
    windows = targets.reshape(batch_size, -1, 11)
    assert np.array_equal((windows != 0).sum(axis=2).T, lengths)
    assert all(
        (row[:n] != 0).all()
        for row, n in zip(windows.reshape(-1, 11), lengths.T.ravel(), strict=True)
    )


def test_layouts_hold_every_prediction() -> None:
    """For any sizes: all of them once, or full windows with less than a window a row left over."""
    draw = np.random.default_rng(0)
    for _ in range(100):
        tokens, rows, width = (int(draw.integers(1, high)) for high in (300, 9, 20))
        stream = np.arange(1, tokens + 2, dtype=np.int32)
        whole = all_of(tokens + 1, rows, width)
        seen = np.hstack([whole.cut(stream, n)[2] for n in range(len(whole))])
        assert np.array_equal(seen[seen > 0], stream[1:])
        if tokens >= rows * width:
            full = full_ones(tokens + 1, rows, width)
            assert full.predictions + full.spare == tokens
            assert full.spare < rows * width + rows and full.predictions % width == 0


@pytest.mark.parametrize("training", [False, True])
def test_dataset_is_as_declared(play: Path, training: bool) -> None:
    """Types, shapes and the number of batches are what is said before any is made."""
    pipeline = CorpusPipeline(CorpusSpec(sequence_length=11)).fit(str(play))
    dataset = pipeline.dataset("train", 4, training=training)
    assert dataset.element_spec == pipeline.element_spec
    count = pipeline.num_batches("train", 4, training=training)
    assert len([*dataset]) == int(dataset.cardinality()) == count
    assert pipeline.num_batches("train", 4) == pipeline.num_batches("train", 4, training=True)
    with pytest.raises(ValueError, match="batch_size x sequence_length = 4000 x 11 tokens"):
        pipeline.dataset("train", 4000, training=True)
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        pipeline.dataset("train", 0)


def test_same_seed_and_epoch_make_the_same_windows(play: Path) -> None:
    """A pass is a function of (seed, epoch), and passes follow each other."""
    pipeline = CorpusPipeline(CorpusSpec(sequence_length=50)).fit(str(play))

    def made(seed: int, epoch: int | tf.Variable, **options: bool) -> tf.data.Dataset:
        return pipeline.dataset("train", 16, training=True, seed=seed, epoch=epoch, **options)

    count = pipeline.num_batches("train", 16)
    assert same_batches(made(1, 5), made(1, tf.Variable(5)))
    assert not same_batches(made(1, 5), made(1, 6)) and not same_batches(made(1, 5), made(2, 5))
    endless = made(3, 2, repeat=True)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert not endless.options().autotune.enabled  # nobody waits for its thread
    assert same_batches(endless.skip(count).take(count), made(3, 3))


def test_splits_are_parts_in_order(play: Path) -> None:
    """Ninety, five and five percent of the characters, cut between words, and nothing lost."""
    pipeline = CorpusPipeline().fit(str(play))
    texts = [pipeline.tokenizer.decode(stream) for stream in pipeline._streams.values()]
    assert "".join(texts) == PLAY
    for text, share in zip(texts, (0.9, 0.05, 0.05), strict=True):
        assert abs(len(text) - share * len(PLAY)) < 20  # the longest word and some
    assert all(text[-1].isspace() for text in texts)
    assert [*pipeline.characters.values()] == [len(text) for text in texts]
    assert sum(pipeline.splits.values()) == len(PLAY) + 1  # and one document's end
    alone = CorpusPipeline(CorpusSpec(validation_percent=0)).fit(str(play))
    assert alone.splits["validation"] == 0 and alone.splits["test"] > 0


@pytest.mark.parametrize("validation", [0, 20, 60, 100])
def test_named_splits_stay_whole_and_documents_stay_one(tmp_path: Path, validation: int) -> None:
    """What is missing is taken from the training text alone; no border makes or loses an end."""
    lines(tmp_path / "train.txt", *(f"w{n}" for n in range(40)))
    lines(tmp_path / "test.txt", *(f"w{n}" for n in range(7)))
    percents = {"validation_percent": validation, "testing_percent": 0}
    spec = CorpusSpec(tokens="words", document="line", **percents)
    if validation == 100:
        with pytest.raises(ValueError, match="for training to begin with"):
            CorpusPipeline(spec).fit(str(tmp_path))
        return
    pipeline = CorpusPipeline(spec).fit(str(tmp_path))
    train, held_out, test = (stream[1:].tolist() for stream in pipeline._streams.values())
    assert pipeline.tokenizer.decode(train).split() == [f"w{n}" for n in range(len(train) // 2)]
    assert len(train) + len(held_out) == 80 and len(test) == 14
    assert all(stream[1::2] == [END] * (len(stream) // 2) for stream in (train, held_out, test))
    assert abs(len(held_out) / 80 - validation / 100) < 0.05  # two documents of forty


def test_vocabulary_comes_from_training_alone(tmp_path: Path) -> None:
    """What only the held out parts say is unknown."""
    train = lines(tmp_path / "a.txt", "one two three " * 9)
    test = lines(tmp_path / "b.txt", "one four")
    pipeline = CorpusPipeline(CorpusSpec(tokens="words", validation_percent=0)).fit(
        f"{train},{test}"
    )
    assert sorted(pipeline.vocabulary[4:]) == ["one", "three", "two"]
    assert pipeline._streams["test"].tolist() == [END, pipeline.tokenizer.ids["one"], UNKNOWN, END]


@pytest.mark.parametrize("document", ["file", "line"])
def test_documents_end_with_the_end_token(tmp_path: Path, document: str) -> None:
    """After each line, blank ones aside, or after each file, whose line ends are text."""
    for name, text in (("a", "one\r\n\r\ntwo\n"), ("b", "three")):
        lines(tmp_path / f"{name}.txt", text.encode())
    spec = CorpusSpec(document=document, validation_percent=0, testing_percent=0)
    pipeline = CorpusPipeline(spec).fit(str(tmp_path))
    stream = pipeline._streams["train"].tolist()
    documents, piece = [], []
    for number in [*stream[1:]]:
        piece.append(number)
        if number == END:
            documents.append(pipeline.tokenizer.decode(piece))
            piece = []
    expected = {"file": ["one\n\ntwo\n", "three"], "line": ["one", "two", "three"]}
    assert stream[0] == END and documents == expected[document] and not piece
    assert sum(origin.documents for origin in pipeline.origins) == len(documents)


def test_tables_are_documents_row_by_row(tmp_path: Path) -> None:
    """A column of a table is read as documents, whatever lines they have."""
    table = lines(tmp_path / "a.csv", "id,text", '1,"two\nlines"', "2,one")
    spec = CorpusSpec(validation_percent=0, testing_percent=0)
    stream = CorpusPipeline(spec).fit(str(table))._streams["train"]
    assert np.flatnonzero(stream == END).tolist() == [0, 10, 14]


def test_lines_of_any_length_are_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus of one line gives the same stream as it would whole, and borders within it."""
    path = lines(tmp_path / "a.txt", ("naïve words " * 200 + "last").encode())
    spec = CorpusSpec(tokens="words", document="line")
    whole = CorpusPipeline(spec).fit(str(path))
    monkeypatch.setattr(documents, "LONGEST_PIECE", 64)
    parted = CorpusPipeline(spec).fit(str(path))
    assert min(whole.splits.values()) > 0
    for split, stream in whole._streams.items():
        assert np.array_equal(stream, parted._streams[split])


def test_encode_is_what_evaluation_feeds(play: Path) -> None:
    """A text behind an end token, as at the beginning of each split."""
    pipeline = CorpusPipeline(CorpusSpec(sequence_length=900)).fit(str(play))
    pipeline.open(str(play), test_only=True)
    ids, lengths, _ = laid_out(pipeline.dataset("test", 1))
    encoded = pipeline.encode(PLAY, "", play)
    assert np.array_equal(encoded["token_ids"][0], ids[0, : lengths.sum()])
    assert np.array_equal(encoded["token_ids"][2], encoded["token_ids"][0])
    assert encoded["lengths"].tolist() == [len(PLAY) + 1, 1, len(PLAY) + 1]
    assert encoded["token_ids"][1].tolist() == [END] + [0] * len(PLAY)
    assert encoded["token_ids"].dtype == np.int32
    served, lengths = pipeline.graph()([PLAY, ""])
    assert np.array_equal(served, encoded["token_ids"][:2])
    assert np.array_equal(lengths, encoded["lengths"][:2])


def test_bad_lines_are_named_and_left_out(tmp_path: Path) -> None:
    """What is in no encoding is counted, and the text around it is read."""
    path = lines(tmp_path / "a.txt", "good line", b"caf\xe9\n", "another line")
    with pytest.warns(BadInputWarning, match=r"a\.txt:2: `text` must be in the encoding"):
        pipeline = CorpusPipeline(CorpusSpec(validation_percent=0, testing_percent=0)).fit(
            str(path)
        )
    assert pipeline.tokenizer.decode(pipeline._streams["train"]) == "good line\nanother line\n"
    with pytest.raises(ValueError, match=r"a\.txt:2: .*on_bad_input=skip"):
        CorpusPipeline(CorpusSpec(on_bad_input="stop")).fit(str(path))
    with pytest.raises(ValueError, match="some usable text, for training to begin with"):
        CorpusPipeline().fit(str(lines(tmp_path / "b.txt")))


def test_saved_pipeline_opens_the_same_stream(play: Path, tmp_path: Path) -> None:
    """Vocabulary, settings and splits are kept; changed text shows in the list of splits."""
    spec = CorpusSpec(sequence_length=9, tokens="subwords", vocabulary_size=99)
    fitted = CorpusPipeline(spec).fit(str(play), seed=4)
    fitted.save(tmp_path / "run")
    loaded = CorpusPipeline.load(tmp_path / "run")
    assert loaded.spec == spec and loaded.vocabulary == fitted.vocabulary
    assert loaded.open(str(play)).origins == fitted.origins
    assert same_batches(loaded.dataset("test", 2), fitted.dataset("test", 2))
    rows = (tmp_path / "run" / "splits.csv").read_text("utf-8").splitlines()
    assert rows[0] == "path,split,documents,tokens,characters,digest" and len(rows) == 4
    play.write_text(PLAY.replace("Speaker 7:", "Speaker 8:"))
    assert loaded.open(str(play)).origins != fitted.origins
    with pytest.raises(ValueError, match="must be fitted or loaded"):
        CorpusPipeline().open(str(play))


def test_progress_reaches_its_end(play: Path) -> None:
    """The callback counts up to all."""
    told: list[tuple[int, int]] = []
    CorpusPipeline().fit(str(play), progress=lambda *done: told.append(done))
    assert told == sorted(told) and told[-1][0] == told[-1][1] > 0
