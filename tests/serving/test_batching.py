"""Requests in one batch are answered as each alone, and none harms another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.server.batching import Batcher, BatchSpec, Run, Slots, merged
from rnnapp.serving.server.service import within
from rnnapp.serving.signatures import Arrays, Signature
from tests.serving.conftest import FLOAT, SUMMING, signature, summed


def request(rows: int, time: int, seed: int = 0) -> Arrays:
    """Sequences (rows, time, 2), with lengths shorter than they are."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, time + 1, rows).astype(np.int32)
    return {"x": generator.normal(size=(rows, time, 2)).astype(np.float32), "lengths": lengths}


def batching(
    run: Run, then: Callable[[Batcher], Awaitable[Any]], *, of: Signature = SUMMING, **spec: Any
) -> list[int]:
    """Does something with a batcher; the rows of each call that it made."""
    calls: list[int] = []

    async def main() -> None:
        settings = BatchSpec(**spec)
        with ThreadPoolExecutor(settings.threads) as pool:
            slots = Slots(settings.threads, pool)
            await then(Batcher(of, run, settings, slots, calls.append))

    asyncio.run(main())
    return calls


class Gate:
    """A model that answers when it is let."""

    def __init__(self) -> None:
        self.open, self.calls = threading.Event(), list[Arrays]()

    def __call__(self, inputs: Arrays) -> Arrays:
        """Waits, and sums."""
        self.calls.append(inputs)
        assert self.open.wait(10)
        return summed(inputs)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 7)), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(1, 3),
)
def test_answers_are_those_of_each_alone(
    sizes: list[tuple[int, int]], max_size: int, threads: int
) -> None:
    """Whatever rows and lengths come together, larger than a batch included."""
    requests = [request(rows, time, seed) for seed, (rows, time) in enumerate(sizes)]

    async def ask(batcher: Batcher) -> None:
        answers = await asyncio.gather(*map(batcher, requests))
        for inputs, answer in zip(requests, answers, strict=True):
            # Sums of other shapes are of another order in NumPy: 1e-5 is rounding.
            np.testing.assert_allclose(answer["sum"], summed(inputs)["sum"], atol=1e-5)

    calls = batching(summed, ask, max_size=max_size, threads=threads)
    assert sum(calls) == sum(rows for rows, _ in sizes) and max(calls) <= max_size


def test_padding_is_nothing_and_lengths_are_true() -> None:
    """Not an element repeated, which a model that reads past the lengths would take for data."""
    requests = [{"x": np.ones((1, t, 2), np.float32), "lengths": np.int32([t])} for t in (1, 3)]
    both = merged(requests, SUMMING)
    np.testing.assert_array_equal(both["lengths"], [1, 3])
    np.testing.assert_array_equal(both["x"][:, :, 0], [[1, 0, 0], [1, 1, 1]])


def test_what_comes_while_the_model_is_busy_goes_together() -> None:
    """One call for all that waited, and no waiting for the first."""
    gate = Gate()

    async def ask(batcher: Batcher) -> None:
        first = asyncio.ensure_future(batcher(request(1, 4)))
        while not gate.calls:
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(batcher(request(1, 2 + n))) for n in range(5)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, *others)

    assert batching(gate, ask) == [1, 5]


def test_a_batch_waits_for_company_if_it_shall() -> None:
    """Requests that come one after the other go together; a full batch waits no longer."""

    async def ask(batcher: Batcher) -> None:
        async with asyncio.timeout(5):
            await asyncio.gather(*(_later(batcher, 0.01 * n) for n in range(3)))

    assert batching(summed, ask, max_size=3, timeout=60) == [3]


async def _later(batcher: Batcher, seconds: float) -> Arrays:
    await asyncio.sleep(seconds)
    return await batcher(request(1, 3))


def test_shapes_without_lengths_go_apart() -> None:
    """Nobody told the model how long they are: padding would be taken for data."""
    sounds = signature({"x": (FLOAT, (-1, -1))}, {"sum": (FLOAT, (-1,))})
    gate = Gate()

    def run(inputs: Arrays) -> Arrays:
        assert gate.open.wait(10)
        return {"sum": inputs["x"].sum(-1)}

    async def ask(batcher: Batcher) -> None:
        shapes = [(1, 3), (1, 4), (2, 3), (1, 4)]
        waiting = [asyncio.ensure_future(batcher({"x": np.ones(s, np.float32)})) for s in shapes]
        await asyncio.sleep(0.01)
        gate.open.set()
        for (rows, time), answer in zip(shapes, await asyncio.gather(*waiting), strict=True):
            np.testing.assert_array_equal(answer["sum"], [float(time)] * rows)

    assert sorted(batching(run, ask, of=sounds)) == [2, 3]


