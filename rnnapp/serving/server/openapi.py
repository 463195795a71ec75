"""The REST API described in OpenAPI 3.1: what is served now, to the shape of each tensor."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from rnnapp.serving.server.json_schemas import (
    ANSWER,
    CLASSES,
    METADATA,
    STATUS,
    TEXT,
    Schema,
    any_of,
    examples_request,
    list_of,
    object_of,
    predict_requests,
    predictions,
)
from rnnapp.serving.server.settings import ServerSpec
from rnnapp.serving.server.streams import STEP
from rnnapp.serving.server.versions import Model
from rnnapp.serving.signatures import CLASSIFY, REGRESS, Signature

METRICS, HEALTH, DESCRIPTION = "/monitoring/prometheus/metrics", "/healthz", "/openapi.json"
_ABOUT = """Requests, answers and statuses are those of TensorFlow Serving's REST API.

What a schema cannot say: lists in lists are rectangular; the inputs of a request have as many rows
and timesteps as each other; `lengths` are at most the timesteps; a token is one of the vocabulary.
Numbers of an answer that are not finite are written as NaN, Infinity and -Infinity, as TensorFlow
Serving writes them, although JSON has none.
"""
_STREAMS = """
A WebSocket at `{base}:stream` keeps a stream's state: messages of raw little-endian elements or of
JSON lists, of any number of timesteps, are each answered by `{{"predictions": [...]}}` with one for
each step that they complete.
"""
_ERRORS = {
    400: "The request is wrong; `error` says what it must be.",
    401: "The request carries no API key that is known.",
    404: "There is no such version.",
    408: "The request did not arrive in time.",
    413: "The request is longer than it may be.",
    429: "The request needs more memory than there is.",
    503: "Too many requests wait already, or no version is loaded; try again later.",
    504: "The answer took longer than it may.",
}
_PLAIN: Schema = {"text/plain": {"schema": TEXT}}  # also where connections are too many
_ASKING, _SHOWING = (400, 404, 408, 413, 429, 503, 504), (404, 503)


def description(model: Model, spec: ServerSpec) -> Schema:
    """What a server's REST API takes and gives.

    Args:
        model: The model; each version that answers now is described by its own signatures.
        spec: The server's settings.

    Returns:
        An OpenAPI document.
    """
    base = f"/v1/models/{quote(model.name)}"
    about, paths = _ABOUT, _others()
    for suffix, signatures in _places(model):
        paths |= _paths(base + suffix, suffix.replace("/", "_"), signatures)
        about += _STREAMS.format(base=base) if not suffix and STEP in signatures else ""
    document: Schema = {
        "openapi": "3.1.1",
        "info": {
            "title": model.name,
            "version": str(max(model.available, default=0)),
            "description": about,
        },
        "paths": paths,
    }
    if spec.api_keys:
        document["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"key": []}]
        paths[HEALTH]["get"]["security"] = []
    return document


def _places(model: Model) -> Iterator[tuple[str, dict[str, Signature]]]:
    """What stands behind the model's name, and the signatures that answer there."""
    places = {"": max(model.available, default=0)}
    places |= {f"/versions/{number}": number for number in model.available}
    for label, number in model.labels.items():
        if label and not set("/:").intersection(label):
            places[f"/labels/{quote(label)}"] = number
    for suffix, number in places.items():
        loaded = model.versions[number].model if number in model.available else None
        if loaded:
            yield suffix, loaded.signatures


def _paths(place: str, suffix: str, signatures: dict[str, Signature]) -> Schema:
    """What one version answers, at one of its places."""
    paths = {
        place: {"get": _shown(f"status{suffix}", "Where versions stand.", STATUS)},
        f"{place}/metadata": {"get": _shown(f"metadata{suffix}", "The signatures.", METADATA)},
    }
    answers = any_of(answer for each in signatures.values() for answer in predictions(each))
    question = any_of(predict_requests(signatures))
    paths[f"{place}:predict"] = {"post": _asked(f"predict{suffix}", question, answers)}
    for verb, method, result in (("classify", CLASSIFY, CLASSES), ("regress", REGRESS, ANSWER)):
        names = [name for name, each in signatures.items() if each.method == method]
        if names:
            answer = object_of({"results": list_of(result)})
            question = examples_request(names)
            paths[f"{place}:{verb}"] = {"post": _asked(f"{verb}{suffix}", question, answer)}
    return paths


def _asked(name: str, request: Schema, answer: Schema) -> Schema:
    body = {"required": True, "content": _json(request)}
    return {"operationId": name, "requestBody": body, "responses": _answers(answer, _ASKING)}


def _shown(name: str, summary: str, answer: Schema, errors: tuple[int, ...] = _SHOWING) -> Schema:
    return {"operationId": name, "summary": summary, "responses": _answers(answer, errors)}


def _answers(answer: Schema, errors: tuple[int, ...]) -> Schema:
    error = _json(object_of({"error": TEXT}))
    refusals = {
        str(status): {
            "description": _ERRORS[status],
            "content": error | (_PLAIN if status == 503 else {}),
        }
        for status in sorted({*errors, 401})
    }
    return {"200": {"description": "The answer.", "content": _json(answer)}, **refusals}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _others() -> Schema:
    """Paths that are no model's."""
    health = _shown("health", "Whether a version answers.", object_of({"status": TEXT}), ())
    health["responses"]["503"] = {
        "description": "No version is loaded.",
        "content": health["responses"]["200"]["content"] | _PLAIN,
    }
    metrics = _shown("metrics", "Figures for Prometheus.", {}, (503,))
    metrics["responses"]["200"]["content"] = _PLAIN
    own = _shown("description", "This document.", {"type": "object"}, (503,))
    return {HEALTH: {"get": health}, METRICS: {"get": metrics}, DESCRIPTION: {"get": own}}
