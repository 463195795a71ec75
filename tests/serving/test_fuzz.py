"""Whatever is sent, the server says what is wrong, fails never, and answers on."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import grpc
import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance
from schemathesis.specs.openapi.checks import response_schema_conformance
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from rnnapp.serving import Client
from rnnapp.serving.protocol import METHODS
from rnnapp.serving.server.app import Server
from tests.serving import mutations
from tests.serving.conftest import ask

REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
VERBS = st.sampled_from(["predict", "predict", "classify", "regress"])
ENDS = {1000, 1002, 1003, 1007, 1009}  # of streams, where the client is the reason
# What a schema cannot say, so that a request which fits it may be refused.
UNSAID = (
    "each list of one length|same number of|must be from 0 to the|must be an object of"
    "|without a decimal point"  # to a schema, 1.0 is an integer
)


class Wire:
    """Connections to a server; counts what is sent and judges what comes back."""

    def __init__(self, server: Server) -> None:
        self.server, self.sent, self.accepted = server, 0, 0
        place = urlsplit(server.url)
        self.host, self.port = str(place.hostname), int(place.port or 0)
        self._http = http.client.HTTPConnection(self.host, self.port, timeout=60)
        self._channel, self._session = grpc.insecure_channel(server.address), requests.Session()
        self.schema = schemathesis.openapi.from_dict(ask(f"{server.url}/openapi.json")[1])

    def close(self) -> None:
        """Hangs up."""
        self._http.close()
        self._channel.close()
        self._session.close()

    def rest(self, method: str, path: str, body: bytes) -> None:
        """A request whose head is right."""
        self._http.request(method, path, body)
        answer = self._http.getresponse()
        self._judge(answer.status, answer.read())

    def described(self, case: schemathesis.Case) -> None:
        """A request that schemathesis made of the description, to fit it or not to."""
        answer = case.call(base_url=self.server.url, session=self._session, timeout=60)
        excluded = [positive_data_acceptance]
        if re.search(rb"NaN|Infinity", answer.content):  # to the validator, no number
            excluded.append(response_schema_conformance)
        case.validate_response(answer, excluded_checks=excluded)
        assert case.meta
        if case.meta.generation.mode.is_positive and answer.status_code != 200:
            assert re.search(UNSAID, answer.json()["error"]), answer.content
        self._judge(answer.status_code, answer.content)

    def grpc(self, name: str, content: bytes) -> None:
        """A call."""
        self.sent += 1
        try:
            self._channel.unary_unary(METHODS[name].path)(content, timeout=60)
            self.accepted += 1
        except grpc.RpcError as error:
            assert error.code() in REFUSED, error

    def raw(self, content: bytes) -> None:
        """Bytes on a connection of their own, which may be no request; some answers are awaited."""
        self.sent += 1
        with socket.create_connection((self.host, self.port), timeout=60) as connection:
            connection.sendall(content)
            connection.settimeout(0.03)
            try:
                head = connection.recv(12)
            except (TimeoutError, ConnectionError):
                return
        assert not head or re.fullmatch(rb"HTTP/1\.1 ([124]\d\d)", head), head

    def stream(self, messages: list[bytes | str]) -> None:
        """A stream until it is ended."""
        url = f"ws://{self.host}:{self.port}/v1/models/{self.server.name}:stream"
        with connect(url) as socket:
            for message in messages:
                self.sent += 1
                try:
                    socket.send(message)
                    assert json.loads(socket.recv()).keys() == {"predictions"}
                    self.accepted += 1
                except ConnectionClosed as end:
                    assert end.rcvd and end.rcvd.code in ENDS, end
                    return

    def _judge(self, status: int, content: bytes) -> None:
        self.sent += 1
        self.accepted += status == 200
        if status != 200:
            assert 400 <= status < 500, (status, content)
            assert not content or json.loads(content).keys() == {"error"}


@dataclass(frozen=True)
class Kind:
    """A kind of requests.

    Args:
        count: How many of ten thousand.
        strategy: Makes them.
        send: Sends one.
    """

    count: int
    strategy: Callable[[Wire], st.SearchStrategy[Any]]
    send: Callable[[Wire, Any], None]


def _ask(wire: Wire, asked: tuple[str, bytes]) -> None:
    wire.rest("POST", f"/v1/models/{wire.server.name}:{asked[0]}", asked[1])


def _ask_rightly(wire: Wire, body: bytes) -> None:
    accepted = wire.accepted
    _ask(wire, ("predict", body))
    assert wire.accepted == accepted + 1, body


def _visit(wire: Wire, asked: tuple[str, str]) -> None:
    wire.rest(asked[0], f"/v1/models/{wire.server.name}{quote(asked[1])}", b"{}")


def _predict(wire: Wire, content: bytes) -> None:
    wire.grpc("Predict", content)


def _as_json(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return strategy.map(lambda document: json.dumps(document).encode())


_right = _as_json(st.sampled_from(mutations.RIGHT_DOCUMENTS))
KINDS = {
    "right documents": Kind(500, lambda _: _as_json(mutations.right), _ask_rightly),
    "documents": Kind(
        1000, lambda _: st.tuples(VERBS, _as_json(mutations.documents | mutations.values)), _ask
    ),
    "nearly right documents": Kind(
        2000, lambda _: st.tuples(VERBS, mutations.nearly_right()), _ask
    ),
    "damaged documents": Kind(1200, lambda _: st.tuples(VERBS, mutations.damaged(_right)), _ask),
    "bytes": Kind(300, lambda _: st.tuples(VERBS, st.binary(max_size=200)), _ask),
    "paths": Kind(400, lambda _: mutations.paths, _visit),
    "calls": Kind(600, lambda _: mutations.any_tensors, _predict),
    "nearly right calls": Kind(1500, lambda _: mutations.nearly_right_tensors(), _predict),
    "damaged calls": Kind(
        1500, lambda _: mutations.damaged_calls, lambda wire, call: wire.grpc(*call)
    ),
    "calls of bytes": Kind(
        300,
        lambda _: st.tuples(st.sampled_from(sorted(METHODS)), st.binary(max_size=80)),
        lambda wire, call: wire.grpc(*call),
    ),
    "connections": Kind(300, lambda _: mutations.http(), Wire.raw),
    "streams": Kind(300, lambda _: mutations.stream_messages, Wire.stream),
    "described": Kind(
        150, lambda wire: wire.schema.as_strategy(GenerationMode.POSITIVE), Wire.described
    ),
    "contrary to the description": Kind(
        150, lambda wire: wire.schema.as_strategy(GenerationMode.NEGATIVE), Wire.described
    ),
}


@pytest.fixture(scope="module")
def wire(server: Server) -> Iterator[Wire]:
    """Connections to the words' server."""
    wire = Wire(server)
    yield wire
    wire.close()


