"""Tensors in JSON, as TensorFlow Serving's REST API writes them: by rows or by columns."""

from __future__ import annotations

import base64
import binascii
import json
from itertools import chain
from typing import Any

import numpy as np

from rnnapp.serving.errors import Code, ServingError, invalid
from rnnapp.serving.protocol import Input, Message
from rnnapp.serving.signatures import Arrays, Signature, TensorSpec
from rnnapp.serving.tensors import STRING, dtype_of

BASE64 = "b64"
BYTES = "_bytes"  # the end of an output's name that is no text
WHOLE = "integers without a decimal point"  # as in TensorFlow Serving, to which 1.0 is none
_ELEMENTS: dict[str, tuple[set[type], str]] = {
    "f": ({int, float}, "numbers"),
    "i": ({int}, WHOLE),
    "u": ({int}, WHOLE),
    "b": ({bool}, "true or false"),
}
MAX_DEPTH = 32  # of lists in lists
SHOWN = 60  # letters of a wrong value


def parse(body: bytes) -> dict[str, Any]:
    """A request's JSON object.

    Raises:
        ServingError: If it is none.
    """
    document = loaded(body)
    if not isinstance(document, dict):
        raise invalid("The request must be a JSON object.")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid("`signature_name` must be a string.")
    return document


def loaded(text: bytes | str) -> Any:
    """A JSON value; NaN and infinity are none.

    Raises:
        ServingError: If it is no JSON.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def is_by_rows(document: dict[str, Any]) -> bool:
    """Whether a request, and so its answer, is written by rows.

    Raises:
        ServingError: If it is written both ways, or not at all.
    """
    if ("instances" in document) == ("inputs" in document):
        raise invalid(
            "The request must have either `instances` (by rows) or `inputs` (by columns)."
        )
    return "instances" in document


def arrays(document: dict[str, Any], signature: Signature) -> Arrays:
    """What a request asks of a signature.

    Args:
        document: The request.
        signature: The signature.

    Raises:
        ServingError: If it is not what the signature takes.
    """
    if is_by_rows(document):
        columns = _columns(document["instances"], signature)
    else:
        columns = document["inputs"]
        if not _is_object(columns):
            columns = {_only(signature): columns}
    for name in columns:
        if name not in signature.inputs:
            raise invalid(
                f"Signature `{signature.name}` takes the inputs {sorted(signature.inputs)}. "
                f"Received: {name!r}"
            )
    return {name: array_of(name, value, signature.inputs[name]) for name, value in columns.items()}


def _columns(instances: Any, signature: Signature) -> dict[str, Any]:
    """Rows as columns."""
    if not isinstance(instances, list) or not instances:
        raise invalid("`instances` must be a list of at least one.")
    if not _is_object(instances[0]):
        return {_only(signature): instances}
    names = instances[0].keys()
    if not all(_is_object(row) and row.keys() == names for row in instances):
        raise invalid(f"Every one of `instances` must be an object of {sorted(names)}.")
    return {name: [row[name] for row in instances] for name in names}


def _only(signature: Signature) -> str:
    """The input that needs no name."""
    if signature.main_input is None:
        raise invalid(f"Inputs of `{signature.name}` must be named: {sorted(signature.inputs)}.")
    return signature.main_input


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {BASE64}


def array_of(name: str, value: Any, spec: TensorSpec) -> np.ndarray:
    """Nested lists as an array of a tensor's type; its shape is the caller's matter.

    Args:
        name: What an error calls it.
        value: What stood in JSON.
        spec: The tensor.

    Raises:
        ServingError: If it holds anything else, or is not rectangular.
    """
    dtype = dtype_of(spec.dtype)
    shape, elements = _elements(name, value, spec)
    if dtype == STRING:
        array = np.empty(len(elements), object)
        array[:] = [_string(name, each) for each in elements]
        return array.reshape(shape)
    # Before NumPy sees them: it would give each of many short texts the room of the longest.
    types, words = _ELEMENTS[dtype.kind]
    if not types.issuperset(map(type, elements)):
        other = next(each for each in elements if type(each) not in types)
        raise invalid(f"`{name}` must be {spec}, {words}. Received: {_shown(other)}")
    try:
        with np.errstate(over="ignore"):  # looked for below
            array = np.array(elements, dtype)
    except OverflowError as error:
        raise invalid(f"`{name}` must hold numbers that fit {dtype}.") from error
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise invalid(f"`{name}` must hold numbers that fit {dtype}.")
    return array.reshape(shape)


def _shown(value: Any) -> str:
    """A wrong value in an error."""
    if isinstance(value, list | dict):  # perhaps too deep to be written
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _elements(name: str, value: Any, spec: TensorSpec) -> tuple[list[int], list[Any]]:
    """The shape of lists in lists, and what is in the innermost ones."""
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    if len(shape) > MAX_DEPTH:
        raise invalid(f"`{name}` must be lists in lists, at most {MAX_DEPTH} deep.")
    elements = [value]
    for size in shape:
        if not all(isinstance(each, list) and len(each) == size for each in elements):
            raise invalid(f"`{name}` must be {spec}, each list of one length.")
        elements = list(chain.from_iterable(elements))
    return shape, elements


def _string(name: str, value: Any) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and value.keys() == {BASE64}:
            return base64.b64decode(value[BASE64], validate=True)
    except (binascii.Error, UnicodeEncodeError, TypeError, ValueError) as error:
        raise invalid(f"`{name}` must hold valid Unicode or base64. {error}") from error
    raise invalid(f'`{name}` must hold strings, or {{"{BASE64}": base64}}.')


def written(outputs: Arrays, by_rows: bool) -> dict[str, Any]:
    """An answer.

    Args:
        outputs: What the model gave.
        by_rows: Whether it was asked by rows.

    Raises:
        ServingError: If outputs have no rows, or not as many as others.
    """
    columns = {name: _values(name, array) for name, array in sorted(outputs.items())}
    if not by_rows:
        return {"outputs": columns if len(columns) != 1 else next(iter(columns.values()))}
    if len({array.shape[:1] for array in outputs.values()}) != 1 or not all(
        array.ndim for array in outputs.values()
    ):
        raise ServingError(
            Code.INVALID_ARGUMENT, "The outputs differ in their number of rows: ask by `inputs`."
        )
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def _values(name: str, array: np.ndarray) -> Any:
    if array.dtype == STRING:
        return _texts(array.tolist(), name.endswith(BYTES))
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        # The shortest number that is read as the same float32: 0.1, not 0.10000000149011612.
        array = array.astype("U").astype(np.float64)
    return array.tolist()


def _texts(value: Any, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_texts(each, as_base64) for each in value]
    if as_base64:
        return {BASE64: base64.b64encode(value).decode()}
    return value.decode(errors="replace")


def examples(document: dict[str, Any]) -> Message:
    """The examples of a request to classify or to regress, as an Input.

    Raises:
        ServingError: If they are no objects of features.
    """
    listed, request = document.get("examples"), Input()
    if not isinstance(listed, list) or not listed:
        raise invalid("`examples` must be a list of at least one.")
    if "context" in document:
        target = request.example_list_with_context
        _fill(target.context, document["context"])
    else:
        target = request.example_list
    for example in listed:
        _fill(target.examples.add(), example)
    return request


def _fill(example: Message, features: Any) -> None:
    if not isinstance(features, dict):
        raise invalid("An example must be an object of features.")
    example.features.SetInParent()
    for name, value in features.items():
        try:
            _fill_feature(name, example.features.feature[name], value)
        except (TypeError, ValueError, OverflowError) as error:
            raise invalid(f"Feature {name!r} must hold values of one type. {error}") from error


def _fill_feature(name: str, feature: Message, value: Any) -> None:
    """A feature of one value or of a list."""
    values = value if isinstance(value, list) else [value]
    kinds = {type(each) for each in values}
    if kinds <= {int}:
        feature.int64_list.value.extend(values)
    elif kinds <= {int, float}:
        feature.float_list.value.extend(values)
    elif kinds <= {str, dict}:
        feature.bytes_list.value.extend(_string(name, each) for each in values)
    else:
        raise invalid(f"Feature {name!r} must hold numbers or strings.")


def inferred(result: Message) -> dict[str, Any]:
    """The answer to a request to classify or to regress.

    Args:
        result: A ClassificationResult or a RegressionResult.
    """
    if hasattr(result, "regressions"):
        return {"results": [each.value for each in result.regressions]}
    return {
        "results": [
            [[each.label, each.score] for each in row.classes] for row in result.classifications
        ]
    }
