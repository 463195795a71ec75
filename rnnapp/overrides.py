"""Specs as plain JSON and from it, and how `--set key=value` reaches each of their fields."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

DECIMAL = re.compile(r"[+-]?(\d+\.|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)  # .5, 5.: no JSON


def to_dict(spec: Any) -> dict[str, Any]:
    """A spec as plain JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(spec)))


def from_dict(kind: type, values: Mapping[str, Any]) -> Any:
    """Builds a spec from plain JSON types, nested specs included.

    Args:
        kind: The dataclass.
        values: Its fields; absent ones keep their defaults.

    Returns:
        An instance of `kind`.

    Raises:
        ValueError: If a field does not exist or has the wrong type.
    """
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in names:
            raise ValueError(
                f"{kind.__name__} has no field `{name}`. Valid names: " + ", ".join(names)
            )
    return kind(**{name: _convert(name, hints[name], value) for name, value in values.items()})


def override(spec: Any, assignment: str) -> Any:
    """Applies one `key=value` to a spec and returns the changed copy.

    The key is a path (`model.front.num_mel_bins`) or its unambiguous end (`num_mel_bins`). The
    value is JSON, or a bare word for a string.

    Args:
        spec: Any nest of frozen dataclasses.
        assignment: `key=value`.

    Returns:
        A copy of `spec` with that field changed.

    Raises:
        ValueError: If the key is unknown or ambiguous, or the value does not fit the field.
    """
    key, equals, text = assignment.partition("=")
    if not equals:
        raise ValueError(f"`--set` must be key=value. Received: {assignment!r}")
    return _replace(spec, resolve(spec, key.strip()).split("."), _parse(text))


def settle_types(spec: Any) -> None:
    """Gives every field of a new frozen spec the type that its class declares.

    Raises:
        ValueError: If a value does not fit.
    """
    for name, hint in typing.get_type_hints(type(spec)).items():
        object.__setattr__(spec, name, _convert(name, hint, getattr(spec, name)))


def paths(spec: Any, prefix: str = "") -> Iterator[str]:
    """The dotted path of every field that `override` can reach."""
    for field in dataclasses.fields(spec):
        yield prefix + field.name
        value = getattr(spec, field.name)
        if dataclasses.is_dataclass(value):
            yield from paths(value, f"{prefix}{field.name}.")


def resolve(spec: Any, key: str) -> str:
    """The dotted path that a key means.

    Args:
        spec: Any nest of frozen dataclasses.
        key: A path, or its unambiguous end.

    Raises:
        ValueError: If the key is unknown or ambiguous; the message names those that are near.
    """
    valid = list(paths(spec))
    found = [path for path in valid if path == key] or [
        path for path in valid if path.endswith(f".{key}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"`{key}` is ambiguous. Say which one: {', '.join(found)}")
    leaves = {path.rpartition(".")[2]: path for path in valid}
    near = difflib.get_close_matches(key.rpartition(".")[2], leaves, n=3)
    hint = f"Did you mean {', '.join(leaves[name] for name in near)}? " if near else ""
    raise ValueError(f"There is no setting `{key}`. {hint}Valid names: {', '.join(valid)}")


def _replace(spec: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    if rest:
        return dataclasses.replace(spec, **{name: _replace(getattr(spec, name), rest, value)})
    hint = typing.get_type_hints(type(spec))[name]
    return dataclasses.replace(spec, **{name: _convert(name, hint, value)})


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        if DECIMAL.fullmatch(text):
            return float(text)
        return {"True": True, "False": False, "None": None}.get(text, text)


def _convert(name: str, hint: Any, value: Any) -> Any:
    """`value` as the type `hint`, or the error that says what it must be."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        options = [option for option in args if option is not type(None)]
        if len(options) == 1:
            return _convert(name, options[0], value)
    elif dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(typing.cast(type, hint), value)
    elif origin is Literal and value in args:
        return value
    elif origin is tuple and isinstance(value, list | tuple):
        variadic = len(args) == 2 and args[1] is Ellipsis
        inner = [args[0]] * len(value) if variadic else list(args)
        if len(inner) == len(value):
            return tuple(_convert(name, h, v) for h, v in zip(inner, value, strict=True))
    elif hint is tuple or isinstance(value, str) and origin is tuple and args[0] is str:
        return tuple(word.strip() for word in value.split(",") if word.strip())
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"`{name}` must be {_describe(hint)}. Received: {name}={value!r}")


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if a is type(None) else _describe(a) for a in args)
    if origin is tuple:
        return f"a list of {_describe(args[0])}"
    words = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))
