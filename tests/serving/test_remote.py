"""A server answers what the run and the export behind it answer, by whatever is asked of it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from rnnapp import predict, remote
from rnnapp.cli import app
from rnnapp.remote import Remote
from rnnapp.runs import Run
from rnnapp.serving import Code, ServingError
from rnnapp.serving.server.app import Server, running
from tests.conftest import RATE
from tests.serving.conftest import local

EQUAL = 1e-6  # of a probability: float32, in sums of another order
TEXTS = ["a wonderful film", "so bad that it hurts", "not bad"]


def url_of(server: Server, protocol: str) -> str:
    """Where a server is asked by a protocol."""
    return server.address if protocol == "grpc" else server.url


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Answers are the same, but for rounding and for the probabilities that are not told."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys() and ours["input"] == theirs["input"]
        if "error" not in ours:
            assert ours["label"] == theirs["label"]
            for label, share in ours["probabilities"].items():
                assert theirs["probabilities"][label] == pytest.approx(share, abs=EQUAL)


@pytest.fixture(scope="module")
def recordings(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Clips, a long and a short one, more than go in one request, and a bad one among them."""
    folder = tmp_path_factory.mktemp("recordings")
    wave = 0.1 * np.random.default_rng(0).normal(size=3 * RATE)
    for name, samples in (("long", wave), ("short", wave[:500])):
        soundfile.write(folder / f"{name}.wav", samples, RATE)
    (folder / "empty.wav").touch()
    clips = sorted(map(str, tones.glob("*/test*.wav")))
    return [*map(str, sorted(folder.glob("*.wav"))), *clips, *clips]


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_sounds_are_answered_as_by_the_run(
    server: Server, words: Path, finished: Run, recordings: list[str], protocol: str
) -> None:
    """Files of any length, read, padded and cut as in training."""
    asked = Remote(url_of(server, protocol), export=words)
    predictor = pickle.loads(pickle.dumps(asked.open))()  # as workers get it
    assert len(recordings) > remote.MAX_ROWS
    found, expected = predictor(recordings), predict(finished.folder, recordings)
    for each in (*found, *expected):
        assert ("error" in each) == ("empty.wav" in each["input"])
    assert_same(found, [{**each, **_error(each)} for each in expected])
    assert all(len(each["probabilities"]) == 4 for each in found if "error" not in each)


def _error(answer: dict[str, Any]) -> dict[str, Any]:
    return {"error": ""} if "error" in answer else {}


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_texts_are_answered_as_by_the_run(
    text_server: Server, opinions: Path, reader: Run, tmp_path: Path, protocol: str
) -> None:
    """Raw ones and files; without the export, the same but for the names of the other labels."""
    (tmp_path / "letter.txt").write_text("I liked it very much")
    inputs = [*TEXTS, str(tmp_path / "letter.txt"), " ", str(tmp_path / "absent.txt")]
    expected = predict(reader.folder, inputs)
    url = url_of(text_server, protocol)
    whole, alone = (Remote(url, text_server.name, each).open()(inputs) for each in (opinions, None))
    assert_same(whole, expected)
    assert_same(alone, expected)
    assert [list(each.get("probabilities", {})) for each in alone[:4]] == [
        [each["label"]] for each in expected[:4]
    ]
    assert all("error" in each for each in alone[4:])


def test_a_language_model_writes_the_same(
    storyteller: Server, writer_exported: Path, writer: Run
) -> None:
    """Token by token, by the states that the client carries."""
    settings = ("seed=1", "max_tokens=12")
    asked = Remote(storyteller.address, export=writer_exported, settings=settings).open()
    assert asked(["Once there"]) == predict(writer.folder, ["Once there"], settings=settings)


@pytest.fixture(scope="module")
def interpreter(translator_exported: Path) -> Iterator[Server]:
    """A server of a translator."""
    with running(translator_exported, local()) as server:
        yield server


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_translator_finds_the_same(
    interpreter: Server, translator_exported: Path, translator: Run, protocol: str
) -> None:
    """A beam search by a server, in more rows than a request holds."""
    sentences = ["red dog one.", "two.", "three blue dog."] * 5
    settings = ("beam_size=4",)
    asked = Remote(
        url_of(interpreter, protocol), export=translator_exported, settings=settings
    ).open()
    found = asked(sentences)
    expected = predict(translator.folder, sentences, settings=settings)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["text"] == theirs["text"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)  # of a sum over tokens


def test_what_a_server_does_not_tell_is_asked_for(server: Server, words: Path) -> None:
    """Sounds are not guessed at; and a name that is wrong is told by the server."""
    with pytest.raises(ValueError, match="`export` must be given.*for a model of waveform"):
        Remote(server.address, server.name).open()
    with pytest.raises(ValueError, match="`settings` must be none"):
        Remote(server.address, export=words, settings=("seed=1",)).open()
    with pytest.raises(ServingError, match=f"The model is called {server.name}") as caught:
        Remote(server.address).open()
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(ValueError, match=r"must be an export folder.*manifest\.json"):
        Remote(server.address, export=words / "serving").open()


def test_the_command_prints_what_it_prints_of_a_run(
    text_server: Server, opinions: Path, reader: Run, tmp_path: Path
) -> None:
    """The same lines; the same JSON; the same file, by several processes."""

    def call(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["predict", *map(str, arguments)])
        assert done.exit_code == 0, done.exception
        return done.stdout

    (tmp_path / "list.txt").write_text("\n".join(TEXTS))
    asked = ("--server", text_server.url, "--export", opinions)
    assert call(*asked, *TEXTS) == call(reader.folder, *TEXTS)
    listed = ("--input-list", tmp_path / "list.txt")
    expected = json.loads(call(reader.folder, *listed, "--json"))["answers"]
    assert_same(json.loads(call(*asked, *listed, "--json"))["answers"], expected)
    out = tmp_path / "a.jsonl"
    done = call(*asked, *listed, "--out", out, "--workers", 2, "--json")
    assert json.loads(done) == {"out": str(out), "answered": 3, "failed": 0}
    assert_same([json.loads(line) for line in out.read_text().splitlines()], expected)
