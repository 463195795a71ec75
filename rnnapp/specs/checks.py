"""What fields of specs must be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any


def require(condition: bool, name: str, must: str, received: object) -> None:
    """Raises the one form of error that every spec uses.

    Args:
        condition: What has to hold.
        name: The field's name.
        must: What the field must be, as in "must be ...".
        received: The value that was given.

    Raises:
        ValueError: If `condition` is false.
    """
    if not condition:
        raise ValueError(f"`{name}` must be {must}. Received: {name}={received!r}")


def positive(spec: object, *names: str) -> None:
    """Requires fields to be above zero, if they are set."""
    for name, value in _given(spec, names):
        kind = "integer" if isinstance(value, int) else "number"
        require(0 < value < math.inf, name, f"a positive {kind}", value)


def not_negative(spec: object, *names: str) -> None:
    """Requires fields to be zero or more, if they are set."""
    for name, value in _given(spec, names):
        require(0 <= value < math.inf, name, "zero or more", value)


def fraction(spec: object, *names: str) -> None:
    """Requires fields to be shares, if they are set."""
    for name, value in _given(spec, names):
        require(0 <= value < 1, name, "in [0, 1)", value)


def _given(spec: object, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Fields that are not None; whether they may be, their types say."""
    for name in names:
        if (value := getattr(spec, name)) is not None:
            yield name, value
