"""A WebSocket hears as the whole sequence is heard, and is ended when it must be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from rnnapp.serving.server.app import Server, running
from tests.serving.conftest import local, reference

NAN, INFINITY = (np.array(value, "<f4").tobytes() for value in (np.nan, np.inf))
KEY = {"Authorization": "Bearer " + "k" * 32}


@pytest.fixture(scope="module")
def few(words: Path) -> Iterator[Server]:
    """A server of two streams at a time that are soon ended, for those with a key."""
    spec = local(max_streams=2, stream_seconds=1.5, api_keys=("k" * 32,))
    with running(words, spec) as server:
        yield server


def opened(
    server: Server, path: str = ":stream", headers: dict[str, str] = KEY
) -> ClientConnection:
    """A stream."""
    url = server.url.replace("http", "ws", 1)
    return connect(f"{url}/v1/models/{server.name}{path}", additional_headers=headers)


def told(socket: ClientConnection, message: Any) -> list[dict[str, Any]]:
    """The answers to a message."""
    socket.send(message)
    return json.loads(socket.recv())["predictions"]


def test_pieces_of_any_size_are_heard_as_the_whole(server: Server, words: Path) -> None:
    """Two streams at once, each with a state of its own: bytes and JSON in pieces at random."""
    sounds = reference(words)
    case, unit = sounds.stream(), sounds.unit
    wave = case.sequences[0, : 40 * unit].astype(np.float32)
    generator = np.random.default_rng(0)
    cuts = [0, *np.sort(generator.integers(0, len(wave), 15)).tolist(), len(wave)]
    heard: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    with opened(server) as first, opened(server, "/versions/1:stream") as second:
        for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
            heard[True] += told(first, wave[start:stop].tobytes())
            heard[False] += told(second, json.dumps(wave[start:stop].tolist()))
    assert len(heard[True]) == 40 and heard[True][0].keys() == {"label", "logits", "probabilities"}
    places = [place for place, length in enumerate(case.lengths) if length <= len(wave)]
    for answers in heard.values():
        found = [answers[case.lengths[place] // unit - 1]["probabilities"] for place in places]
        np.testing.assert_allclose(found, case.expected[places], atol=1e-5)  # rounding adds up


@pytest.mark.parametrize(
    "message",
    [
        b"123",
        NAN * 80,
        INFINITY,
        "{",
        '["a"]',
        "1",
        "[NaN]",
        "[[1.0]]",
        "null",
        json.dumps([1e39]),
    ],
)
def test_what_is_no_sound_ends_the_stream(few: Server, message: bytes | str) -> None:
    """With a reason; it is not taken for silence."""
    with opened(few) as socket:
        socket.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1007 and caught.value.rcvd.reason


def test_streams_have_bounds(few: Server) -> None:
    """As many as there may be; a silent one is ended, and makes room."""
    with opened(few) as first, opened(few):
        with pytest.raises(InvalidStatus) as refused:
            opened(few)
        assert refused.value.response.status_code == 503
        assert b"streams are open already" in refused.value.response.body
        with pytest.raises(ConnectionClosed) as caught:
            first.recv()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1001
    limit = time.monotonic() + 10
    while True:
        try:
            with opened(few) as socket:
                assert told(socket, b"") == []
            return
        except InvalidStatus:
            assert time.monotonic() < limit


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (":stream", {}, 401),
        ("/versions/7:stream", KEY, 404),
        (f"/versions/{9**30}:stream", KEY, 400),
        ("/labels/x:stream", KEY, 400),
        ("x:stream", KEY, 404),
        (":listen", KEY, 403),
    ],
)
def test_wrong_streams_are_refused(
    few: Server, path: str, headers: dict[str, str], status: int
) -> None:
    """Before they begin."""
    with pytest.raises(InvalidStatus) as refused:
        opened(few, path, headers)
    assert refused.value.response.status_code == status
