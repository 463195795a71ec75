"""Prediction over an archive: many inputs, in parallel processes, into a file that can go on."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnapp.prediction import BATCH, Predictor, check_policy
from rnnapp.progress import Report
from rnnapp.records import Records
from rnnapp.specs import require

Open = Callable[[], Predictor]
Answers = Generator[dict[str, Any], None, None]


class ArchiveError(RuntimeError):
    """A process that answers has died."""


@dataclass(frozen=True)
class Scored:
    """What has become of a list of inputs.

    Args:
        answered: How many have answers.
        failed: How many could not be used.
    """

    answered: int
    failed: int


def listed(path: str) -> list[str]:
    """The inputs of a list: files or texts, one a line.

    Args:
        path: A text file, UTF-8; `-` for standard input.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds none.
    """
    standard = path == "-"
    source: str | int = 0 if standard else path
    # Paths may have any bytes.
    with open(source, encoding="utf-8-sig", errors="surrogateescape", closefd=not standard) as file:
        inputs = [line for line in file.read().split("\n") if line.strip()]
    require(bool(inputs), "input_list", "a file of inputs, one a line", f"{path}, which has none")
    return inputs


def answers(
    open_: Open, inputs: Sequence[str], workers: int = 1, on_bad_input: str = "skip"
) -> Answers:
    """Answers inputs in their order, each as soon as those before it have been.

    Args:
        open_: Makes what answers, once in each process: `functools.partial(Predictor.of, folder)`,
            `Remote(url).open`. With several workers it must be one that can be pickled.
        inputs: As `predict` takes them.
        workers: Processes that answer; 1 for this one.
        on_bad_input: "skip" gives the `error` of an input that cannot be used, "stop" raises.

    Yields:
        As `predict`.

    Raises:
        ValueError: If an input cannot be used, where that stops.
        ArchiveError: If a worker dies.
    """
    _check(workers, on_bad_input)
    if not inputs:
        return
    found = _here(open_, inputs) if workers == 1 else _in_processes(open_, inputs, workers)
    with closing(found):
        for answer in found:
            if "error" in answer and on_bad_input == "stop":
                raise ValueError(answer["error"])
            yield answer


def _check(workers: int, on_bad_input: str) -> None:
    check_policy(on_bad_input)
    require(workers > 0, "workers", "a positive integer", workers)


def _chunks(inputs: Sequence[str], size: int) -> list[Sequence[str]]:
    return [inputs[start : start + size] for start in range(0, len(inputs), size)]


def _here(open_: Open, inputs: Sequence[str]) -> Answers:
    predictor = open_()
    for chunk in _chunks(inputs, BATCH):
        yield from predictor(chunk)


def _in_processes(open_: Open, inputs: Sequence[str], workers: int) -> Answers:
    # So small that all workers have something to do in a short list.
    chunks = _chunks(inputs, max(1, min(BATCH, len(inputs) // (4 * workers))))
    # Fresh processes: a fork of one that has threads of TensorFlow's or gRPC's may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(chunks)), context, _begin, (open_,)) as pool:
        try:
            yield from _in_turn(pool, chunks, 2 * workers)
        except BrokenProcessPool as error:
            raise ArchiveError(
                "A worker died, for lack of memory perhaps. Try again with fewer `workers`."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _in_turn(pool: ProcessPoolExecutor, chunks: list[Sequence[str]], ahead: int) -> Answers:
    """Answers in order, with no more chunks under way than are `ahead`."""
    waiting: deque[Future[list[dict[str, Any]]]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(_answer, chunk))
        if len(waiting) > ahead:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


_opened: Open


def _begin(open_: Open) -> None:
    """What a worker does first; Control-C is for its parent."""
    global _opened
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _opened = functools.cache(open_)


def _answer(inputs: Sequence[str]) -> list[dict[str, Any]]:
    return _opened()(inputs)


def score(
    open_: Open,
    inputs: Sequence[str],
    out: str | os.PathLike,
    *,
    workers: int = 1,
    on_bad_input: str = "skip",
    resume: bool = False,
    progress: Report = lambda done, total: None,
) -> Scored:
    """Answers inputs into a file, in their order; what is written stays, whatever comes after.

    Args:
        open_: As of `answers`.
        inputs: As of `answers`.
        out: `.jsonl` for a JSON object a line, as `predict` gives them; `.csv` for the columns
            `rnnapp.records.FIELDS`.
        workers: As of `answers`.
        on_bad_input: "skip" writes down why an input cannot be used, and goes on; "stop" raises.
        resume: Whether `out` may hold the answers of a call that was stopped, to be gone on with.
        progress: Called with how many are done and how many there are.

    Returns:
        How many were answered, those of earlier calls among them.

    Raises:
        ValueError: If an input cannot be used, where that stops; or `out` belongs to other inputs.
        FileExistsError: If `out` exists, and `resume` is not set.
        ArchiveError: As `answers`.
    """
    _check(workers, on_bad_input)
    with Records(Path(out), inputs, resume) as records:
        rest = inputs[records.answered + records.failed :]
        with closing(answers(open_, rest, workers, on_bad_input)) as found:
            for answer in found:
                records.add(answer)
                progress(records.answered + records.failed, len(inputs))
        return Scored(records.answered, records.failed)
