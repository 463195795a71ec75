"""Files that are there whole or not at all, and what tells one from another."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` once all is written.

    A full disk or a kill leaves what stood at `path` as it was.

    Args:
        path: The file to make or replace.
    """
    temporary = path.with_name(f"partial-{path.name}")  # the ending says what is written
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