@pytest.fixture(autouse=True)
def still_right(server: Server, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After all of it, the server answers as before, and nothing failed behind the answers."""
    noise = np.random.default_rng(0).normal(size=(1, 2400)).astype(np.float32)
    with Client(server.address, server.name) as client:
        before = client.predict(noise).probabilities
        yield
        np.testing.assert_array_equal(client.predict(noise).probabilities, before)
    assert ask(server.url + "/healthz")[0] == 200
    assert not [each for each in caplog.get_records("call") if each.levelno >= logging.ERROR]


def fuzz(wire: Wire, kind: Kind, count: int) -> None:
    """Sends requests of a kind."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.strategy(wire))
    def send(request: Any) -> None:
        kind.send(wire, request)

    send()


@pytest.mark.parametrize("name", KINDS)
def test_whatever_is_sent_is_answered(wire: Wire, name: str) -> None:
    """NaN, wrong types and shapes, ragged lists, lies about lengths, broken messages and heads."""
    fuzz(wire, KINDS[name], 40)


@pytest.mark.slow
def test_ten_thousand_requests(wire: Wire) -> None:
    """Of all kinds, so many that what is rare is met."""
    begun = wire.sent
    for kind in KINDS.values():
        end = wire.sent + kind.count
        while wire.sent < end:  # a strategy may run out of what is new
            fuzz(wire, kind, end - wire.sent)
    assert wire.sent - begun >= 10_000


@pytest.mark.parametrize("pause", [None, 0.0, 0.3])
@pytest.mark.parametrize("path", ["GET /healthz", "HEAD /healthz", "POST /v1/models/words:predict"])
def test_bodies_that_turn_into_nonsense_end_a_connection(
    wire: Wire, path: str, pause: float | None
) -> None:
    """Before the answer, or after it: nobody answers twice, or fails to."""
    head = f"{path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection((wire.host, wire.port), timeout=60) as connection:
        connection.sendall(head + b"no length\r\n" * (pause is None))
        if pause is not None:
            time.sleep(pause)
            connection.sendall(b"no length\r\n")
        assert connection.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 400")
        while connection.recv(1000):
            pass


def test_deep_and_huge_documents_are_refused(server: Server) -> None:
    """What recursion would end a process with."""
    url = f"{server.url}/v1/models/{server.name}:predict"
    for depth in (40, 70, 900, 100_000):
        status, _ = ask(url, b'{"inputs": ' + b"[" * depth + b"]" * depth + b"}")
        assert status == 400, depth
    assert ask(url, {"inputs": [10**400]})[0] == 400
    assert ask(url, json.dumps({"inputs": 1}).encode("utf-16"))[0] == 400
