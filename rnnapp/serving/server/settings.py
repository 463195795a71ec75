"""How a server is set up."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.server.batching import BatchSpec
from rnnapp.serving.server.versions import Policy
from rnnapp.specs import require

BEARER = "Bearer "
MIN_KEY = 16  # characters


@dataclass(frozen=True)
class ServerSpec:
    """A server's settings.

    Args:
        host: The address to listen at; this machine alone by default.
        port: gRPC's port; 0 for any that is free.
        rest_port: REST's port; 0 for any that is free.
        name: What requests call the model; the export's name by default.
        batch: How requests become batches.
        policy: Which versions are served.
        labels: Names for versions.
        poll_seconds: Time between looks for new versions.
        request_seconds: What an answer may take; less where the client says so. A connection to
            REST that sends no whole request in this time is ended as well.
        max_body: Bytes of a request.
        max_requests: Requests that are answered at the same time, by each protocol, and
            connections to REST.
        max_streams: WebSockets that are open at the same time.
        stream_seconds: How long a stream may say nothing before it is ended.
        grace_seconds: What requests may take that are under way when the server is stopped.
        api_keys: Requests must carry one of them, if there are any.
        tls_cert: A file of PEM certificates; both or neither of the two.
        tls_key: A file with their PEM key.
        trust: Load SavedModels that are in no manifest.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    rest_port: int = 8501
    name: str = ""
    batch: BatchSpec = field(default_factory=BatchSpec)
    policy: Policy = field(default_factory=Policy)
    labels: dict[str, int] = field(default_factory=dict)
    poll_seconds: float = 1.0
    request_seconds: float = 30.0
    max_body: int = 16 * 2**20
    max_requests: int = 1024
    max_streams: int = 64
    stream_seconds: float = 60.0
    grace_seconds: float = 30.0
    api_keys: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        for name in ("port", "rest_port"):
            port = getattr(self, name)
            require(0 <= port < 65536, name, "from 0 to 65535", port)
        positive = ("poll_seconds", "request_seconds", "stream_seconds", "max_body")
        for name in (*positive, "max_requests", "max_streams"):
            require(getattr(self, name) > 0, name, "positive", getattr(self, name))
        require(self.grace_seconds >= 0, "grace_seconds", "0 or more", self.grace_seconds)
        require(
            (self.tls_cert is None) == (self.tls_key is None),
            "tls_cert",
            "given along with `tls_key`",
            self.tls_cert,
        )
        require(not set("/:").intersection(self.name), "name", "a name without / and :", self.name)


def read_keys(path: Path) -> tuple[str, ...]:
    """The API keys of a file, one a line; lines that begin with # are comments.

    Raises:
        ValueError: If there are none, or one is easily guessed.
    """
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys or any(len(key) < MIN_KEY or not key.isascii() for key in keys):
        raise ValueError(
            f"{path} must hold API keys of at least {MIN_KEY} ASCII characters, one a line. "
            "`openssl rand -hex 32` makes one."
        )
    return keys


def authorize(keys: Sequence[str], header: str) -> None:
    """Lets a request pass that carries a key, as `Authorization: Bearer KEY`.

    Raises:
        ServingError: If it carries none of them.
    """
    given = header.removeprefix(BEARER).encode(errors="replace")
    # All are compared, in constant time: how long it takes says nothing.
    if keys and not any([hmac.compare_digest(key.encode(), given) for key in keys]):
        raise ServingError(
            Code.UNAUTHENTICATED, "The header `Authorization: Bearer KEY` must hold an API key."
        )
