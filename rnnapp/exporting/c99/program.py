"""A C program as it is put together: constants, states, room to work in, and statements."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

_WIDTH, _INDENT = 100, "    "
_CTYPES = {"float32": "float", "int8": "int8_t", "uint16": "uint16_t"}


class UnsupportedLayerError(ValueError):
    """The model has a layer, or a setting of one, for which there is no kernel in C."""


@dataclass(frozen=True)
class Value:
    """An array in the program, of floats; of token ids where an embedding reads it.

    Args:
        name: Its expression in C.
        shape: Its shape in Keras, without the batch.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def features(self) -> int:
        """The size of its last axis."""
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """How many vectors of features it holds."""
        return self.size // self.features


class Program:
    """What the emitters of layers write to.

    Two arrays take turns as what a layer reads and what it writes, since a causal model is a chain:
    each layer has one input that streams.

    Args:
        int8: Whether the weights of matrices are stored as int8.
        states: Shape of each state, without the batch.

    Attributes:
        constants: Definitions of constants, by name.
        flash: Bytes of the constants' arrays.
        steps: Statements of a step.
        rooms: Floats (`a`, `b`, `work`) and bytes (`bytes`) that a step works in.
    """

    def __init__(self, int8: bool, states: Mapping[str, tuple[int, ...]]) -> None:
        self.int8, self.states = int8, states
        self.constants: dict[str, str] = {}
        self.flash = 0
        self.steps: list[str] = []
        self.rooms = {"a": 0, "b": 0, "work": 0, "bytes": 0}
        self._identifiers: dict[str, str] = {}
        self._indent = _INDENT

    def identifier(self, name: str) -> str:
        """A name in C, another one for each name.

        Args:
            name: Any text, such as the name of a layer and of its weight.
        """
        if name not in self._identifiers:
            plain = re.sub(r"\W", "_", name, flags=re.ASCII)
            plain = plain if plain[0].isalpha() else f"x{plain}"
            taken = set(self._identifiers.values())
            number = 2
            unique = plain
            while unique in taken:
                unique, number = f"{plain}_{number}", number + 1
            self._identifiers[name] = unique
        return self._identifiers[name]

    def array(self, name: str, values: Any) -> str:
        """Defines an array of constants.

        Args:
            name: Of the array.
            values: Numbers of any shape; integers as their dtype, all others as float32. None for
                no array.

        Returns:
            Its expression in C.

        Raises:
            ValueError: If a value is not finite.
        """
        if values is None:
            return "NULL"
        values = _finite(name, np.ravel(values))
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
        own = self.identifier(name)
        if own not in self.constants:
            literals = ", ".join(map(number if values.dtype.kind == "f" else str, values))
            lines = "\n".join(_lines(literals, _INDENT, _INDENT))
            ctype = _CTYPES[values.dtype.name]
            self.constants[own] = f"static const {ctype} {own}[{values.size}] = {{\n{lines}\n}};"
            self.flash += values.nbytes
        return own

    def matrix(self, name: str, weights: np.ndarray, quantize: bool = True) -> dict[str, object]:
        """Defines the weights of a matrix, as int8 where the program says so.

        Args:
            name: Of the matrix.
            weights: Floats (rows, columns), a row for each output.
            quantize: Whether it may be int8.

        Returns:
            The initializers of an `rnn_matrix`.
        """
        rows, columns = weights.shape
        sizes: dict[str, object] = {"rows": rows, "columns": columns}
        if not (self.int8 and quantize):
            return {**sizes, "floats": self.array(name, weights.T)}
        self.need(bytes=columns)
        return {**sizes, **self._rounded(name, weights)}

    def table(self, name: str, vectors: np.ndarray) -> dict[str, object]:
        """Defines vectors that are looked up, as int8 where the program says so.

        Args:
            name: Of the table.
            vectors: Floats (tokens, features).

        Returns:
            The initializers of an `rnn_embedding`.
        """
        tokens, features = vectors.shape
        sizes: dict[str, object] = {"tokens": tokens, "features": features}
        if not self.int8:
            return {**sizes, "floats": self.array(name, vectors)}
        return {**sizes, **self._rounded(name, vectors)}

    def _rounded(self, name: str, rows: np.ndarray) -> dict[str, object]:
        values, scales = quantized(_finite(name, rows))
        return {
            "bytes": self.array(name, values),
            "scales": self.array(f"{name}_scales", scales),
        }

    def struct(self, ctype: str, name: str, **fields: object) -> str:
        """Defines a constant struct.

        Args:
            ctype: Its type.
            name: Of the constant.
            **fields: Initializers; a dict for a struct within.

        Returns:
            Its address in C.
        """
        own = self.identifier(name)
        lines = "".join(f"{_INDENT}{field},\n" for field in _initializers(fields))
        self.constants[own] = f"static const {ctype} {own} = {{\n{lines}}};"
        return f"&{own}"

    def state(self, name: str) -> str:
        """The expression of a state, by its name in `StepModel.state_shapes`; NULL for none."""
        holds = math.prod(self.states.get(name, (0,)))
        return f"state->{self.identifier(name)}" if holds else "NULL"

    def output(self, x: Value, shape: tuple[int, ...]) -> Value:
        """Where a layer that reads `x` may write a value of a shape."""
        room = "b" if x.name == "state->a" else "a"
        self.need(**{room: math.prod(shape)})
        return Value(f"state->{room}", shape)

    def need(self, **rooms: int) -> None:
        """Makes room: `work` floats or `bytes`."""
        for room, size in rooms.items():
            self.rooms[room] = max(self.rooms[room], size)

    @property
    def ram(self) -> int:
        """Bytes of the states and rooms, in one struct."""
        floats = sum(map(math.prod, self.states.values()))
        floats += sum(size for room, size in self.rooms.items() if room != "bytes")
        return 4 * (floats + math.ceil(self.rooms["bytes"] / 4))

    def step(self, statement: str) -> None:
        """Adds a statement of a step."""
        self.steps += _lines(statement, self._indent, self._indent + 2 * _INDENT)

    @contextmanager
    def section(self, comment: str) -> Iterator[None]:
        """Puts a comment before the statements that are added within, if any are."""
        start = len(self.steps)
        yield
        if len(self.steps) > start:
            self.steps.insert(start, f"\n{_INDENT}/* {comment} */")

    @contextmanager
    def each_row(self, *values: Value) -> Iterator[list[str]]:
        """Lets the statements that are added within run for each row of the values.

        Args:
            *values: Arrays with as many rows each, (..., features).

        Yields:
            The expression of each value's row.
        """
        if values[0].rows == 1:
            yield [value.name for value in values]
            return
        self.step(f"for (size_t t = 0; t < {values[0].rows}; t++) {{")
        self._indent += _INDENT
        yield [f"{value.name} + t * {value.features}" for value in values]
        self._indent = self._indent.removesuffix(_INDENT)
        self.step("}")


