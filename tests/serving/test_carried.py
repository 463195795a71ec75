"""A client that carries a stream's states hears as the whole sequence is heard."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnapp.serving import AsyncClient, Client, Code, Prediction, ServingError
from rnnapp.serving.server.app import Server, running
from rnnapp.serving.server.versions import Policy
from rnnapp.serving.steps import StepForm
from tests.serving.conftest import INT32, local, reference, signature, with_second_version

EQUAL = 1e-6  # of a probability: float32, in sums of another order
STEPS = 40


def client_of(server: Server, protocol: str) -> Client:
    """A client of a server."""
    return Client(server.address if protocol == "grpc" else server.url, server.name)


def pieces(sequence: np.ndarray) -> list[np.ndarray]:
    """A sequence in pieces at random, some of them empty."""
    cuts = np.random.default_rng(0).integers(0, len(sequence) + 1, 15)
    return np.split(sequence, np.sort(cuts))


def rows(answers: list[Prediction], name: str = "probabilities") -> np.ndarray:
    """What all answers say, a row for each step."""
    return np.concatenate([answer.outputs[name] for answer in answers])


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_sounds_in_pieces_are_heard_as_the_whole(
    server: Server, words: Path, protocol: str
) -> None:
    """Of any size, two streams by turns with states of their own, and once more from the start."""
    sounds = reference(words)
    case, unit = sounds.stream(), sounds.unit
    wave = case.sequences[0, : STEPS * unit].astype(np.float32)
    with client_of(server, protocol) as client:
        stream, other = client.stream(), client.stream(version=1)
        answers = []
        for piece in pieces(wave):
            answers.append(stream.send(piece))
            other.send(piece[::-1])
        stream.reset()
        again = stream.send(wave)
    assert {answer.version for answer in answers} == {1} and len(rows(answers)) == STEPS
    assert {len(answer.labels) == len(answer.probabilities) for answer in answers} == {True}
    np.testing.assert_array_equal(rows(answers), again.probabilities)
    places = [place for place, length in enumerate(case.lengths) if length <= len(wave)]
    found = again.probabilities[[case.lengths[place] // unit - 1 for place in places]]
    assert len(places) > 3
    np.testing.assert_allclose(found, case.expected[places], atol=EQUAL)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_tokens_are_read_as_the_whole(storyteller: Server, protocol: str) -> None:
    """A language model, token by token: after each, what it says to all of them at once."""
    tokens = np.random.default_rng(0).integers(1, 30, STEPS)
    with client_of(storyteller, protocol) as client:
        stream = client.stream()
        answers = [stream.send(piece) for piece in pieces(tokens)]
        whole = client.predict([tokens[:end] for end in range(1, STEPS + 1)], signature="padded")
    np.testing.assert_allclose(rows(answers), whole.probabilities, atol=EQUAL)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_coroutines_carry_the_same(server: Server, protocol: str) -> None:
    """Several streams at a time by one client."""
    url = server.address if protocol == "grpc" else server.url
    waves = np.random.default_rng(0).normal(size=(3, 2400)).astype(np.float32)

    async def one(client: AsyncClient, wave: np.ndarray) -> np.ndarray:
        stream = client.stream()
        return rows([await stream.send(piece) for piece in pieces(wave)])

    async def every() -> list[np.ndarray]:
        async with AsyncClient(url, server.name) as client:
            return await asyncio.gather(*(one(client, wave) for wave in waves))

    with client_of(server, protocol) as client:
        for wave, found in zip(waves, asyncio.run(every()), strict=True):
            expected = client.stream().send(wave).probabilities
            np.testing.assert_allclose(found, expected, atol=EQUAL)


class _FailsOnce:
    """A transport that loses one of its calls."""

    def __init__(self, transport: Any, number: int) -> None:
        self._transport, self._left = transport, number

    def send(self, raw: Any, timeout: float) -> Any:
        """Sends, or fails."""
        self._left -= 1
        if not self._left:
            raise ServingError(Code.INTERNAL, "told to")
        return self._transport.send(raw, timeout)

    def close(self) -> None:
        """Ends connections."""
        self._transport.close()


def test_what_failed_may_be_sent_again(server: Server) -> None:
    """A step that was not answered leaves the states, and what was left over, as they were."""
    wave = np.random.default_rng(0).normal(size=1200).astype(np.float32)
    with client_of(server, "grpc") as client:
        expected = client.stream().send(wave).probabilities
        stream = client.stream()
        first = stream.send(wave[:500]).probabilities
        client._transport = _FailsOnce(client._transport, 3)
        with pytest.raises(ServingError, match="told to"):
            stream.send(wave[500:])
        found = np.concatenate([first, stream.send(wave[500:]).probabilities])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize("kept", [1, 2])
def test_a_stream_stays_with_its_version(
    words: Path, tmp_path: Path, protocol: str, kept: int
) -> None:
    """States mean nothing to other weights: it goes on by the old version, or is told to end."""
    export = with_second_version(words, tmp_path)
    (export / "serving/2").rename(tmp_path / "2")
    wave = np.zeros(400, np.float32)
    with (
        running(export, local(policy=Policy(kept), labels={"stable": 1})) as server,
        client_of(server, protocol) as client,
    ):
        streams = [client.stream(), client.stream(label="stable")]
        assert [stream.send(wave).version for stream in streams] == [1, 1]
        (tmp_path / "2").rename(export / "serving/2")
        while client.predict(wave[None]).outputs and 2 not in _available(client):
            pass
        assert client.stream().send(wave).version == 2
        for stream in streams:
            if kept == 2:
                assert stream.send(wave).version == 1
            else:
                with pytest.raises(ServingError) as caught:
                    _until_unloaded(stream, wave)
                assert caught.value.code is Code.NOT_FOUND


def _available(client: Client) -> set[int]:
    return {each.version for each in client.status() if each.state == "AVAILABLE"}


def _until_unloaded(stream: Any, wave: np.ndarray) -> None:
    for _ in range(1000):
        stream.send(wave)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (np.zeros((1, 400), np.float32), r"shape \(timesteps\). Received: \(1, 400\)"),
        (1.0, r"shape \(timesteps\)"),
        (["a"], "must be DT_FLOAT"),
    ],
)
def test_what_is_no_piece_is_not_sent(server: Server, data: Any, told: str) -> None:
    """The message says what must be."""
    with client_of(server, "grpc") as client, pytest.raises(ServingError, match=told):
        client.stream().send(data)


def test_models_without_states_have_no_streams(text_server: Server) -> None:
    """What is wrong is said, for a signature that is absent and for one of another kind."""
    with client_of(text_server, "grpc") as client:
        with pytest.raises(ValueError, match="None where a `label` is given"):
            client.stream(version=1, label="stable")
        with pytest.raises(ServingError, match=r"Specific\(.*, 7\)"):
            client.stream(version=7).send([1])
    with pytest.raises(ServingError, match="keeps no state"):
        StepForm(signature({"x": (INT32, (-1, 1)), "y": (INT32, (-1, 1))}, {}))
