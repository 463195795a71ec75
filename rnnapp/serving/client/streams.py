"""Streams over requests that keep no state: the client carries what `step` needs from its last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnapp.serving.client.inputs import array_of
from rnnapp.serving.client.results import Prediction
from rnnapp.serving.errors import invalid
from rnnapp.serving.signatures import Arrays, named
from rnnapp.serving.steps import STEP, StepForm
from rnnapp.specs import require

if TYPE_CHECKING:
    from rnnapp.serving.client import AsyncClient, Client
    from rnnapp.serving.client.conversation import Conversation, Steps


class Carried:
    """What a stream carries from one request to the next, and what it says to the server.

    All of a stream is answered by one version of the model, as the states of another mean nothing
    to it.

    Args:
        conversation: Whose model it is.
        version: Which version; the newest one at the first request by default.
        label: Which version, by its label at the first request.

    Attributes:
        version: The version that answers; None before the first request, if none was named.
    """

    def __init__(self, conversation: Conversation, version: int | None, label: str) -> None:
        require(version is None or not label, "version", "None where a `label` is given", version)
        self.version = version
        self._conversation, self._label = conversation, label
        self._form: StepForm | None = None
        self._states: Arrays = {}
        self._rest = np.zeros(0)

    def _said(self, data: Any, timeout: float | None) -> Steps[Prediction]:
        """The steps that some data complete. A request that fails leaves the stream as it was."""
        form = self._form or (yield from self._begin(timeout))
        steps, rest = form.cut(np.concatenate([self._rest, self._read(form, data)]))
        states, answers = self._states, []
        for step in steps:
            inputs = {form.name: step, **states}
            given = yield from self._conversation._predict(
                inputs, STEP, self.version, "", (), timeout
            )
            said, states = form.parted(given.outputs)
            answers.append(said)
        self._states, self._rest = states, rest
        return Prediction(form.stacked(answers), STEP, self.version)

    def _begin(self, timeout: float | None) -> Steps[StepForm]:
        asked = self._conversation
        ends = time.monotonic() + (timeout or asked._timeout)
        if self.version is None:
            self.version = yield from asked._chosen(self._label, ends)
        signatures = yield from asked._described(self.version, "", ends)
        self._form = form = StepForm(named(signatures, STEP))
        self.reset()
        return form

    def _read(self, form: StepForm, data: Any) -> np.ndarray:
        array = array_of(form.name, data, form.spec)
        if not array.ndim or array.shape[1:] != form.shape[1:]:
            wanted = ", ".join(["timesteps", *map(str, form.shape[1:])])
            raise invalid(f"`data` must have the shape ({wanted}). Received: {array.shape}")
        return array

    def reset(self) -> None:
        """Begins anew: from states of zeros, and with nothing left over."""
        if self._form:
            self._states, self._rest = self._form.zeros(), self._form.nothing()


class Stream(Carried):
    """A stream that a `Client` carries; `Client.stream` begins it."""

    def __init__(self, client: Client, version: int | None, label: str) -> None:
        super().__init__(client, version, label)
        self._client = client

    def send(self, data: Any, *, timeout: float | None = None) -> Prediction:
        """Tells the model what comes next.

        Args:
            data: Any number of timesteps, (timesteps, ...): samples, token ids. What does not make
                up a step is kept for the next call.
            timeout: Seconds that a step may take, instead of the client's.

        Returns:
            A row for each step that the data complete.

        Raises:
            ServingError: If the data are wrong or a step was not answered; the stream then is where
                it was, and the same data may be sent again.
        """
        return self._client._do(self._said(data, timeout))


class AsyncStream(Carried):
    """A stream that an `AsyncClient` carries; one call at a time."""

    def __init__(self, client: AsyncClient, version: int | None, label: str) -> None:
        super().__init__(client, version, label)
        self._client = client

    async def send(self, data: Any, *, timeout: float | None = None) -> Prediction:
        """As `Stream.send`."""
        return await self._client._do(self._said(data, timeout))
