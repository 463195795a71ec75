"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
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
