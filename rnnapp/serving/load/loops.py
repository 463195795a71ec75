"""The two ways to load a server: clients that wait for answers, and arrivals that wait for nobody.

Clients that wait ask less while a server is slow, so that a stall is seen by as many requests as
there are clients: coordinated omission. Arrivals come when they come, and each one's time runs from
when it was to be sent, whether or not it could be.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rnnapp.serving.errors import ServingError

Send = Callable[[int], Awaitable[Any]]
"""Sends the request of a number and waits for its answer; what fails is a ServingError."""
Result = TypeVar("Result")
NOT_SENT = "NOT_SENT"


class Outcome(NamedTuple):
    """What became of a request.

    Args:
        due: When it was to be sent, in seconds of the loop's clock.
        sent: When it was.
        ended: When it was answered, or failed.
        error: What kind of failure, gRPC's name of it or `NOT_SENT`; "" of an answer.
    """

    due: float
    sent: float
    ended: float
    error: str = ""


def poisson(rate: float, seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Arrivals of a Poisson process, given how many there are: independent and uniform.

    Args:
        rate: Arrivals a second.
        seconds: How long.
        generator: Draws them.

    Returns:
        Seconds from the start, the earliest first: float64 (arrivals,).
    """
    return np.sort(generator.uniform(0, seconds, round(rate * seconds)))


async def closed(send: Send, clients: int, seconds: float) -> list[Outcome]:
    """Clients that each send a request as soon as their last is answered.

    Args:
        send: Sends a request.
        clients: How many ask at the same time.
        seconds: After these, none begins another.

    Returns:
        What became of each, in the order of their ends.
    """
    loop, numbers, outcomes = asyncio.get_running_loop(), itertools.count(), list[Outcome]()
    ends = loop.time() + seconds

    async def ask() -> None:
        while (now := loop.time()) < ends:
            outcomes.append(await _outcome(send, next(numbers), now))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(ask())
    return outcomes


async def opened(send: Send, arrivals: Iterable[float], max_in_flight: int) -> list[Outcome]:
    """Requests at times that were drawn beforehand, however long answers take.

    Args:
        send: Sends a request.
        arrivals: When each is due, in seconds from now, the earliest first.
        max_in_flight: What is due while as many are unanswered is not sent, and told as
            `NOT_SENT`.

    Returns:
        What became of each, in the order of their ends.
    """
    loop, outcomes, in_flight = asyncio.get_running_loop(), list[Outcome](), 0
    begun = loop.time()

    async def ask(number: int, due: float) -> None:
        nonlocal in_flight
        outcomes.append(await _outcome(send, number, due))
        in_flight -= 1

    async with asyncio.TaskGroup() as group:
        for number, arrival in enumerate(arrivals):
            due = begun + arrival
            await asyncio.sleep(due - loop.time())  # of what is late, lets answers in
            if in_flight < max_in_flight:
                in_flight += 1
                group.create_task(ask(number, due))
            else:
                outcomes.append(Outcome(due, due, due, NOT_SENT))
    return outcomes


async def _outcome(send: Send, number: int, due: float) -> Outcome:
    clock, error = asyncio.get_running_loop().time, ""
    sent = clock()
    try:
        await send(number)
    except ServingError as failed:
        error = failed.code.name
    return Outcome(due, sent, clock(), error)


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine where timers are exact; epoll's, which asyncio uses, are of milliseconds.

    What is there already is not looked through for garbage: in a process that has loaded TensorFlow
    that takes a fifth of a second, in which nothing is sent.
    """
    gc.freeze()
    try:
        with asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
        ) as runner:
            return runner.run(coroutine)
    finally:
        gc.unfreeze()
