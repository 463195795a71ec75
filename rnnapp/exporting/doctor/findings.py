"""What the doctor's checks are made of, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning"]
LONG = 50  # timesteps, from which on a recurrence that is written out is a fault


class BadFileError(ValueError):
    """A path is not what it should be, or what lies there is damaged; the message names it."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a file.

    Args:
        code: The check that found it, a name in `rnnapp.exporting.doctor.checks.CHECKS`.
        severity: "error" if it will not run, or answers wrongly, somewhere; "warning" if it may,
            which depends on what the file is for.
        where: The signature, layer, operator or tensor.
        reason: What is wrong, and on which runtimes it bites.
        remedy: What to do.
        fixable: Whether `rnnapp.exporting.doctor.fix` mends it.
    """

    code: str
    severity: Severity
    where: str
    reason: str
    remedy: str
    fixable: bool


class Fault(NamedTuple):
    """What a check found; `fixable` counts only where the check has a fix."""

    where: str
    reason: str
    remedy: str
    fixable: bool = True


@dataclass(frozen=True)
class Check:
    """A kind of fault, how it is found, and how it is mended.

    Args:
        code: The name of what it finds.
        severity: How bad that is.
        find: Looks for it in a file that was read.
        fix: Mends it there, without any change to what the model computes; None if that takes
            more than the file.
        runtimes: Names in `rnnapp.exporting.runtimes.RUNTIMES` that alone are bitten; empty for
            all. A file that names its runtimes, in its `rnnapp.json`, is not held to others.
    """

    code: str
    severity: Severity
    find: Callable[[Any], Iterable[Fault]]
    fix: Callable[[Any], None] | None = None
    runtimes: tuple[str, ...] = ()


def some(names: Iterable[str], most: int = 5) -> str:
    """Names for people, without repetitions, the first few of many."""
    known = list(dict.fromkeys(names))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
