"""Both protocols answer as the Keras model does, alone and in company."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rnnapp.exporting.reference import Case, Reference
from rnnapp.serving.server.app import Server
from tests.serving.conftest import Rest, client, reference

EQUAL = 1e-6  # of a probability: sums of float32 in another order, as batches of other shapes have


@pytest.fixture(scope="module")
def sounds(words: Path) -> Reference:
    """Of the words."""
    return reference(words)


def together(case: Case, asked: Callable[[int], np.ndarray]) -> np.ndarray:
    """Answers to all rows of a case, asked at the same time by as many threads."""
    with ThreadPoolExecutor(len(case.sequences)) as pool:
        return np.stack(list(pool.map(asked, range(len(case.sequences)))))


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_whole_sequences_are_answered_as_keras_does(
    server: Server, sounds: Reference, protocol: str
) -> None:
    """The certificate's replay, each window by a client of its own, all at once."""
    case = sounds.windows()
    with client(server, protocol) as asking:
        answers = together(case, lambda n: asking.predict(case.sequences[n, None]).probabilities[0])
    np.testing.assert_allclose(answers, case.expected, atol=EQUAL)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_mixed_lengths_share_a_batch(
    server: Server, sounds: Reference, protocol: str, rest: Rest
) -> None:
    """Each sequence alone and cut to its length, padded by the server, as Keras answers it."""
    case = sounds.padded()
    assert len(set(case.lengths)) > 10
    before = _calls(server)

    def asked(row: int) -> np.ndarray:
        length = max(1, case.lengths[row])
        inputs = {
            "waveform": case.sequences[row, None, :length],
            "lengths": case.lengths[row, None],
        }
        return asking.predict(inputs, signature="padded").probabilities[0]

    with client(server, protocol) as asking:
        answers = together(case, asked)
    np.testing.assert_allclose(answers, case.expected, atol=EQUAL)
    assert _calls(server) - before < len(case.sequences), "nothing was batched"


def _calls(server: Server) -> float:
    """Calls of the signature `padded` so far."""
    return _metric(server, 'rnnapp_serving_batch_rows_count{signature="padded"')


def _metric(server: Server, begin: str) -> float:
    """The sum of the lines that begin so."""
    with urllib.request.urlopen(server.url + "/monitoring/prometheus/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(begin))


def test_requests_take_longer_than_the_calls_that_answer_them(server: Server) -> None:
    """Metrics of both, whose difference is what the server adds."""
    names = ("model_seconds_sum", "request_seconds_sum", "model_seconds_count", "batch_rows_count")

    def read() -> np.ndarray:
        return np.array([_metric(server, f"rnnapp_serving_{name}{{") for name in names])

    before = read()
    with client(server, "grpc") as asking:
        for _ in range(3):  # one at a time: each is a call
            asking.predict(np.zeros((1, 2400), np.float32))
    model, request, calls, batches = read() - before
    assert 0 < model < request and calls == batches == 3


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_sequences_of_different_lengths_are_one_request(
    server: Server, sounds: Reference, protocol: str
) -> None:
    """The client pads them, and tells the lengths."""
    case = sounds.padded()
    rows = [row for row, length in enumerate(case.lengths) if length]
    clips = [case.sequences[row, : case.lengths[row]] for row in rows]
    with client(server, protocol) as asking:
        answer = asking.predict(clips, signature="padded")
    np.testing.assert_allclose(answer.probabilities, case.expected[rows], atol=EQUAL)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_texts_are_answered_as_keras_does(
    text_server: Server, opinions: Path, protocol: str
) -> None:
    """Raw strings, in one request and each in its own."""
    case = reference(opinions).texts()
    assert case is not None
    with client(text_server, protocol) as asking:
        whole = asking.predict(case.sequences.tolist())
        alone = together(case, lambda n: asking.predict([str(case.sequences[n])]).probabilities[0])
    np.testing.assert_allclose(whole.probabilities, case.expected, atol=EQUAL)
    np.testing.assert_allclose(alone, case.expected, atol=EQUAL)
    best = (opinions / "labels.txt").read_text().split()
    assert whole.labels == [best[index] for index in case.expected.argmax(-1)]


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_stream_is_heard_step_by_step(server: Server, sounds: Reference, protocol: str) -> None:
    """The client carries the state: `next_X` of one answer is `X` of the next request."""
    case = sounds.stream()
    with client(server, protocol) as asking:
        specs = asking.signatures()["step"].inputs
        size = specs["samples"].shape[1]
        states = {
            name: np.zeros((1, *spec.shape[1:]), np.float32)
            for name, spec in specs.items()
            if name != "samples"
        }
        answers = []
        for start in range(0, 12 * size, size):
            samples = case.sequences[:, start : start + size]
            answer = asking.predict({"samples": samples, **states}, signature="step")
            states = {name: answer.outputs[f"next_{name}"] for name in states}
            answers.append(answer.probabilities[0])
    places = [place for place, length in enumerate(case.lengths) if length <= 12 * size]
    heard = [answers[case.lengths[place] // size - 1] for place in places]
    assert len(places) > 3
    np.testing.assert_allclose(heard, case.expected[places], atol=1e-5)  # rounding adds up
