"""What is said between a client and a server, and tried again: once, for both kinds of client.

A conversation is a generator that says what is to be sent and how long to wait, and is given what
came back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rnnapp.serving.client.inputs import prepared
from rnnapp.serving.client.results import Prediction, VersionStatus
from rnnapp.serving.client.transports import Target
from rnnapp.serving.client.wire import SIGNATURES, Call, Raw
from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.protocol import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
    Message,
    ModelSpec,
    ModelVersionStatus,
    PredictRequest,
    SignatureDefMap,
)
from rnnapp.serving.signatures import Signature, named
from rnnapp.serving.tensors import fill, to_array
from rnnapp.specs import require

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds before another try
_STATES = ModelVersionStatus.DESCRIPTOR.enum_types_by_name["State"].values_by_number


@dataclass(frozen=True)
class Send:
    """Send this, and give its answer back, within so many seconds."""

    raw: Raw
    seconds: float


@dataclass(frozen=True)
class Wait:
    """Wait so many seconds."""

    seconds: float


Result = TypeVar("Result")
Steps = Generator[Send | Wait, Any, Result]


class Conversation:
    """What is said to a server.

    Args:
        url: `host:port` or `grpc://host:port` for gRPC, `http://host:port` for REST; `grpcs` and
            `https` with TLS.
        model: The model's name.
        timeout: Seconds that an answer may take, further tries included.
        retries: Further tries while the server is away or busy.
        api_key: Sent along as `Authorization: Bearer KEY`.
        ca_cert: A file of PEM certificates to trust, the system's by default.

    Raises:
        ValueError: If an argument is wrong.
    """

    connect: Callable[[Target], Any]
    """Makes what sends."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        api_key: str = "",
        ca_cert: Path | None = None,
    ) -> None:
        require(timeout > 0, "timeout", "a positive number of seconds", timeout)
        require(retries >= 0, "retries", "0 or more", retries)
        self._target = Target.of(url, api_key, ca_cert)
        self._wire, self._model = self._target.wire, model
        self._timeout, self._retries = timeout, retries
        self._transport = type(self).connect(self._target)
        self._signatures: dict[tuple[int | None, str], dict[str, Signature]] = {}

    def _predict(
        self,
        inputs: Any,
        signature: str,
        version: int | None,
        label: str,
        outputs: Sequence[str],
        timeout: float | None,
    ) -> Steps[Prediction]:
        ends = time.monotonic() + (timeout or self._timeout)
        try:
            signatures = yield from self._described(version, label, ends)
            chosen = named(signatures, signature)
            request = PredictRequest(
                model_spec=self._spec(version, label, signature), output_filter=outputs
            )
            for name, array in prepared(inputs, chosen).items():
                fill(request.inputs[name], array)
            response = yield from self._ask(Call("Predict", request, chosen), ends)
        except ServingError:
            # Another version may be served by now, which takes something else: asked for anew.
            self._signatures.pop((version, label), None)
            raise
        spec = response.model_spec
        return Prediction(
            {name: to_array(response.outputs[name]) for name in sorted(response.outputs)},
            signature,
            spec.version.value if spec.HasField("version") else None,
        )

    def _described(self, version: int | None, label: str, ends: float) -> Steps[dict]:
        """The signatures, which are asked for once."""
        key = (version, label)
        if key not in self._signatures:
            response = yield from self._metadata(version, label, ends)
            known = SignatureDefMap()
            response.metadata[SIGNATURES].Unpack(known)
            self._signatures[key] = {
                name: Signature.of(name, known.signature_def[name])
                for name in sorted(known.signature_def)
                if not name.startswith("__")
            }
        return self._signatures[key]

    def _chosen(self, label: str, ends: float) -> Steps[int | None]:
        """The number of the newest version, or of a label's; None if the server does not tell."""
        spec = (yield from self._metadata(None, label, ends)).model_spec
        return spec.version.value if spec.HasField("version") else None

    def _metadata(self, version: int | None, label: str, ends: float) -> Steps[Message]:
        request = GetModelMetadataRequest(
            model_spec=self._spec(version, label), metadata_field=[SIGNATURES]
        )
        return (yield from self._ask(Call("GetModelMetadata", request), ends))

    def _status(self, timeout: float | None) -> Steps[list[VersionStatus]]:
        request = GetModelStatusRequest(model_spec=self._spec(None, ""))
        ends = time.monotonic() + (timeout or self._timeout)
        response = yield from self._ask(Call("GetModelStatus", request), ends)
        return [
            VersionStatus(each.version, _STATES[each.state].name, each.status.error_message)
            for each in response.model_version_status
        ]

    def _ask(self, call: Call, ends: float) -> Steps[Message]:
        """The answer to a call, tried again while the server is away or busy."""
        raw = self._wire.encode(call)
        pause = FIRST_PAUSE
        for left in range(self._retries, -1, -1):
            try:
                answer = yield Send(raw, max(0.001, ends - time.monotonic()))
                return self._wire.decode(call, answer)
            except ServingError as error:
                # At random, so that many clients do not come back at once.
                seconds = pause * random.uniform(0.5, 1.0)
                too_late = time.monotonic() + seconds >= ends
                if error.code is not Code.UNAVAILABLE or not left or too_late:
                    raise
            yield Wait(seconds)
            pause = min(2 * pause, LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")

    def _spec(self, version: int | None, label: str, signature: str = "") -> Message:
        require(version is None or not label, "version", "None where a `label` is given", version)
        spec = ModelSpec(name=self._model, signature_name=signature)
        if version is not None:
            spec.version.value = version
        elif label:
            spec.version_label = label
        return spec
