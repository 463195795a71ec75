"""What the REST API takes and gives, as JSON schemas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from rnnapp.device.sequences import LENGTHS
from rnnapp.serving.server.json_tensors import BASE64, BYTES, WHOLE
from rnnapp.serving.signatures import DEFAULT, Signature, TensorSpec
from rnnapp.serving.tensors import STRING, dtype_of

Schema = dict[str, Any]


def any_of(schemas: Iterable[Schema]) -> Schema:
    """One of several, each told once."""
    told: list[Schema] = []
    for schema in schemas:
        if schema not in told:
            told.append(schema)
    return told[0] if len(told) == 1 else {"anyOf": told}


def list_of(items: Schema, at_least: int = 0, at_most: int | None = None) -> Schema:
    """A list."""
    limits = {"minItems": at_least} | ({} if at_most is None else {"maxItems": at_most})
    return {"type": "array", "items": items, **limits}


def object_of(properties: Schema, required: list[str] | None = None) -> Schema:
    """An object of nothing else; all of it is required where nothing is said."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
# Of an answer it may be NaN, which many a parser reads as null.
ANSWER: Schema = {"type": ["number", "null"]}
CLASSES = list_of({"type": "array", "prefixItems": [TEXT, ANSWER], "minItems": 2, "maxItems": 2})
_ENCODED = object_of(
    {
        BASE64: {
            "type": "string",
            "contentEncoding": "base64",
            "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
        }
    }
)
_INT64: Schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_FEATURE = any_of(
    kind for each in (_INT64, NUMBER, TEXT, _ENCODED) for kind in (each, list_of(each))
)
_EXAMPLE: Schema = {"type": "object", "additionalProperties": _FEATURE}
STATUS = object_of(
    {
        "model_version_status": list_of(
            object_of(
                {
                    "version": TEXT,
                    "state": TEXT,
                    "status": object_of({"error_code": TEXT, "error_message": TEXT}),
                }
            ),
            1,
        )
    }
)
METADATA = object_of(
    {
        "model_spec": object_of({"name": TEXT, "signature_name": TEXT, "version": TEXT}),
        "metadata": object_of(
            {
                "signature_def": object_of(
                    {
                        "signature_def": {
                            "type": "object",
                            "additionalProperties": {"type": "object"},
                        }
                    }
                )
            }
        ),
    }
)


def predict_requests(signatures: dict[str, Signature]) -> Iterator[Schema]:
    """Questions by rows and by columns, to each signature."""
    for name, signature in signatures.items():
        by_rows = all(spec.shape != () for spec in signature.inputs.values())
        contents = {"instances": list_of(_inputs(signature, 1), 1)} if by_rows else {}
        contents["inputs"] = _inputs(signature, 0)
        for key, content in contents.items():
            others = {"instances": False, "inputs": False}
            yield {
                "type": "object",
                "properties": {"signature_name": _names([name]), **others, key: content},
                "required": [key, *([] if name == DEFAULT else ["signature_name"])],
            }


def _inputs(signature: Signature, skipped: int) -> Schema:
    """The inputs by name; also without, where only one must be given."""
    properties = {
        name: _tensor(spec, skipped, _taken(spec)) for name, spec in signature.inputs.items()
    }
    needless = {LENGTHS} if signature.sequences else set()
    named = object_of(properties, sorted(properties.keys() - needless))
    main = signature.main_input
    return named if main is None else any_of([properties[main], named])


def predictions(signature: Signature) -> Iterator[Schema]:
    """Answers by rows and by columns; an output that is alone has no name."""
    for skipped, key in ((1, "predictions"), (0, "outputs")):
        columns = {
            name: _tensor(spec, skipped, _given(name, spec))
            for name, spec in sorted(signature.outputs.items())
        }
        content = object_of(columns) if len(columns) != 1 else next(iter(columns.values()))
        yield object_of({key: list_of(content, 1) if skipped else content})


def examples_request(names: list[str]) -> Schema:
    """Examples for one of some signatures."""
    return {
        "type": "object",
        "properties": {
            "signature_name": _names(names),
            "examples": list_of(_EXAMPLE, 1),
            "context": _EXAMPLE,
        },
        "required": ["examples", *([] if DEFAULT in names else ["signature_name"])],
    }


def _names(names: list[str]) -> Schema:
    """Signatures by name; the default one also by none."""
    return {"enum": [*names, *([""] if DEFAULT in names else [])]}


def _tensor(spec: TensorSpec, skipped: int, element: Schema) -> Schema:
    """Lists in lists of elements; without the first sizes."""
    if spec.shape is None:
        return {}
    schema = element
    for axis, size in reversed([*enumerate(spec.shape)][skipped:]):
        rows = 0 if axis else 1  # of which there is one at least
        schema = list_of(schema, rows) if size < 0 else list_of(schema, size, size)
    return schema


def _taken(spec: TensorSpec) -> Schema:
    """An element of an input."""
    dtype = dtype_of(spec.dtype)
    if dtype == STRING:
        return any_of([TEXT, _ENCODED])
    if dtype.kind == "b":
        return {"type": "boolean"}
    if dtype.kind == "f":
        return _float(dtype)
    limits = np.iinfo(dtype)
    told = {"description": WHOLE, "minimum": int(limits.min), "maximum": int(limits.max)}
    return {"type": "integer", **told}


def _float(dtype: np.dtype) -> Schema:
    """Numbers that round to a finite one of the type."""
    largest = np.finfo(dtype).max
    past = float(largest) + float(largest - np.nextafter(largest, dtype.type(0))) / 2
    if math.isinf(past):  # of float64, whose greater numbers JSON's readers take for infinity
        return {"type": "number"}
    return {"type": "number", "exclusiveMinimum": -past, "exclusiveMaximum": past}


def _given(name: str, spec: TensorSpec) -> Schema:
    """An element of an output."""
    dtype = dtype_of(spec.dtype)
    if dtype == STRING:
        return _ENCODED if name.endswith(BYTES) else TEXT
    return ANSWER if dtype.kind == "f" else _taken(spec)
