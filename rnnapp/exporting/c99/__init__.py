"""Dependency-free C99 inference of a step model, in float or with int8 weights."""

from __future__ import annotations

from rnnapp.exporting.c99.library import CompilationError, load, missing
from rnnapp.exporting.c99.program import UnsupportedLayerError
from rnnapp.exporting.c99.writer import VARIANTS, write, write_front

__all__ = [
    "VARIANTS",
    "CompilationError",
    "UnsupportedLayerError",
    "load",
    "missing",
    "write",
    "write_front",
]
