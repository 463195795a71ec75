"""Files of text: every format, every layout of folders, every fault named by file and row."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pipelines.base import BadInputs
from pipelines.text import files, index, sources
from pipelines.text.files import label_first, tab_parted
from pipelines.text.sources import Source
from pipelines.text.spec import PairSpec, TextSpec
from tests.pipelines.conftest import lines

COLUMNS = ("text", "label")
ROWS = [("Hello, “world”", "en"), ('A "quoted"\tword', "1"), ("çà et là", "fr")]


def read(
    path: Path, layout: object = label_first, columns: tuple = COLUMNS, **options: str
) -> list:
    """The fields of all rows of a file that has no fault."""
    return [fields for _, fields in files.read(path, columns, layout, BadInputs("stop"), **options)]


def faults(path: Path, layout: object = label_first, columns: tuple = COLUMNS) -> dict[str, str]:
    """What is wrong with which rows of a file, after one that is good."""
    bad = BadInputs("skip")
    assert [*files.read(path, columns, layout, bad)]
    assert all(where.startswith(str(path)) for where, _ in bad.found)
    return {where.removeprefix(str(path)): reason for where, reason in bad.found}


def test_every_format_reads_the_same(tmp_path: Path) -> None:
    """Named columns in any order among others, quotes, tabs, BOM and Windows' line ends."""
    table = (
        'label,id,text\r\nen,1,"Hello, “world”"\r\n1,2,"A ""quoted""\tword"\r\nfr,3,çà et là\r\n'
    )
    written = tmp_path / "a.csv"
    written.write_bytes(b"\xef\xbb\xbf" + table.encode())
    assert read(written) == ROWS
    made = lines(
        tmp_path / "a.jsonl",
        '{"label": "en", "text": "Hello, “world”", "id": 1}',
        '{"label": 1, "text": "A \\"quoted\\"\\tword"}',
        '{"text": "\\u00e7à et là", "label": "fr"}',
    )
    assert read(made) == ROWS
    for kind in (pa.string(), pa.large_string()):
        texts = pa.array([text for text, _ in ROWS], kind)
        parquet.write_table(
            pa.table({"label": ["en", "1", "fr"], "id": [1, 2, 3], "text": texts}),
            tmp_path / "a.parquet",
        )
        assert read(tmp_path / "a.parquet") == ROWS
    assert read(lines(tmp_path / "a.tsv", "label\ttext", '1\ta "b')) == [('a "b', "1")]
    assert read(lines(tmp_path / "a.train", "1 good film", "0\tbad ")) == [
        ("good film", "1"),
        ("bad ", "0"),
    ]
    assert read(lines(tmp_path / "b.txt", b"0 caf\xe9\n"), encoding="latin-1") == [("café", "0")]


