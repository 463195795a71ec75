"""Dynamic batching: requests that wait while a model is busy are answered in one call.

Nothing waits for company while there is time to run, unless asked to by `timeout`: a batch is what
has come in meanwhile, so that one client alone is as fast as without.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.signatures import Arrays, Signature
from rnnapp.specs import require

logger = logging.getLogger("rnnapp.serving")
Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class BatchSpec:
    """How requests become batches.

    Args:
        max_size: Rows in a call of the model.
        timeout: Seconds that a batch waits to become full.
        max_queue: Rows that may wait for one signature; what comes then is refused.
        threads: Batches that run at the same time.
    """

    max_size: int = 32
    timeout: float = 0.0
    max_queue: int = 1024
    threads: int = 1

    def __post_init__(self) -> None:
        require(self.max_size >= 1, "max_size", "a positive number of rows", self.max_size)
        require(self.timeout >= 0, "timeout", "0 or more seconds", self.timeout)
        require(self.max_queue >= self.max_size, "max_queue", "at least `max_size`", self.max_queue)
        require(self.threads >= 1, "threads", "a positive number", self.threads)


class Slots:
    """Where batches run: threads, as many batches at a time, in the order they were ready.

    Args:
        threads: How many.
        pool: An executor with as many.
    """

    def __init__(self, threads: int, pool: Executor) -> None:
        self.free, self.pool = asyncio.Semaphore(threads), pool


@dataclass(eq=False)
class _Part:
    """Some rows of a request that wait for their answer."""

    inputs: Arrays
    rows: int
    arrived: float
    answer: asyncio.Future[Arrays]


class Batcher:
    """Answers requests to one signature of one version, several in a call.

    Args:
        signature: The signature.
        run: Runs it; in a thread.
        spec: How requests become batches.
        slots: Where batches run.
        observe: Told how many rows each call has.
    """

    def __init__(
        self,
        signature: Signature,
        run: Run,
        spec: BatchSpec,
        slots: Slots,
        observe: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.signature, self._run, self._spec = signature, run, spec
        self._slots, self._observe = slots, observe
        self._waiting: deque[_Part] = deque()
        self._arrival = asyncio.Event()
        self._collecting: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def queued(self) -> int:
        """Rows that wait."""
        return sum(part.rows for part in self._waiting)

    async def __call__(self, inputs: Arrays) -> Arrays:
        """Answers a request; cancelled while it waits, it never runs.

        Args:
            inputs: As `Signature.checked` returns them.

        Raises:
            ServingError: If the queue is full, or the model fails.
        """
        rows = _rows(inputs) if self.signature.batches else 1
        if rows > self._spec.max_queue:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"A request must have at most {self._spec.max_queue} rows. Received: {rows}",
            )
        if self.queued + rows > self._spec.max_queue:
            raise ServingError(
                Code.UNAVAILABLE, f"{self.queued} rows wait already. Try again later."
            )
        parts = self._parts(inputs, rows)
        self._waiting.extend(parts)
        self._arrival.set()
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.create_task(self._collect())
        try:
            if len(parts) == 1:
                return await parts[0].answer
            answers = await asyncio.gather(*(part.answer for part in parts))
        except BaseException:
            self._withdraw(parts)
            raise
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def _withdraw(self, parts: list[_Part]) -> None:
        """Nobody waits for these any more."""
        for part in parts:
            part.answer.cancel()  # of no effect on what is answered
            with contextlib.suppress(ValueError):
                self._waiting.remove(part)
        self._arrival.set()  # whoever waited for company to what is gone looks again

    def _parts(self, inputs: Arrays, rows: int) -> list[_Part]:
        """A request, in parts that a batch can hold."""
        loop = asyncio.get_running_loop()
        now, size = loop.time(), self._spec.max_size
        if rows <= size:
            return [_Part(inputs, rows, now, loop.create_future())]
        return [
            _Part(
                {name: array[start : start + size] for name, array in inputs.items()},
                min(size, rows - start),
                now,
                loop.create_future(),
            )
            for start in range(0, rows, size)
        ]

    async def _collect(self) -> None:
        """Makes batches until nothing waits."""
        while self._waiting:
            await self._company()
            await self._slots.free.acquire()
            batch = self._take()
            if not batch:  # cancelled meanwhile
                self._slots.free.release()
                continue
            task = asyncio.create_task(self._answer(batch))
            self._running.add(task)  # the loop itself keeps no task alive
            task.add_done_callback(self._running.discard)

    async def _company(self) -> None:
        """Waits until a batch is full, or its oldest request has waited long enough."""
        loop = asyncio.get_running_loop()
        while self._waiting and self.queued < self._spec.max_size:
            left = self._waiting[0].arrived + self._spec.timeout - loop.time()
            if left <= 0:
                return
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), left)

    def _take(self) -> list[_Part]:
        """The oldest part that waits, and those after it that go along."""
        if not self._waiting:
            return []
        batch, left = [self._waiting.popleft()], self._spec.max_size
        left -= batch[0].rows
        key = self._key(batch[0])
        if key is None:
            return batch
        for part in list(self._waiting):
            if part.rows <= left and self._key(part) == key:
                self._waiting.remove(part)
                batch.append(part)
                left -= part.rows
        return batch

    def _key(self, part: _Part) -> tuple | None:
        """What parts of one batch have in common; None of what stays alone."""
        if not self.signature.batches:
            return None
        padded = self.signature.sequences if self.signature.pads else ()
        return tuple(
            array.shape[2:] if name in padded else array.shape[1:]
            for name, array in sorted(part.inputs.items())
        )

    async def _answer(self, batch: list[_Part]) -> None:
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(
                self._slots.pool, self._answers, [part.inputs for part in batch]
            )
        finally:
            self._slots.free.release()
        for part, answer in zip(batch, answers, strict=True):
            if part.answer.done():
                continue
            if isinstance(answer, ServingError):
                part.answer.set_exception(answer)
            else:
                part.answer.set_result(answer)

    def _answers(self, requests: list[Arrays]) -> list[Arrays | ServingError]:
        """Runs requests in one call; alone if that fails, since one alone may be the reason."""
        try:
            if len(requests) == 1:
                self._observe(1 if not self.signature.batches else _rows(requests[0]))
                return [self._run(requests[0])]
            sizes = [_rows(inputs) for inputs in requests]
            self._observe(sum(sizes))
            return _apart(self._run(merged(requests, self.signature)), sizes)
        except Exception as error:
            if len(requests) > 1:
                return [self._answers([inputs])[0] for inputs in requests]
            if isinstance(error, ServingError):
                return [error]
            logger.exception("signature %s failed", self.signature.name)
            return [ServingError(Code.INTERNAL, f"The model failed: {type(error).__name__}")]


def merged(requests: list[Arrays], signature: Signature) -> Arrays:
    """Requests as one, sequences padded with nothing to the longest; their lengths go along.

    Args:
        requests: Inputs that fit the signature, of one shape but for rows and, where the signature
            pads, timesteps.
        signature: The signature.
    """
    padded = signature.sequences if signature.pads else ()
    return {
        name: (_padded if name in padded else np.concatenate)([each[name] for each in requests])
        for name in requests[0]
    }


def _padded(arrays: list[np.ndarray]) -> np.ndarray:
    rows, time = sum(map(len, arrays)), max(array.shape[1] for array in arrays)
    first = arrays[0]
    shape = (rows, time, *first.shape[2:])
    result = np.full(shape, b"" if first.dtype == object else 0, first.dtype)
    start = 0
    for array in arrays:
        result[start : start + len(array), : array.shape[1]] = array
        start += len(array)
    return result


def _rows(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _apart(outputs: Arrays, sizes: list[int]) -> list[Arrays | ServingError]:
    """The rows of each request; copied, so that none keeps the whole batch alive."""
    ends = np.cumsum(sizes)
    for name, array in outputs.items():
        if len(array) != ends[-1]:
            raise ServingError(Code.INTERNAL, f"`{name}` has {len(array)} rows, not {ends[-1]}")
    return [
        {name: array[end - size : end].copy() for name, array in outputs.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]
