"""TensorFlow Serving's REST API, health and metrics, as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from rnnapp.serving.errors import HTTP_STATUS, Code, ServingError, invalid
from rnnapp.serving.protocol import Message, ModelSpec, SignatureDefMap
from rnnapp.serving.server import json_tensors
from rnnapp.serving.server.metrics import Metrics
from rnnapp.serving.server.openapi import DESCRIPTION, HEALTH, METRICS, description
from rnnapp.serving.server.service import SIGNATURES, Service, within
from rnnapp.serving.server.settings import ServerSpec, authorize
from rnnapp.serving.server.streams import Streams, refuse
from rnnapp.serving.signatures import CLASSIFY, REGRESS

logger = logging.getLogger("rnnapp.serving")
TOO_SLOW, TOO_LARGE = 408, 413
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASKED = re.compile(_MODEL + r":(?P<verb>predict|classify|regress)", re.ASCII)
_STREAMED = re.compile(_MODEL + r":stream", re.ASCII)
_SHOWN = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.ASCII)


class RestApi:
    """Answers HTTP requests.

    Args:
        service: What answers.
        spec: The server's settings.
        metrics: Told of each request.
    """

    def __init__(self, service: Service, spec: ServerSpec, metrics: Metrics) -> None:
        self._service, self._spec, self._metrics = service, spec, metrics
        self._verbs: dict[str, Callable[[Message, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "predict": self._predict,
            "classify": lambda spec, document: self._infer(spec, document, CLASSIFY),
            "regress": lambda spec, document: self._infer(spec, document, REGRESS),
        }
        self._streams = Streams(service, spec, metrics)
        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        self.app = Starlette(
            routes=[
                Route("/v1/{path:path}", self._models, methods=every),
                WebSocketRoute("/v1/{path:path}", self._stream),
                Route(METRICS, self._exposition),
                Route(HEALTH, self._health),
                Route(DESCRIPTION, self._description),
            ],
            exception_handlers={HTTPException: _refused, ServingError: _failed},
        )
        self.app.router.redirect_slashes = False

    async def _models(self, request: Request) -> Response:
        """All requests under /v1/; whatever goes wrong is answered in TensorFlow Serving's way."""
        path, method = request.scope["path"], request.method
        asked, shown = _ASKED.fullmatch(path), _SHOWN.fullmatch(path)
        try:
            if asked and method == "POST":
                with self._metrics.request("rest", asked["verb"]):
                    return await self._asked(request, asked)
            if shown and method == "GET":
                with self._metrics.request("rest", "metadata" if shown["metadata"] else "status"):
                    self._authorize(request)
                    return _json(self._shown(shown))
            with self._metrics.request("rest", "other"):
                self._authorize(request)
                raise invalid(f"Malformed request: {method} {path}")
        except ServingError as error:
            return await _failed(request, error)
        except ClientDisconnect:
            return _error(HTTP_STATUS[Code.CANCELLED], "The client is gone.")
        except Exception:
            logger.exception("%s %s failed", method, path)
            return _error(500, "The server failed: its log says why.")

    async def _asked(self, request: Request, match: re.Match[str]) -> Response:
        self._authorize(request)
        body = await self._body(request)
        async with within(self._spec.request_seconds):
            document = json_tensors.parse(body)
            spec = _spec(match, document.get("signature_name", ""))
            return _json(await self._verbs[match["verb"]](spec, document))

    def _authorize(self, request: Request) -> None:
        authorize(self._spec.api_keys, request.headers.get("authorization", ""))

    async def _body(self, request: Request) -> bytes:
        """A request's body, which is never kept further than it may be long."""
        body, limit = bytearray(), self._spec.max_body
        try:
            async with asyncio.timeout(self._spec.request_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise _BadBody(TOO_LARGE, f"A request must be at most {limit} bytes.")
        except TimeoutError as error:
            raise _BadBody(TOO_SLOW, "The request did not arrive in time.") from error
        return bytes(body)

    async def _predict(self, spec: Message, document: dict[str, Any]) -> dict[str, Any]:
        by_rows = json_tensors.is_by_rows(document)
        answer = await self._service.predict(
            spec, lambda signature: json_tensors.arrays(document, signature)
        )
        return json_tensors.written(answer.outputs, by_rows)

    async def _infer(self, spec: Message, document: dict[str, Any], method: str) -> dict[str, Any]:
        result, _ = await self._service.infer(spec, json_tensors.examples(document), method)
        return json_tensors.inferred(result)

    def _shown(self, match: re.Match[str]) -> dict[str, Any]:
        spec = _spec(match)
        if match["metadata"]:
            response, known = self._service.metadata(spec, [SIGNATURES]), SignatureDefMap()
            response.metadata[SIGNATURES].Unpack(known)
            return {
                "model_spec": _dict(response.model_spec),
                "metadata": {SIGNATURES: _dict(known)},
            }
        return _dict(self._service.status(spec))

    async def _stream(self, socket: WebSocket) -> None:
        """Other paths are no WebSockets'."""
        match = _STREAMED.fullmatch(socket.scope["path"])
        if match is None:
            await socket.close()
            return
        try:
            spec = _spec(match)
        except ServingError as error:
            await refuse(socket, error)
        else:
            await self._streams(socket, spec)

    async def _exposition(self, request: Request) -> Response:
        self._authorize(request)
        return Response(
            generate_latest(self._metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST}
        )

    async def _description(self, request: Request) -> Response:
        self._authorize(request)
        return _json(description(self._service.model, self._spec))

    async def _health(self, request: Request) -> Response:
        ready = bool(self._service.model.available)
        return _json({"status": "ok" if ready else "no version is loaded"}, 200 if ready else 503)


class _BadBody(ServingError):
    """Of a request for which HTTP has a status of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, message)
        self.status = status


def _spec(match: re.Match[str], signature: str = "") -> Message:
    """The ModelSpec that a path names."""
    try:
        spec = ModelSpec(name=match["name"], signature_name=signature)
        if match["version"]:
            spec.version.value = int(match["version"])
        if match["label"]:
            spec.version_label = match["label"]
    except ValueError as error:  # past an int64, or no valid Unicode
        raise invalid(f"The model, version or signature cannot be so named. {error}") from error
    return spec


def _dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _json(
    content: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    text = json.dumps(content, ensure_ascii=False)
    return Response(text, status, headers, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    """What is neither under /v1/ nor anything else."""
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)
    status = error.status if isinstance(error, _BadBody) else HTTP_STATUS[error.code]
    return _error(status, error.message)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json({"error": message.encode(errors="replace").decode()}, status, headers)
