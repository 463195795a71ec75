"""Calls as bytes and back, by gRPC or REST; what sends them is another matter."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
from google.protobuf import json_format  # type: ignore[import-untyped]

from rnnapp.serving.errors import Code, ServingError, code_of_http
from rnnapp.serving.protocol import (
    METHODS,
    GetModelMetadataResponse,
    Message,
    PredictResponse,
    SignatureDefMap,
)
from rnnapp.serving.signatures import Signature
from rnnapp.serving.tensors import STRING, dtype_of, fill, to_array

SIGNATURES = "signature_def"  # the one kind of metadata there is


@dataclass(frozen=True)
class Call:
    """What is asked.

    Args:
        name: A key of `METHODS`.
        request: Its message.
        signature: Which signature is asked, of a prediction.
    """

    name: str
    request: Message
    signature: Signature | None = None


@dataclass(frozen=True)
class Raw:
    """A call as it travels.

    Args:
        path: Where to.
        body: What is sent; None of an HTTP request that gets.
    """

    path: str
    body: bytes | None


class Wire(Protocol):
    """How calls travel."""

    def encode(self, call: Call) -> Raw:
        """A call as it travels."""

    def decode(self, call: Call, answer: Any) -> Message:
        """The message of an answer as it came."""


class GrpcWire:
    """gRPC: messages as they are."""

    def encode(self, call: Call) -> Raw:
        """A call's path and message."""
        return Raw(METHODS[call.name].path, call.request.SerializeToString())

    def decode(self, call: Call, answer: bytes) -> Message:
        """The message of an answer."""
        return METHODS[call.name].response.FromString(answer)


class RestWire:
    """REST: JSON by columns."""

    def encode(self, call: Call) -> Raw:
        """A call's path and JSON."""
        spec = call.request.model_spec
        path = f"/v1/models/{quote(spec.name, safe='')}"
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            path += f"/versions/{spec.version.value}"
        elif choice == "version_label":
            path += f"/labels/{quote(spec.version_label, safe='')}"
        if call.name != "Predict":
            return Raw(path + ("/metadata" if call.name == "GetModelMetadata" else ""), None)
        inputs = call.request.inputs
        document = {
            "signature_name": spec.signature_name,
            "inputs": {name: _json(to_array(inputs[name])) for name in inputs},
        }
        return Raw(f"{path}:predict", json.dumps(document).encode())

    def decode(self, call: Call, answer: tuple[int, bytes]) -> Message:
        """The message that an answer's JSON stands for."""
        status, body = answer
        try:
            document = json.loads(body)
        except ValueError:
            document = {"error": body[:200].decode(errors="replace")}
        if status != 200:
            raise ServingError(code_of_http(status), str(document.get("error", document)))
        if call.name == "Predict":
            return _predicted(call, document)
        if call.name == "GetModelMetadata":
            return _described(document)
        response = METHODS[call.name].response()
        return json_format.ParseDict(document, response, ignore_unknown_fields=True)


def _described(document: dict[str, Any]) -> Message:
    """A model's signatures; in JSON, their message does not say its type."""
    known = json_format.ParseDict(
        document["metadata"][SIGNATURES], SignatureDefMap(), ignore_unknown_fields=True
    )
    response = GetModelMetadataResponse()
    json_format.ParseDict(
        document.get("model_spec", {}), response.model_spec, ignore_unknown_fields=True
    )
    response.metadata[SIGNATURES].Pack(known)
    return response


def _predicted(call: Call, document: dict[str, Any]) -> Message:
    """A prediction; REST does not say of which version, nor of which type."""
    assert call.signature
    specs, columns = call.signature.outputs, document["outputs"]
    names = list(call.request.output_filter) or list(specs)
    if len(specs) == 1:  # the one output has no name
        columns = {next(iter(specs)): columns}
    response = PredictResponse()
    for name in names:
        if name not in columns:
            raise ServingError(
                Code.INVALID_ARGUMENT, f"There is no output {name!r}. Valid names: {sorted(specs)}"
            )
        fill(response.outputs[name], _array(columns[name], specs[name].dtype))
    return response


def _array(value: Any, data_type: int) -> np.ndarray:
    dtype = dtype_of(data_type)
    return np.array(value, np.str_ if dtype == STRING else dtype)


def _json(array: np.ndarray) -> Any:
    """Nested lists; strings as base64, which any bytes have."""
    if array.dtype != STRING:
        return array.tolist()
    return _base64(array.tolist())


def _base64(value: Any) -> Any:
    if isinstance(value, list):
        return [_base64(each) for each in value]
    return {"b64": base64.b64encode(value).decode()}
