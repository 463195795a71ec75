"""HTTP connections whose clients have a time to say what they want."""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def _refusal(status: str, reason: str) -> bytes:
    body = json.dumps({"error": reason})
    head = [f"HTTP/1.1 {status}", "content-type: application/json", "connection: close"]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", body]).encode()


_TOO_LATE = _refusal("408 Request Timeout", "The request did not arrive in time.")
_NONSENSE = _refusal("400 Bad Request", "This is no valid HTTP request.")
SPARE = 64  # connections past the limit that are told so; others are closed at once


class Connection(H11Protocol):
    """Closes when no request has begun within the time that a connection may be idle.

    Uvicorn itself has no such limit before the first request, and with each byte of a header begins
    anew: a client that sends one a second would keep its connection for ever.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        if self.limit_concurrency and len(self.connections) > self.limit_concurrency + SPARE:
            transport.abort()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """It has said something; only a whole header is a request, which ends the waiting."""
        self.conn.receive_data(data)
        self.handle_events()

    def send_400_response(self, msg: str) -> None:
        """It has said nonsense, perhaps in the middle of a request: it is told so and hung up on.

        Uvicorn itself would let the application answer a second time, and send a body to HEAD,
        which fail.
        """
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_NONSENSE)
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """It has not asked in time; who has begun to is told so."""
        begun = self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]
        if begun and not self.transport.is_closing():
            self.transport.write(_TOO_LATE)
        super().timeout_keep_alive_handler()
