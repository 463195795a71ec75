"""Keeps native libraries' greetings off the terminal, where they drown what people came for."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

# Errors among them too: that there is no GPU, or that a product runs by other code. What fails
# raises an exception, and fatal messages are let through.
_GREETING = re.compile(
    rb"[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\]"
    rb"|WARNING: All log messages before absl::"
    rb"|To enable the following instructions: "
    rb"|INFO: (Created TensorFlow Lite|\[|Applying \d)"
)


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Filters what is written to file descriptor 2, until the end of the process.

    Python's own standard error goes on to the terminal as it is. Who has set TF_CPP_MIN_LOG_LEVEL
    hears everything.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or not _is_real(sys.stderr):
        yield
        return
    terminal = os.dup(2)
    sys.stderr = os.fdopen(terminal, "w", 1, errors="backslashreplace", closefd=False)
    source, sink = os.pipe()
    os.dup2(sink, 2)
    os.close(sink)
    thread = threading.Thread(target=_forward, args=(source, terminal), daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Not back to the terminal: libraries take their leave after Python's end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        thread.join(timeout=1.0)  # a child that still runs may keep the pipe open


def _is_real(stream: TextIO) -> bool:
    """Whether a stream is the process' own, not one that a test or a notebook put there."""
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


def _forward(source: int, terminal: int) -> None:
    with open(source, "rb") as lines:
        for line in lines:
            if not _GREETING.match(line):
                os.write(terminal, line)
