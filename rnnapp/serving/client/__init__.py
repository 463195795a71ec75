"""Clients of model servers: of `rnnapp serve` and of TensorFlow Serving alike, without TensorFlow.

What is asked and tried again stands once, in `_Conversation`, as a generator that says what is to
be sent and how long to wait; `Client` does so at once, `AsyncClient` in coroutines.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rnnapp.serving.client.inputs import prepared
from rnnapp.serving.client.results import Prediction, VersionStatus
from rnnapp.serving.client.transports import Target, awaiting, blocking
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
from rnnapp.serving.signatures import DEFAULT, Signature, named
from rnnapp.serving.tensors import to_array, to_proto
from rnnapp.specs import require

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds before another try
_STATES = ModelVersionStatus.DESCRIPTOR.enum_types_by_name["State"].values_by_number


@dataclass(frozen=True)
class _Send:
    """Send this, and give its answer back, within so many seconds."""

    raw: Raw
    seconds: float


@dataclass(frozen=True)
class _Wait:
    """Wait so many seconds."""

    seconds: float


Result = TypeVar("Result")
Steps = Generator[_Send | _Wait, Any, Result]


class _Conversation:
    """What is said to a server; see `Client` for the arguments."""

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
                request.inputs[name].CopyFrom(to_proto(array))
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
            request = GetModelMetadataRequest(
                model_spec=self._spec(version, label), metadata_field=[SIGNATURES]
            )
            response = yield from self._ask(Call("GetModelMetadata", request), ends)
            known = SignatureDefMap()
            response.metadata[SIGNATURES].Unpack(known)
            self._signatures[key] = {
                name: Signature.of(name, known.signature_def[name])
                for name in sorted(known.signature_def)
                if not name.startswith("__")
            }
        return self._signatures[key]

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
                answer = yield _Send(raw, max(0.001, ends - time.monotonic()))
                return self._wire.decode(call, answer)
            except ServingError as error:
                # At random, so that many clients do not come back at once.
                seconds = pause * random.uniform(0.5, 1.0)
                too_late = time.monotonic() + seconds >= ends
                if error.code is not Code.UNAVAILABLE or not left or too_late:
                    raise
            yield _Wait(seconds)
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


class Client(_Conversation):
    """Asks a model server, and waits for its answers; many threads may share it.

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

    def __init__(self, url: str, model: str, **options: Any) -> None:
        super().__init__(url, model, **options)
        self._transport = blocking(self._target)

    def predict(
        self,
        inputs: Any,
        *,
        signature: str = DEFAULT,
        version: int | None = None,
        label: str = "",
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Prediction:
        """Asks the model.

        Args:
            inputs: Arrays by name, each with a row for each question; or one without its name,
                where the signature takes one: an array, a list of texts, a list of sequences of
                different lengths.
            signature: Which of the model's functions.
            version: Which version; the newest by default.
            label: Which version, by its label.
            outputs: Which outputs, all by default.
            timeout: Seconds, instead of the client's.

        Raises:
            ServingError: If the request is wrong or was not answered; `code` says which.
        """
        return self._do(self._predict(inputs, signature, version, label, outputs, timeout))

    def signatures(self, version: int | None = None, label: str = "") -> dict[str, Signature]:
        """What the model takes and gives."""
        return self._do(self._described(version, label, time.monotonic() + self._timeout))

    def status(self, timeout: float | None = None) -> list[VersionStatus]:
        """Where the model's versions stand."""
        return self._do(self._status(timeout))

    def _do(self, steps: Steps[Result]) -> Result:
        """Does what a conversation says, step by step."""
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._step(step)
                except ServingError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as ended:
            return ended.value

    def _step(self, step: _Send | _Wait) -> Any:
        if isinstance(step, _Send):
            return self._transport.send(step.raw, step.seconds)
        time.sleep(step.seconds)
        return None

    def close(self) -> None:
        """Ends connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Conversation):
    """As `Client`, with coroutines."""

    def __init__(self, url: str, model: str, **options: Any) -> None:
        super().__init__(url, model, **options)
        self._transport = awaiting(self._target)

    async def predict(
        self,
        inputs: Any,
        *,
        signature: str = DEFAULT,
        version: int | None = None,
        label: str = "",
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Prediction:
        """As `Client.predict`."""
        return await self._do(self._predict(inputs, signature, version, label, outputs, timeout))

    async def signatures(self, version: int | None = None, label: str = "") -> dict[str, Signature]:
        """As `Client.signatures`."""
        return await self._do(self._described(version, label, time.monotonic() + self._timeout))

    async def status(self, timeout: float | None = None) -> list[VersionStatus]:
        """As `Client.status`."""
        return await self._do(self._status(timeout))

    async def _do(self, steps: Steps[Result]) -> Result:
        """Does what a conversation says, step by step."""
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._step(step)
                except ServingError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as ended:
            return ended.value

    async def _step(self, step: _Send | _Wait) -> Any:
        if isinstance(step, _Send):
            return await self._transport.send(step.raw, step.seconds)
        await asyncio.sleep(step.seconds)
        return None

    async def close(self) -> None:
        """Ends connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
