"""Whatever is sent, the server says what is wrong, fails never, and answers on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnnapp.serving import Client
from rnnapp.serving.protocol import METHODS, DataType, PredictRequest
from rnnapp.serving.server.app import Server
from tests.serving.conftest import ask

REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
many = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["waveform", "lengths", "b64", "x"]) | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(["padded", "step", "serving_default"]) | values,
        "instances": values | st.lists(st.lists(st.floats(-1, 1), max_size=4), max_size=3),
        "inputs": values,
        "examples": values,
        "context": values,
    },
)


@pytest.fixture(autouse=True, scope="module")
def still_right(server: Server) -> Iterator[None]:
    """After all of it, the server answers as before."""
    noise = np.random.default_rng(0).normal(size=(1, 2400)).astype(np.float32)
    with Client(server.address, server.name) as client:
        before = client.predict(noise).probabilities
        yield
        np.testing.assert_array_equal(client.predict(noise).probabilities, before)
    assert ask(server.url + "/healthz")[0] == 200


@many
@given(documents | values, st.sampled_from(["predict", "classify", "regress"]))
def test_rest_refuses_any_document(server: Server, document: Any, verb: str) -> None:
    """NaN, wrong types, ragged lists, half-right names."""
    status, answer = ask(f"{server.url}/v1/models/{server.name}:{verb}", document)
    assert status == 200 or (400 <= status < 500 and answer.keys() == {"error"}), answer


@many
@given(st.binary(max_size=200))
def test_rest_refuses_any_bytes(server: Server, body: bytes) -> None:
    """No JSON at all."""
    status, answer = ask(f"{server.url}/v1/models/{server.name}:predict", body)
    assert status == 400 and answer.keys() == {"error"}


@many
@given(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
)
def test_rest_refuses_any_path(server: Server, path: str, method: str) -> None:
    """No path reaches the file system."""
    from urllib.parse import quote

    url = f"{server.url}/v1/models/{server.name}/{quote(path)}"
    status, answer = ask(url, b"{}", method=method)
    assert 400 <= status < 500 and answer.keys() == {"error"}


tensors = st.builds(
    dict,
    dtype=st.sampled_from([value.number for value in DataType.values]),
    tensor_shape=st.builds(
        lambda sizes: {"dim": [{"size": size} for size in sizes]},
        st.lists(st.integers(-2, 4) | st.sampled_from([2**31, 2**62]), max_size=3),
    ),
    tensor_content=st.binary(max_size=64),
    float_val=st.lists(st.floats(width=32), max_size=4),
    int_val=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
)
requests = st.builds(
    PredictRequest,
    model_spec=st.fixed_dictionaries(
        {"name": st.just("words") | st.text(st.characters(codec="utf-8"), max_size=4)},
        optional={
            "signature_name": st.sampled_from(["padded", "step", "nix"]),
            "version_label": st.just("stable"),
        },
    ),
    inputs=st.dictionaries(st.sampled_from(["waveform", "lengths", "x"]), tensors, max_size=3),
    output_filter=st.lists(st.sampled_from(["label", "nix"]), max_size=2),
)


def _status(server: Server, path: str, content: bytes) -> grpc.StatusCode:
    with grpc.insecure_channel(server.address) as channel:
        try:
            channel.unary_unary(path)(content, timeout=30)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@many
@given(requests)
def test_grpc_refuses_any_request(server: Server, request: Any) -> None:
    """Wrong types, shapes that are lies, names that are not there, NaN."""
    status = _status(server, METHODS["Predict"].path, request.SerializeToString())
    assert status in REFUSED | {grpc.StatusCode.OK}


@many
@given(st.sampled_from(sorted(METHODS)), st.binary(max_size=80))
def test_grpc_refuses_any_bytes(server: Server, name: str, content: bytes) -> None:
    """No message at all, or another one."""
    assert _status(server, METHODS[name].path, content) in REFUSED


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x00" * 1000,
        b"POST /v1/models/words:predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        b"GET /" + b"x" * 100_000,
    ],
)
def test_clients_that_break_off_harm_nobody(server: Server, sent: bytes) -> None:
    """Half a request, then nothing."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
    assert ask(server.url + "/healthz")[0] == 200


def test_deep_and_huge_documents_are_refused(server: Server) -> None:
    """What recursion would end a process with."""
    url = f"{server.url}/v1/models/{server.name}:predict"
    for depth in (40, 70, 900, 100_000):
        status, _ = ask(url, b'{"inputs": ' + b"[" * depth + b"]" * depth + b"}")
        assert status == 400, depth
    assert ask(url, {"inputs": [10**400]})[0] == 400
    assert ask(url, json.dumps({"inputs": 1}).encode("utf-16"))[0] == 400
