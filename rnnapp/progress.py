"""Progress that people see: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Report = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


def console() -> Any:
    """The console for people: standard error, so that `--json` alone writes standard output."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)  # paths stay whole


@contextlib.contextmanager
def bar(title: str) -> Iterator[Report]:
    """A progress bar named `title`, or a line every ten seconds where there is no terminal."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console()) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(title: str, every_seconds: float = 10.0) -> Report:
    begun = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= every_seconds:
            last = now
            print(f"{title}: {done}/{total} ({now - begun:.0f} s)", file=sys.stderr, flush=True)

    return report
