"""An archive is answered in its order, by several processes, and goes on where it was stopped."""

from __future__ import annotations

import csv
import functools
import json
import os
import pickle
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rnnapp.archive import ArchiveError, Scored, answers, listed, score
from rnnapp.prediction import Predictor
from rnnapp.records import FIELDS, Records
from rnnapp.serving import Code, ServingError

INPUTS = [f"{number}.wav" for number in range(150)]
BAD = {"3.wav", "77.wav"}


def told() -> Predictor:
    """Answers without a model: the length of a name; some are bad, and one ends the process."""

    def read(inputs: Sequence[Any]) -> Sequence[Any]:
        for raw in BAD.intersection(inputs):
            raise ValueError(f"{raw} is empty")
        return inputs

    def answer(batch: Sequence[Any]) -> list[dict[str, Any]]:
        if "kill" in batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return [
            {"label": f'"{len(raw)}"\n', "probabilities": {f'"{len(raw)}"\n': 0.5}} for raw in batch
        ]

    return Predictor(read, answer)


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("workers", [1, 3])
def test_answers_come_in_order(workers: int) -> None:
    """Whoever is done first; and what is bad does not take its neighbours along."""
    found = list(answers(told, INPUTS, workers))
    assert [each["input"] for each in found] == INPUTS
    assert {each["input"] for each in found if "error" in each} == BAD
    assert found == told()(INPUTS)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_bad_input_stops(workers: int, tmp_path: Path) -> None:
    """It is named, and all before it are kept: what is mended goes on from there."""
    out = tmp_path / "a.jsonl"
    with pytest.raises(ValueError, match=r"3\.wav is empty"):
        score(told, INPUTS, out, workers=workers, on_bad_input="stop")
    assert [each["input"] for each in lines(out)] == INPUTS[:3]
    assert score(told, INPUTS, out, resume=True) == Scored(148, 2)
    assert [each["input"] for each in lines(out)] == INPUTS


def test_a_worker_that_dies_loses_nothing_that_is_written(tmp_path: Path) -> None:
    """It is told, not waited for."""
    inputs = [*INPUTS[:100], "kill", *INPUTS[100:]]
    with pytest.raises(ArchiveError, match="fewer `workers`"):
        score(told, inputs, tmp_path / "a.jsonl", workers=2)
    kept = [each["input"] for each in lines(tmp_path / "a.jsonl")]
    assert kept == inputs[: len(kept)]


def test_errors_of_workers_are_told(tmp_path: Path) -> None:
    """A folder that is no model's, as in one process."""
    (tmp_path / "manifest.json").write_text("{}")
    open_ = functools.partial(Predictor.of, tmp_path)
    for workers in (1, 2):
        with pytest.raises(ValueError, match="must be an export folder"):
            list(answers(open_, INPUTS, workers))
    sent = pickle.loads(pickle.dumps(ServingError(Code.UNAVAILABLE, "away")))
    assert (sent.code, sent.message, str(sent)) == (Code.UNAVAILABLE, "away", "UNAVAILABLE: away")
    with pytest.raises(ValueError, match="`workers` must be a positive integer"):
        list(answers(told, INPUTS, 0))
    with pytest.raises(ValueError, match="one of skip, stop"):
        list(answers(told, INPUTS, on_bad_input="ignore"))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_it_goes_on_from_any_byte(suffix: str, tmp_path: Path) -> None:
    """A file cut anywhere becomes the whole one: a record cut short is made again."""
    inputs = [*INPUTS[:5], 'a "text", of\u2028two lines', os.fsdecode(b"\xff.wav")]
    score(told, inputs, tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    out = tmp_path / f"cut{suffix}"
    for size in range(len(whole) + 1):
        out.write_bytes(whole[:size])
        assert score(told, inputs, out, resume=True) == Scored(6, 1)
        assert out.read_bytes() == whole, size


def test_a_table_has_a_row_an_input(tmp_path: Path) -> None:
    """Labels with their probability; what went wrong; and line ends in quotes."""
    score(told, INPUTS[:4], tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FIELDS and [row["input"] for row in rows] == INPUTS[:4]
    assert (rows[0]["label"], rows[0]["probability"]) == ('"5"\n', "0.5")
    assert rows[3]["error"] == "3.wav is empty" and not rows[3]["label"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"input": "9.wav"}\n', "as number 1, '0.wav'. Received: '9.wav'"),
        ('{"input": "0.wav"}\n' * 2, "as number 2, '1.wav'"),
        ("".join(json.dumps({"input": each}) + "\n" for each in [*INPUTS, "x"]), "nothing more"),
        ("my notes\n", "as `rnnapp predict --out` writes them. Received: b'my notes"),
        ("[]\n", "as `rnnapp predict --out`"),
    ],
)
def test_files_of_others_are_not_gone_on_with(content: str, said: str, tmp_path: Path) -> None:
    """Nor changed."""
    out = tmp_path / "a.jsonl"
    out.write_text(content)
    with pytest.raises(ValueError, match=said):
        score(told, INPUTS, out, resume=True)
    with pytest.raises(FileExistsError, match="--resume"):
        score(told, INPUTS, out)
    assert out.read_text() == content
    table = tmp_path / "a.csv"
    table.write_text("path,word\n")
    with pytest.raises(ValueError, match="path,word"):
        Records(table, INPUTS, resume=True)
    with pytest.raises(ValueError, match=r"must end in one of \.jsonl, \.csv"):
        score(told, INPUTS, tmp_path / "a.txt")


def test_lists_are_read_as_they_are(tmp_path: Path) -> None:
    """Blanks in names, bytes of any encoding, line ends of any system, a mark at the start."""
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa b.wav\r\n\n  \n\xff.wav\nlast")
    assert listed(str(path)) == ["a b.wav", os.fsdecode(b"\xff.wav"), "last"]
    path.write_text("\n")
    with pytest.raises(ValueError, match="which has none"):
        listed(str(path))
