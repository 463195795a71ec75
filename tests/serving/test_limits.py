"""What a request may weigh, by itself and on others."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from rnnapp.serving import Code, ServingError
from rnnapp.serving.protocol import METHODS
from rnnapp.serving.server.app import Server
from tests.serving.conftest import MAX_BODY, Rest, client
from tests.serving.mutations import right_call


def refused(server: Server, content: bytes, **options: Any) -> Any:
    """The error of a call of Predict."""
    with (
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary(METHODS["Predict"].path)(content, timeout=60, **options)
    return caught.value


def test_what_unpacks_to_too_much_is_refused(server: Server) -> None:
    """Forty megabytes of zeros are forty kilobytes on the way."""
    error = refused(server, bytes(10 * MAX_BODY), compression=grpc.Compression.Gzip)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    content = right_call("", waveform=np.zeros((1, 2400), np.float32)).SerializeToString()
    with grpc.insecure_channel(server.address) as channel:
        predict = channel.unary_unary(METHODS["Predict"].path)
        assert predict(content, timeout=60, compression=grpc.Compression.Gzip)


def test_reasons_fit_into_a_header(server: Server) -> None:
    """Or the client would be told of the header, and not of the reason."""
    request = right_call("")
    request.model_spec.name = "\N{SNOWMAN}" * 5000
    error = refused(server, request.SerializeToString())
    assert error.code() is grpc.StatusCode.NOT_FOUND and "\N{SNOWMAN}" in error.details()


def test_rows_that_are_empty_are_refused_at_once(server: Server) -> None:
    """Eight billion of them are a message of sixty bytes."""
    for signature in ("", "padded"):
        request = right_call(signature, waveform=np.zeros((1, 0), np.float32))
        request.inputs["waveform"].tensor_shape.dim[0].size = 2**33
        error = refused(server, request.SerializeToString())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_bodies_have_a_limit(server: Server, rest: Rest) -> None:
    """Memory is not the client's; the connection's other requests are answered."""
    status, document = rest(f"/v1/models/{server.name}:predict", b" " * (5 * 2**20))
    assert status == 413 and "at most" in document["error"]
    with client(server, "grpc") as asking, pytest.raises(ServingError) as caught:
        asking.predict(np.zeros((1, 2 * 2**20), np.float32))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
