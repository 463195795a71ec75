"""Clients of `rnnapp serve` and of TensorFlow Serving alike, without TensorFlow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rnnapp.serving.client.conversation import Conversation, Result, Send, Steps, Wait
from rnnapp.serving.client.results import Prediction, VersionStatus
from rnnapp.serving.client.streams import AsyncStream, Stream
from rnnapp.serving.client.transports import awaiting, blocking
from rnnapp.serving.errors import ServingError
from rnnapp.serving.signatures import DEFAULT, Signature


class Client(Conversation):
    """Asks a model server, and waits for its answers; many threads may share it.

    Its arguments are those of `Conversation`.
    """

    connect = staticmethod(blocking)

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

    def stream(self, version: int | None = None, label: str = "") -> Stream:
        """Begins a stream, whose states this client carries from a `step` to the next.

        Args:
            version: Which version answers all of it; the newest at the first request by default.
            label: Which version, by its label.
        """
        return Stream(self, version, label)

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

    def _step(self, step: Send | Wait) -> Any:
        if isinstance(step, Send):
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


class AsyncClient(Conversation):
    """As `Client`, with coroutines."""

    connect = staticmethod(awaiting)

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

    def stream(self, version: int | None = None, label: str = "") -> AsyncStream:
        """As `Client.stream`."""
        return AsyncStream(self, version, label)

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

    async def _step(self, step: Send | Wait) -> Any:
        if isinstance(step, Send):
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