def test_archive_is_read_by_what_is_in_it(tmp_path: Path) -> None:
    """The one file of data inside counts, not the notes that systems leave."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("x/_about.txt", "__MACOSX/x/._a.csv", "x/a.tsv"):
            archive.writestr(name, "Go.\tVa !\tCC-BY\n")
    assert read(tmp_path / "a.zip", tab_parted, ("source", "target")) == [("Go.", "Va !")]
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("x/b.tsv", "Go.\tVa !\n")
    with pytest.raises(ValueError, match="an archive of one file of data"):
        read(tmp_path / "a.zip")


def test_bad_rows_are_named(tmp_path: Path) -> None:
    """By file and row, each with its reason, and reading goes on behind them."""
    written = lines(
        tmp_path / "a.csv", "text,label", "good,1", b"caf\xe9,1\n", "two", ",1", "x,", "a,b,c", ""
    )
    found = faults(written)
    assert [*found] == [":3", ":4", ":5", ":6", ":7", ":8"]
    assert "in the encoding" in found[":3"] and "\\udce9" in found[":3"]
    assert "2 fields" in found[":4"] and "`text` must not be empty" in found[":5"]
    assert "`label` must not be empty" in found[":6"] and "an empty line" in found[":8"]
    found = faults(lines(tmp_path / "b.csv", "text,label", "a,1", '"b"c,1', "d,1"))
    assert [*found] == [":3"] and "must be CSV" in found[":3"]
    found = faults(
        lines(
            tmp_path / "a.jsonl",
            '{"text": "a", "label": 0}',
            "{",
            "[1]",
            '{"text": "a", "class": 1}',
            '{"text": null, "label": 1}',
            '{"text": "\\ud800", "label": 1}',
        )
    )
    assert [*found] == [":2", ":3", ":4", ":5", ":6"]
    assert "Received: a list" in found[":3"] and "text, class" in found[":4"]
    table = {"text": pa.array([b"a", b"\xff", None]), "label": [1.0, 1.0, float("nan")]}
    broken = pa.table(
        {"text": pa.Array.from_buffers(pa.string(), 3, table["text"].buffers())}
        | {"label": table["label"]}
    )
    parquet.write_table(broken, tmp_path / "a.parquet")
    assert [*faults(tmp_path / "a.parquet")] == [":2", ":3"]
    found = faults(
        lines(tmp_path / "a.txt", "a\tb", "a", "", "a\t "), tab_parted, ("source", "target")
    )
    assert [*found] == [":2", ":3", ":4"] and "source and target" in found[":2"]
    found = faults(lines(tmp_path / "b.txt", "1 good", "0", ""))
    assert [*found] == [":2", ":3"]


def test_wrong_columns_are_refused_with_those_that_there_are(tmp_path: Path) -> None:
    """A name that is wrong for the whole file is no matter of rows."""
    message = "must have the columns text, label. Received: sentence, label. .*_column"
    with pytest.raises(ValueError, match=message):
        read(lines(tmp_path / "a.csv", "sentence,label", "a,1"))
    with pytest.raises(ValueError, match=message):
        read(lines(tmp_path / "a.tsv", "sentence\tlabel", "a\t1"))
    parquet.write_table(pa.table({"sentence": ["a"], "label": ["1"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_text("no table, but long enough to be one")
    with pytest.raises(ValueError, match=r"b\.parquet: the file must be Parquet"):
        read(tmp_path / "b.parquet")


def test_long_fields_are_read(tmp_path: Path) -> None:
    """A book in a cell is a text like others."""
    book = "word " * 100_000
    assert read(lines(tmp_path / "a.csv", "text,label", f"{book},1")) == [(book, "1")]


def test_parallel_files_must_be_as_long(tmp_path: Path) -> None:
    """Lines of two files belong together; where one ends first, that is said."""
    paths = (
        lines(tmp_path / "a.en", "one", "two", "", "four"),
        lines(tmp_path / "a.fr", "un", "deux", "x"),
    )
    bad = BadInputs("skip")
    rows = [*files.read_parallel(paths, ("source", "target"), bad)]
    assert rows == [(1, ("one", "un")), (2, ("two", "deux"))]
    assert [where for where, _ in bad.found] == [f"{paths[0]}:3", str(paths[1])]
    assert f"as many lines as {paths[0]}. Received: 3." in bad.found[1][1]


def found(folder: Path, **options: bool) -> list[tuple[str, str | None, str | None]]:
    """The files of a folder by name, with split and label."""
    return [(s.path.name, s.split, s.label) for s in sources.find(str(folder), **options)]


def test_folders_name_splits_and_labels(tmp_path: Path) -> None:
    """As aclImdb is laid out, as Hugging Face's shards are, as plain files are."""
    imdb = tmp_path / "imdb"
    for name in ("train/pos/1.txt", "train/neg/2.txt", "train/unsup/3.txt", "test/pos/4.txt"):
        lines(imdb / name, "a")
    lines(imdb / "train" / "urls_pos.txt", "a")
    lines(imdb / "README.txt", "a")
    assert found(imdb, labelled=True) == [
        ("4.txt", "test", "pos"),
        ("2.txt", "train", "neg"),
        ("1.txt", "train", "pos"),
    ]
    assert found(imdb / "train", labelled=True) == [("2.txt", None, "neg"), ("1.txt", None, "pos")]
    flat = tmp_path / "flat"
    names = (
        "data.dev",
        "test-00000-of-1.csv",
        "train.csv",
        "valid_2.csv",
        "notes.txt",
        ".train.csv",
    )
    for name in names:
        lines(flat / name, "a")
    assert found(flat) == [
        ("data.dev", "validation", None),
        ("test-00000-of-1.csv", "test", None),
        ("train.csv", "train", None),
        ("valid_2.csv", "validation", None),
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="must hold files named train"):
        found(tmp_path / "empty")