def floats(weight: Any) -> np.ndarray:
    """A weight of Keras in double precision, in which it may be folded into another."""
    return np.asarray(weight.numpy(), np.float64)


def folded(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Batch normalisation outside training: a factor and an offset, (features) each."""
    factor = 1 / np.sqrt(floats(layer.moving_variance) + layer.epsilon)
    factor = factor if layer.gamma is None else factor * floats(layer.gamma)
    offset = -floats(layer.moving_mean) * factor
    return factor, offset if layer.beta is None else offset + floats(layer.beta)


def number(value: float) -> str:
    """A float32 in C that reads back as the very same: nine digits tell all of them apart."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def quantized(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds each row to int8 by a scale of its own.

    Args:
        weights: Floats (rows, columns).

    Returns:
        int8 (rows, columns) from -127 to 127, and float32 scales (rows,), whose product is about
        `weights`.
    """
    scales = np.abs(weights).max(axis=1) / 127
    units = np.where(scales > 0, scales, 1)[:, None]
    return np.rint(weights / units).astype(np.int8), scales.astype(np.float32)


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` must hold finite numbers. Received: NaN or infinity")
    return values


def _lines(text: str, first: str, others: str) -> list[str]:
    """A text in lines, which break between words alone: 1e-05f is one."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )


def _initializers(fields: Mapping[str, object]) -> Iterator[str]:
    for name, value in fields.items():
        inner = f"{{{', '.join(_initializers(value))}}}" if isinstance(value, dict) else value
        yield f".{name} = {inner}"
