"""A load test: the peak of clients that wait, then arrivals at rates below it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnapp.progress import Report
from rnnapp.serving.client import AsyncClient
from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.load import inputs
from rnnapp.serving.load.inputs import Lengths
from rnnapp.serving.load.loops import Send, closed, opened, poisson
from rnnapp.serving.load.report import Load, load_of, told
from rnnapp.serving.signatures import DEFAULT, Arrays, named
from rnnapp.specs import require

WARM_SECONDS = 1.0  # of requests that do not count: connections, caches


@dataclass(frozen=True)
class LoadSpec:
    """How a server is loaded.

    Args:
        clients: Clients of the closed loop, whose rate is the peak.
        seconds: Of each load.
        shares: Rates of arrivals, as shares of the peak.
        rates: Rates of arrivals, in requests a second, instead of `shares`.
        max_in_flight: Requests that may be unanswered; what is due then is not sent.
        signature: What is asked.
        inputs: Files of requests; they are drawn if there are none.
        lengths: Of sequences that are drawn, the fewest and the most timesteps, or words.
        seed: Another seed draws other arrivals and requests.
    """

    clients: int = 32
    seconds: float = 10.0
    shares: tuple[float, ...] = (0.25, 0.5, 0.75, 0.9)
    rates: tuple[float, ...] = ()
    max_in_flight: int = 1000
    signature: str = DEFAULT
    inputs: tuple[Path, ...] = ()
    lengths: Lengths | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("clients", "seconds", "max_in_flight"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, "a positive number", value)
        for name in ("shares", "rates"):
            values = getattr(self, name)
            positive = all(0 < value < math.inf for value in values)
            require(positive, name, "positive numbers", values)
        if self.lengths:
            fewest, most = self.lengths
            require(1 <= fewest <= most, "lengths", "as in 8000..16000", self.lengths)


async def requests_of(client: AsyncClient, spec: LoadSpec, unit: int | None = None) -> list[Arrays]:
    """What is asked in turn, each of which was answered once.

    Args:
        client: Asks.
        spec: How the server is loaded.
        unit: Timesteps in a step of the model, where that is known.

    Raises:
        ValueError: If there is nothing to ask.
        ServingError: If the server refuses one of them, or does not answer.
    """
    signature = named(await client.signatures(), spec.signature)
    if spec.inputs:
        requests = inputs.read(spec.inputs, signature)
    else:
        common = inputs.common_lengths(signature, unit) if unit else None
        requests = inputs.drawn(signature, spec.lengths or common, spec.seed)
    for request in requests:
        await client.predict(request, signature=spec.signature)
    return requests


def sender(client: AsyncClient, requests: list[Arrays], signature: str = DEFAULT) -> Send:
    """What sends requests in turn.

    Args:
        client: Asks; with `retries=0`, because a request that is tried again hides an error.
        requests: What is asked.
        signature: Of which signature.
    """
    return lambda number: client.predict(requests[number % len(requests)], signature=signature)


async def peak(send: Send, spec: LoadSpec) -> Load:
    """The load of clients that wait for their answers.

    Args:
        send: Sends a request.
        spec: How the server is loaded.

    Raises:
        ServingError: If nothing is answered.
    """
    await closed(send, spec.clients, min(WARM_SECONDS, spec.seconds))
    load = load_of(await closed(send, spec.clients, spec.seconds))
    if not load.latency_ms:
        raise ServingError(
            Code.UNAVAILABLE, f"None of {load.requests} requests was answered: {told(load.errors)}"
        )
    return load


async def arrivals(send: Send, rate: float, spec: LoadSpec) -> Load:
    """The load of requests at a rate.

    Args:
        send: Sends a request.
        rate: Requests a second.
        spec: How the server is loaded.
    """
    due = poisson(rate, spec.seconds, np.random.default_rng(spec.seed))
    require(
        len(due) > 0, "seconds", f"long enough for a request at {rate:g} a second", spec.seconds
    )
    return load_of(await opened(send, due, spec.max_in_flight), rate)


async def measured(
    send: Send, spec: LoadSpec, report: Report = lambda done, total: None
) -> list[Load]:
    """Loads a server by clients that wait, then by arrivals at each rate.

    Args:
        send: Sends a request.
        spec: How the server is loaded.
        report: Told of loads that are done.

    Raises:
        ServingError: If nothing is answered.
    """
    total = 1 + len(spec.rates or spec.shares)
    report(0, total)
    loads = [await peak(send, spec)]
    for rate in spec.rates or [share * loads[0].reached for share in spec.shares]:
        report(len(loads), total)
        loads.append(await arrivals(send, rate, spec))
    report(total, total)
    return loads