def test_lists_of_files_are_splits(tmp_path: Path) -> None:
    """TRAIN,TEST and TRAIN,VALIDATION,TEST, whatever they are called; + joins parallel files."""
    a, b, c = (str(lines(tmp_path / name, "a")) for name in ("valid.txt", "b,c.txt", "c.en"))
    d = str(lines(tmp_path / "d.fr", "a"))

    def splits(data: str) -> list:
        return [(str(source.path), source.split) for source in sources.find(data)]

    assert splits(f"{a},{c}") == [(a, "train"), (c, "test")]
    assert splits(f"{a}, {c},{d}") == [(a, "train"), (c, "validation"), (d, "test")]
    assert splits(f"{a},,{d}") == [(a, "train"), (d, "test")]
    assert splits(b) == [(b, None)]
    assert sources.find(f"{c}+{d}") == [Source(Path(c), None, None, Path(d))]
    with pytest.raises(ValueError, match="TRAIN,VALIDATION,TEST. Received"):
        splits(f"{a},{a},{c},{d}")
    with pytest.raises(FileNotFoundError, match="gone.csv, which does not exist"):
        splits("gone.csv")


def indexed(data: object, spec: TextSpec | PairSpec, layout: object) -> Iterator[tuple]:
    """(split, fields) of every example."""
    columns = COLUMNS if isinstance(spec, TextSpec) else ("source", "target")
    for example, fields in index.index(str(data), spec, columns, layout, BadInputs("stop")):
        yield example.split, fields


def test_duplicates_share_a_split(tmp_path: Path) -> None:
    """By their text, however it is cased, spaced or composed, and whatever its label or target."""
    spellings = ("Café number {}", "café  NUMBER {}", "Cafe\u0301 number {}")
    rows = [f"{n % 2} {text.format(n)}" for n in range(200) for text in spellings]
    splits: dict[str, set] = {}
    counts = {"train": 0, "validation": 0, "test": 0}
    for split, (text, _) in indexed(lines(tmp_path / "a.txt", *rows), TextSpec(), label_first):
        splits.setdefault(text.split()[-1], set()).add(split)
        counts[split] += 1
    assert len(splits) == 200 and all(len(found) == 1 for found in splits.values())
    # Ten percent of 200 texts, give or take four deviations of a binomial count.
    assert all(3 * 3 <= counts[split] <= 37 * 3 for split in ("validation", "test"))
    pairs = [f"Number {n}\tNumméro {n} {m}" for n in range(200) for m in range(2)]
    by_source: dict[str, set] = {}
    for split, (source, _) in indexed(lines(tmp_path / "p.txt", *pairs), PairSpec(), tab_parted):
        by_source.setdefault(source, set()).add(split)
    assert {split for (split,) in by_source.values()} == {*counts}
    salted = indexed(tmp_path / "p.txt", PairSpec(split_salt="x"), tab_parted)
    assert any(by_source[source] != {split} for split, (source, _) in salted)


def test_named_splits_are_kept_and_others_filled(tmp_path: Path) -> None:
    """A test file stays whole; validation comes out of training alone."""
    lines(tmp_path / "train.csv", "text,label", *(f"t{n},{n % 2}" for n in range(100)))
    lines(tmp_path / "test.csv", "text,label", *(f"e{n},{n % 2}" for n in range(100)))
    found = [(split, text[0]) for split, (text, _) in indexed(tmp_path, TextSpec(), label_first)]
    assert set(found) == {("train", "t"), ("validation", "t"), ("test", "e")}
    assert found.count(("test", "e")) == 100
