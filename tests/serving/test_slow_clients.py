"""Who is slow, silent or many keeps nobody else from being answered."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rnnapp.serving.server.app import Server, running
from tests.serving.conftest import ask, local

LIMIT = 8


@pytest.fixture(scope="module")
def impatient(words: Path) -> Iterator[Server]:
    """A server of few requests at a time, which have two seconds."""
    with running(words, local(request_seconds=2.0, max_requests=LIMIT, max_body=2**20)) as server:
        yield server


def opened(server: Server) -> socket.socket:
    """A connection."""
    place = urlsplit(server.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect((str(place.hostname), int(place.port or 0)))
    return connection


def dripped(connection: socket.socket, text: bytes, seconds: float = 20.0) -> bytes:
    """What is answered to a client that sends a byte now and then; its first bytes."""
    end = time.monotonic() + seconds
    connection.settimeout(0.2)
    for byte in text:
        with contextlib.suppress(ConnectionError):
            connection.sendall(bytes([byte]))
        try:
            return connection.recv(12)
        except TimeoutError:
            assert time.monotonic() < end, "the server waits for ever"
        except ConnectionError:
            return b""
    raise AssertionError("all was sent before the server had waited enough")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"POST /v1/models/words:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n",
        b"POST /v1/models/words:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_byte_now_and_then_is_not_awaited_for_ever(impatient: Server, head: bytes) -> None:
    """Of a head, of a body whose length is told, of one in chunks; others are served meanwhile."""
    rest = b"3e8\r\n" + b" " * 900 if b"chunked" in head else b" " * 900
    with opened(impatient) as connection:
        connection.sendall(head)
        assert ask(impatient.url + "/healthz")[0] == 200
        assert dripped(connection, rest if head else b"GET /" + b"x" * 900) == b"HTTP/1.1 408"
    assert ask(impatient.url + "/healthz")[0] == 200


def test_who_says_nothing_is_hung_up_on(impatient: Server) -> None:
    """A connection alone is no request."""
    with opened(impatient) as connection:
        connection.settimeout(30)
        assert connection.recv(1) == b""


def test_a_body_too_long_is_not_heard_to_its_end(impatient: Server) -> None:
    """The rest of what was refused ends in time, too."""
    with opened(impatient) as connection:
        connection.sendall(b"POST /v1/models/words:predict HTTP/1.1\r\nHost: x\r\n")
        connection.sendall(b"Content-Length: 999999999\r\n\r\n" + b" " * (2**20 + 1))
        assert connection.recv(12) == b"HTTP/1.1 413"
        end = time.monotonic() + 20
        with contextlib.suppress(ConnectionError):
            while connection.recv(2**16):
                pass
            while time.monotonic() < end:
                connection.sendall(b" ")
                time.sleep(0.1)
        assert time.monotonic() < end


def test_many_connections_keep_nobody_out_for_ever(impatient: Server) -> None:
    """Past the limit all are told to come again; the silent ones are ended, and make room."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(opened(impatient))
        end = time.monotonic() + 60
        refused = False
        while True:
            try:
                with opened(impatient) as connection:
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                    head = connection.recv(12)
            except ConnectionError:
                head = b""
            if head == b"HTTP/1.1 200":
                break
            assert head in (b"", b"HTTP/1.1 503")
            refused = True
            assert time.monotonic() < end
        assert refused, "there were not enough to try it"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can tell")
def test_who_does_not_read_is_hung_up_on(impatient: Server) -> None:
    """Answers that nobody takes would be kept for ever."""
    with opened(impatient) as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1500)
        end = time.monotonic() + 60
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                connection.sendall(b"\r\n")
                time.sleep(0.2)
        assert time.monotonic() < end
    assert ask(impatient.url + "/healthz")[0] == 200
