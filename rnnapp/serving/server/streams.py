"""Streams over WebSocket: the server keeps the state of a model's step for as long as they last.

`/v1/models/NAME:stream` takes messages of raw little-endian elements, float32 samples of sound say,
or of JSON lists, of any number of timesteps. Each is answered by `{"predictions": [...]}` with one
for each step that it completes; what is left over is kept for the next.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from rnnapp.serving.errors import HTTP_STATUS, Code, ServingError, invalid
from rnnapp.serving.protocol import Message
from rnnapp.serving.server import json_tensors
from rnnapp.serving.server.batching import Batcher
from rnnapp.serving.server.metrics import Metrics
from rnnapp.serving.server.service import Service, within
from rnnapp.serving.server.settings import ServerSpec, authorize
from rnnapp.serving.signatures import Signature, named
from rnnapp.serving.steps import STEP, StepForm

logger = logging.getLogger("rnnapp.serving")
# WebSocket's codes for how a stream ends.
WRONG_DATA, FAILED = 1007, 1011
_ENDS = {
    Code.DEADLINE_EXCEEDED: 1001,  # nothing was heard for too long
    Code.UNAVAILABLE: 1013,
    Code.INTERNAL: FAILED,
}
MAX_REASON = 123  # bytes that a frame which ends a stream holds


class Stream:
    """One stream: its state, and what does not make up a step yet.

    Args:
        signature: The signature `step`.
        batcher: Answers it; steps of several streams go together.

    Raises:
        ServingError: If the signature is none of a step.
    """

    def __init__(self, signature: Signature, batcher: Batcher) -> None:
        self._form, self._batcher = StepForm(signature), batcher
        self._rest, self._states = self._form.nothing(), self._form.zeros()

    async def hear(self, message: bytes | str) -> list[dict[str, Any]]:
        """What the model says after each step that a message completes.

        Args:
            message: Elements in memory's order, or a JSON list.

        Raises:
            ServingError: If it is neither, or the server is busy.
        """
        steps, self._rest = self._form.cut(np.concatenate([self._rest, self._read(message)]))
        answers = []
        for step in steps:
            outputs = await self._batcher({self._form.name: step, **self._states})
            said, self._states = self._form.parted(outputs)
            answers += json_tensors.written(said, by_rows=True)["predictions"]
        return answers

    def _read(self, message: bytes | str) -> np.ndarray:
        form, row = self._form, self._form.shape[1:]  # of one timestep
        if isinstance(message, bytes):
            size = form.dtype.itemsize * math.prod(row)
            if len(message) % size:
                raise invalid(f"A message must be whole timesteps of {size} bytes.")
            heard = np.frombuffer(message, form.dtype)
            if form.dtype.kind == "f" and not np.isfinite(heard).all():
                raise invalid("A message must hold finite numbers.")  # the state would keep them
            return heard.reshape(-1, *row)
        array = json_tensors.array_of(form.name, json_tensors.loaded(message), form.spec)
        if array.shape[1:] != row or not array.ndim:
            raise invalid(f"A message must be a list of timesteps of shape {list(row)}.")
        return array


class Streams:
    """Answers WebSockets.

    Args:
        service: What answers.
        spec: The server's settings.
        metrics: Told of each stream.
    """

    def __init__(self, service: Service, spec: ServerSpec, metrics: Metrics) -> None:
        self._service, self._spec, self._metrics = service, spec, metrics
        self._open = 0

    async def __call__(self, socket: WebSocket, spec: Message) -> None:
        """Serves a stream from its start to its end.

        Args:
            socket: The WebSocket, not yet accepted.
            spec: Which version of the model, a ModelSpec; it stays loaded as long.
        """
        try:
            with self._metrics.request("rest", "stream"):
                authorize(self._spec.api_keys, socket.headers.get("authorization", ""))
                with self._service.model.using(spec) as version, self._counted():
                    assert version.model
                    signature = named(version.model.signatures, STEP)
                    stream = Stream(signature, version.batchers[STEP])
                    await socket.accept()
                    await self._serve(socket, stream)
        except ServingError as error:
            await refuse(socket, error)
        except WebSocketDisconnect:
            pass  # as streams end
        except Exception:
            logger.exception("a stream failed")
            await socket.close(FAILED, "The server failed: its log says why.")

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if self._open >= self._spec.max_streams:
            raise ServingError(Code.UNAVAILABLE, f"{self._open} streams are open already.")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def _serve(self, socket: WebSocket, stream: Stream) -> None:
        while True:
            async with within(self._spec.stream_seconds):
                message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            content = message.get("bytes")
            async with within(self._spec.request_seconds):
                answers = await stream.hear(message["text"] if content is None else content)
            await socket.send_text(json.dumps({"predictions": answers}, ensure_ascii=False))


async def refuse(socket: WebSocket, error: ServingError) -> None:
    """Ends a stream: by an HTTP status before it begins, by a code and a reason afterwards.

    Args:
        socket: The WebSocket.
        error: Why.
    """
    if socket.client_state is WebSocketState.CONNECTING:
        await socket.send_denial_response(
            JSONResponse({"error": error.message}, HTTP_STATUS[error.code])
        )
    elif socket.application_state is WebSocketState.CONNECTED:
        code = _ENDS.get(error.code, WRONG_DATA)
        reason = error.message.encode()[:MAX_REASON].decode(errors="ignore")
        await socket.close(code, reason)