def test_outputs_of_any_length_are_not_padded() -> None:
    """An answer for each timestep would come back with those of the padding."""
    tagging = signature(
        {"x": (FLOAT, (-1, -1)), "lengths": (3, (-1,))}, {"tags": (FLOAT, (-1, -1))}
    )

    async def ask(batcher: Batcher) -> None:
        requests = [
            {"x": np.ones((1, time), np.float32), "lengths": np.int32([time])} for time in (2, 5)
        ]
        answers = await asyncio.gather(*map(batcher, requests))
        assert [answer["tags"].shape for answer in answers] == [(1, 2), (1, 5)]

    batching(lambda inputs: {"tags": inputs["x"]}, ask, of=tagging, timeout=0.02)


def test_a_full_queue_refuses() -> None:
    """Clients are told at once that they must come back, not after their time is up."""
    gate = Gate()

    async def ask(batcher: Batcher) -> None:
        running = asyncio.ensure_future(batcher(request(1, 4)))
        while not gate.calls:
            await asyncio.sleep(0.001)
        waiting = [asyncio.ensure_future(batcher(request(2, 4))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="wait already") as caught:
            await batcher(request(1, 4))
        assert caught.value.code is Code.UNAVAILABLE
        with pytest.raises(ServingError, match="at most 4 rows") as caught:
            await batcher(request(5, 4))  # it would be refused for ever
        assert caught.value.code is Code.INVALID_ARGUMENT
        gate.open.set()
        await asyncio.gather(running, *waiting)
        await batcher(request(1, 4))  # there is room again

    batching(gate, ask, max_size=4, max_queue=4)


def test_what_is_late_never_runs() -> None:
    """Its client is gone, and the time is others'."""
    gate = Gate()

    async def ask(batcher: Batcher) -> None:
        running = asyncio.ensure_future(batcher(request(1, 4)))
        while not gate.calls:
            await asyncio.sleep(0.001)
        with pytest.raises(ServingError) as caught:
            async with within(0.01):
                await batcher(request(3, 4))
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert batcher.queued == 0
        gate.open.set()
        await running

    assert batching(gate, ask, max_queue=32) == [1]


def test_one_bad_request_fails_alone() -> None:
    """Whoever shares its batch is answered."""

    def run(inputs: Arrays) -> Arrays:
        if np.isnan(inputs["x"]).any():
            raise ServingError(Code.INVALID_ARGUMENT, "no number")
        return summed(inputs)

    bad = {"x": np.full((1, 2, 2), np.nan, np.float32), "lengths": np.int32([2])}

    async def ask(batcher: Batcher) -> None:
        requests = [request(1, 3), bad, request(2, 5)]
        answers = await asyncio.gather(*map(batcher, requests), return_exceptions=True)
        assert isinstance(answers[1], ServingError) and answers[1].message == "no number"
        for inputs, answer in ((requests[0], answers[0]), (requests[2], answers[2])):
            assert isinstance(answer, dict)
            np.testing.assert_allclose(answer["sum"], summed(inputs)["sum"], atol=1e-5)

    assert batching(run, ask, timeout=0.02)[0] == 4


def test_a_model_that_breaks_is_an_error_of_the_server() -> None:
    """The request waits for no answer that never comes; inner words are for the log."""

    def run(inputs: Arrays) -> Arrays:
        raise MemoryError("secret")

    async def ask(batcher: Batcher) -> None:
        with pytest.raises(ServingError, match="MemoryError") as caught:
            await batcher(request(1, 2))
        assert caught.value.code is Code.INTERNAL and "secret" not in caught.value.message

    batching(run, ask)


@pytest.mark.parametrize(
    "settings", [{"max_size": 0}, {"timeout": -1}, {"max_queue": 3}, {"threads": 0}]
)
def test_settings_check_themselves(settings: dict[str, Any]) -> None:
    """A server that could answer nothing does not start."""
    with pytest.raises(ValueError, match="must be"):
        BatchSpec(**settings)


def test_rows_without_number_are_refused_at_once() -> None:
    """Empty rows cost nothing to send; to count them one by one would end the server."""

    async def ask(batcher: Batcher) -> None:
        rows = np.broadcast_to(np.float32(0), (2**40, 0, 2))
        lengths = np.broadcast_to(np.int32(0), 2**40)
        with pytest.raises(ServingError, match="at most 1024 rows") as caught:
            await batcher({"x": rows, "lengths": lengths})
        assert caught.value.code is Code.INVALID_ARGUMENT

    batching(summed, ask)
