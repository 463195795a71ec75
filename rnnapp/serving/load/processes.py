"""`rnnapp serve` in a process of its own, so that what asks it takes none of its time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PATH = "/v1/models/"


@dataclass(frozen=True)
class Served:
    """A server that listens.

    Args:
        address: Where, by gRPC.
        url: Where, by REST.
        name: What requests call the model.
        pid: Its process.
    """

    address: str
    url: str
    name: str
    pid: int


@contextlib.contextmanager
def served(export: Path, *options: str) -> Iterator[Served]:
    """A server of an export, at ports that are free.

    Args:
        export: An export folder.
        options: Of `rnnapp serve`.

    Raises:
        ValueError: If it does not start; the message is its own.
    """
    code = "from rnnapp.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", str(export), "--port", "0", "--rest-port", "0"]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout
        try:
            lines = [process.stdout.readline().split() for _ in range(2)]
            if not all(lines):
                log.seek(0)
                said = log.read().rpartition("error: ")[2].strip()
                raise ValueError(f"`rnnapp serve {export}` did not start: {said}")
            (_, address), (_, url) = lines
            base, _, name = url.partition(_PATH)
            yield Served(address, base, name, process.pid)
        finally:
            process.terminate()
