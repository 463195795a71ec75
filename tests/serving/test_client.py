"""Clients try again, keep deadlines, and say what is wrong before they send it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest

from rnnapp.serving import AsyncClient, Client, Code, ServingError
from rnnapp.serving.client.conversation import FIRST_PAUSE
from rnnapp.serving.client.inputs import prepared
from rnnapp.serving.server.app import Server
from tests.serving.conftest import INT32, STRING, SUMMING, signature

SILENCE = np.zeros((1, 2400), np.float32)


class Flaky:
    """A transport that fails as told before it sends."""

    def __init__(self, transport: Any, *codes: Code) -> None:
        self._transport, self._codes, self.sent = transport, list(codes), 0

    def send(self, raw: Any, timeout: float) -> Any:
        """Fails, or sends."""
        self.sent += 1
        if self._codes:
            raise ServingError(self._codes.pop(0), "told to")
        return self._transport.send(raw, timeout)

    def close(self) -> Any:
        """Ends connections."""
        return self._transport.close()


def flaky(server: Server, *codes: Code, **options: Any) -> tuple[Client, Flaky]:
    """A client whose first tries end as told; it knows the signatures already."""
    client = Client(server.address, server.name, **options)
    client.signatures()
    transport = Flaky(client._transport, *codes)
    client._transport = transport
    return client, transport


def test_a_busy_server_is_asked_again(server: Server) -> None:
    """A full queue and a roll-out pass."""
    client, transport = flaky(server, Code.UNAVAILABLE, Code.UNAVAILABLE)
    with client:
        begun = time.monotonic()
        assert len(client.predict(SILENCE).labels) == 1
    assert transport.sent == 3 and time.monotonic() - begun >= FIRST_PAUSE


@pytest.mark.parametrize(
    ("codes", "options", "sent"),
    [
        ([Code.UNAVAILABLE] * 9, {"retries": 2}, 3),
        ([Code.UNAVAILABLE] * 9, {"timeout": 0.01}, 1),  # no time for another try
        ([Code.INVALID_ARGUMENT], {}, 1),
        ([Code.DEADLINE_EXCEEDED], {}, 1),
        ([Code.INTERNAL], {}, 1),
    ],
)
def test_it_is_not_asked_for_ever(
    server: Server, codes: list[Code], options: dict[str, Any], sent: int
) -> None:
    """Nor when asking again changes nothing, or may do a thing twice."""
    client, transport = flaky(server, *codes)
    client._retries = options.get("retries", client._retries)
    with client, pytest.raises(ServingError, match="told to"):
        client.predict(SILENCE, timeout=options.get("timeout"))
    assert transport.sent == sent


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_not_there_is_unavailable(scheme: str) -> None:
    """Whatever way it is asked."""
    with Client(f"{scheme}://127.0.0.1:9", "x", retries=1, timeout=5) as client:
        with pytest.raises(ServingError) as caught:
            client.status()
        assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_coroutines_ask_the_same(server: Server, protocol: str) -> None:
    """Many at a time, by one client, with the answers of the other kind."""
    url = server.address if protocol == "grpc" else server.url
    generator = np.random.default_rng(0)
    clips = [generator.normal(size=(1, 2400)).astype(np.float32) for _ in range(8)]

    async def ask() -> list[np.ndarray]:
        async with AsyncClient(url, server.name) as client:
            assert (await client.status())[0].state == "AVAILABLE"
            assert "step" in await client.signatures()
            answers = await asyncio.gather(*map(client.predict, clips))
            with pytest.raises(ServingError, match="takes the inputs"):
                await client.predict({"nix": clips[0]})
            return [answer.probabilities for answer in answers]

    with Client(url, server.name) as client:
        for clip, answer in zip(clips, asyncio.run(ask()), strict=True):
            np.testing.assert_allclose(client.predict(clip).probabilities, answer, atol=1e-6)


TEXTS = signature({"text": (STRING, (-1,))}, {"label": (STRING, (-1,))})
IDS = signature({"ids": (INT32, (-1, -1)), "lengths": (INT32, (-1,))}, {"label": (STRING, (-1,))})


def test_connections_are_kept(server: Server) -> None:
    """As many as were needed at once: to connect anew takes longer than to ask."""

    async def ask_together() -> list[int]:
        async with AsyncClient(server.url, server.name) as client:
            await client.signatures()
            await asyncio.gather(*(client.predict(SILENCE) for _ in range(30)))
            open_ = psutil.Process().net_connections("tcp")
            return [each.raddr.port for each in open_ if each.raddr]

    assert asyncio.run(ask_together()).count(int(server.url.rpartition(":")[2])) == 30


def test_raw_inputs_become_what_the_signature_takes() -> None:
    """Lists, other precisions, texts, sequences of different lengths."""
    assert prepared(["a", "ü"], TEXTS)["text"].tolist() == [b"a", "ü".encode()]
    assert prepared([b"\0"], TEXTS)["text"].tolist() == [b"\0"]
    ids = prepared([[1, 2, 3], [4]], IDS)
    assert ids["ids"].tolist() == [[1, 2, 3], [4, 0, 0]] and ids["lengths"].tolist() == [3, 1]
    assert ids["ids"].dtype == ids["lengths"].dtype == np.int32
    assert prepared([[1, 2]], IDS)["lengths"].tolist() == [2]
    summing = prepared(np.ones((2, 3, 2)), SUMMING)
    assert summing["x"].dtype == np.float32 and summing["lengths"].tolist() == [3, 3]
    ragged = prepared([np.ones((1, 2)), np.ones((3, 2))], SUMMING)
    assert ragged["x"][0].sum() == 2 and ragged["lengths"].tolist() == [1, 3]
    assert prepared({"x": np.ones((1, 3, 2), int), "lengths": [2]}, SUMMING)["lengths"] == [2]


@pytest.mark.parametrize(
    ("inputs", "of", "told"),
    [
        ([1, 2], TEXTS, "must be DT_STRING"),
        ("a", TEXTS, "Received: strings"),
        ([], TEXTS, "at least 1"),
        (["\ud800"], TEXTS, "must be DT_STRING"),
        ([[1.5]], IDS, "must be DT_INT32"),
        ([[2**40]], IDS, "must be DT_INT32"),
        ([["a"]], IDS, "must be DT_INT32"),
        ([[1], "a"], IDS, "must be DT_INT32"),
        ([np.ones((1, 2)), np.ones((3, 4))], SUMMING, "of one kind"),
        ({"x": np.ones((1, 3, 2)), "lengths": [4]}, SUMMING, "from 0 to the 3"),
        ({"x": np.ones((2, 3, 2)), "lengths": [1]}, SUMMING, "same number of rows"),
        ({"x": np.ones((0, 3, 2))}, SUMMING, "at least 1"),
        ({"y": 1}, SUMMING, r"takes the inputs \['lengths', 'x'\]"),
    ],
)
def test_what_does_not_fit_is_not_sent(inputs: Any, of: Any, told: str) -> None:
    """The message says what must be, and what was received."""
    with pytest.raises(ServingError, match=told) as caught:
        prepared(inputs, of)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "make",
    [
        lambda: Client("ftp://x", "m"),
        lambda: Client("", "m"),
        lambda: Client("x:1", "m", timeout=0),
        lambda: Client("x:1", "m", retries=-1),
        lambda: Client("x:1", "m", api_key="é"),
        lambda: Client("x:1", "m", api_key="a\nb"),
    ],
)
def test_arguments_are_checked(make: Callable[[], Client]) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="must be"):
        make()


def test_an_absent_output_is_named(server: Server) -> None:
    """A model without labels has none to show."""
    with Client(server.address, server.name) as client:
        answer = client.predict(SILENCE, outputs=["logits"])
    with pytest.raises(KeyError, match="logits"):
        answer.labels  # noqa: B018
