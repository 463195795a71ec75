"""Keeps native libraries' greetings off the terminal, where they drown what people came for."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

# Errors among them too: that there is no GPU, or that a product runs by other code. What fails
# raises an exception, and fatal messages are let through.
_GREETING = (
    r"[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\]"
    r"|WARNING: All log messages before absl::"
    r"|To enable the following instructions: "
    r"|INFO: (Created TensorFlow Lite|\[|Applying \d)"
)
# In a process of its own, which outlives one that is aborted: its last words are the reason.
_FILTER = """
import re, sys
greeting = re.compile(sys.argv[1].encode())
for line in sys.stdin.buffer:
    if not greeting.match(line):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""


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
    filtering = subprocess.Popen(
        [sys.executable, "-ISc", _FILTER, _GREETING],
        stdin=subprocess.PIPE,
        stdout=terminal,
        start_new_session=True,  # Control-C is for its parent
    )
    assert filtering.stdin
    os.dup2(filtering.stdin.fileno(), 2)
    filtering.stdin.close()
    try:
        yield
    finally:
        # Not back to the terminal: libraries take their leave after Python's end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        # Another child may keep the pipe open for as long as this process lives.
        with contextlib.suppress(subprocess.TimeoutExpired):
            filtering.wait(timeout=0.5)


def _is_real(stream: TextIO) -> bool:
    """Whether a stream is the process' own, not one that a test or a notebook put there."""
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False
