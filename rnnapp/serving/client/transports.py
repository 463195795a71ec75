"""What sends calls: gRPC or HTTP, waiting for the answer or not."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from rnnapp.serving.client.wire import GrpcWire, Raw, RestWire, Wire
from rnnapp.serving.errors import Code, ServingError
from rnnapp.specs import require

_SCHEMES = ("grpc", "grpcs", "http", "https")
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True)
class Target:
    """Where a server is, and how it is spoken to.

    Args:
        scheme: grpc, grpcs, http or https.
        address: Host and port, and of REST a path if there is one.
        api_key: Sent along; "" for none.
        ca_cert: A file of PEM certificates that are trusted; those of the system by default.
    """

    scheme: str
    address: str
    api_key: str = ""
    ca_cert: Path | None = None

    @classmethod
    def of(cls, url: str, api_key: str = "", ca_cert: Path | None = None) -> Target:
        """Of a URL; `host:port` alone is gRPC without TLS.

        Raises:
            ValueError: If it is none.
        """
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        if parts.scheme not in _SCHEMES or not parts.netloc:
            raise ValueError(
                f"`url` must be host:port, or begin with one of {', '.join(_SCHEMES)} and ://. "
                f"Received: url={url!r}"
            )
        require(api_key.isascii() and api_key.isprintable(), "api_key", "printable ASCII", "...")
        return cls(parts.scheme, parts.netloc + parts.path.rstrip("/"), api_key, ca_cert)

    @property
    def wire(self) -> Wire:
        """How calls travel."""
        return GrpcWire() if self.scheme.startswith("grpc") else RestWire()

    @property
    def headers(self) -> dict[str, str]:
        """What goes along with each call."""
        return {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}


class Transport(Protocol):
    """Sends calls, and waits for their answers."""

    def send(self, raw: Raw, timeout: float) -> Any:
        """The answer as it came; what fails is a ServingError."""

    def close(self) -> Any:
        """Ends connections."""


def blocking(target: Target) -> Transport:
    """What sends calls and waits."""
    return _Grpc(target) if target.scheme.startswith("grpc") else _Http(target)


def awaiting(target: Target) -> Transport:
    """What sends calls by coroutines."""
    return _AsyncGrpc(target) if target.scheme.startswith("grpc") else _AsyncHttp(target)


class _Grpc:
    def __init__(self, target: Target) -> None:
        import grpc

        self._error, self._metadata = grpc.RpcError, tuple(target.headers.items())
        if target.scheme == "grpcs":
            self._channel = grpc.secure_channel(target.address, _credentials(target), _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target.address, _OPTIONS)
        self._method = functools.cache(self._channel.unary_unary)

    def send(self, raw: Raw, timeout: float) -> bytes:
        try:
            return self._method(raw.path)(raw.body, timeout=timeout, metadata=self._metadata)
        except self._error as error:
            raise _of_rpc(error) from error

    def close(self) -> None:
        self._channel.close()


class _AsyncGrpc:
    def __init__(self, target: Target) -> None:
        import grpc

        self._error, self._metadata = grpc.RpcError, tuple(target.headers.items())
        if target.scheme == "grpcs":
            self._channel = grpc.aio.secure_channel(target.address, _credentials(target), _OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(target.address, _OPTIONS)
        self._method = functools.cache(self._channel.unary_unary)

    async def send(self, raw: Raw, timeout: float) -> bytes:
        try:
            return await self._method(raw.path)(raw.body, timeout=timeout, metadata=self._metadata)
        except self._error as error:
            raise _of_rpc(error) from error

    async def close(self) -> None:
        await self._channel.close()


def _credentials(target: Target) -> Any:
    import grpc

    return grpc.ssl_channel_credentials(target.ca_cert.read_bytes() if target.ca_cert else None)


def _of_rpc(error: Any) -> ServingError:
    """gRPC's error, sync or async."""
    name = error.code().name
    code = Code[name] if name in Code.__members__ else Code.UNKNOWN
    return ServingError(code, error.details() or "no reason given")


class _Http:
    def __init__(self, target: Target) -> None:
        import httpx2

        self._library = httpx2
        self._client = httpx2.Client(**_http_options(target, httpx2))

    def send(self, raw: Raw, timeout: float) -> tuple[int, bytes]:
        try:
            answer = self._client.request(*_http_request(raw), content=raw.body, timeout=timeout)
        except self._library.TransportError as error:
            raise _of_http(error, self._library) from error
        return answer.status_code, answer.content

    def close(self) -> None:
        self._client.close()


class _AsyncHttp:
    def __init__(self, target: Target) -> None:
        import httpx2

        self._library = httpx2
        self._client = httpx2.AsyncClient(**_http_options(target, httpx2))

    async def send(self, raw: Raw, timeout: float) -> tuple[int, bytes]:
        request = self._client.request(*_http_request(raw), content=raw.body, timeout=timeout)
        try:
            answer = await request
        except self._library.TransportError as error:
            raise _of_http(error, self._library) from error
        return answer.status_code, answer.content

    async def close(self) -> None:
        await self._client.aclose()


def _http_options(target: Target, library: Any) -> dict[str, Any]:
    trusted = ssl.create_default_context(cafile=target.ca_cert) if target.ca_cert else True
    headers = {**target.headers, "content-type": "application/json"}
    return {
        "base_url": f"{target.scheme}://{target.address}",
        "headers": headers,
        "verify": trusted,
        # None: by default but 20 connections stay open, and the others are made for each request.
        "limits": library.Limits(),
    }


def _http_request(raw: Raw) -> tuple[str, str]:
    return ("GET" if raw.body is None else "POST"), raw.path


def _of_http(error: Exception, library: Any) -> ServingError:
    late = isinstance(error, library.TimeoutException)
    code = Code.DEADLINE_EXCEEDED if late else Code.UNAVAILABLE
    return ServingError(code, str(error) or type(error).__name__)
