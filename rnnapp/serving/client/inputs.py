"""What people have at hand, as the arrays that a signature takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnapp.device.sequences import LENGTHS
from rnnapp.serving.errors import invalid
from rnnapp.serving.signatures import Arrays, Signature, TensorSpec
from rnnapp.serving.tensors import STRING, dtype_of, name_of


def prepared(inputs: Any, signature: Signature) -> Arrays:
    """A request's arrays.

    Args:
        inputs: Arrays by name; or one without a name, where the signature takes one. Sequences of
            different lengths may be a list, which is padded where the model is told lengths.
        signature: What is asked.

    Raises:
        ServingError: If the signature does not take them.
    """
    if not isinstance(inputs, Mapping):
        if signature.main_input is None:
            raise invalid(
                f"Inputs of `{signature.name}` must be a dict of {sorted(signature.inputs)}. "
                f"Received: {type(inputs).__name__}"
            )
        inputs = {signature.main_input: inputs}
    arrays: Arrays = {}
    for name, value in inputs.items():
        if name in signature.sequences and _is_ragged(value):
            arrays |= _padded(name, value, signature.inputs[name])
            arrays[LENGTHS] = np.array(
                [len(each) for each in value], dtype_of(signature.inputs[LENGTHS].dtype)
            )
        elif name in signature.inputs:
            arrays[name] = array_of(name, value, signature.inputs[name])
        else:
            arrays[name] = np.asarray(value)  # refused below
    return signature.checked(arrays)


def _is_ragged(value: Any) -> bool:
    return isinstance(value, list | tuple) and len({np.shape(row)[:1] for row in value}) > 1


def _padded(name: str, rows: Any, spec: TensorSpec) -> Arrays:
    """Sequences of different lengths, with zeros past their ends."""
    arrays = [array_of(name, row, spec) for row in rows]
    if len({array.shape[1:] for array in arrays}) > 1 or not all(a.ndim for a in arrays):
        raise invalid(f"`{name}` must hold sequences of one kind. Received: others among them")
    time = max(map(len, arrays))
    result = np.zeros((len(arrays), time, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(result, arrays, strict=True):
        row[: len(array)] = array
    return {name: result}


def array_of(name: str, value: Any, spec: TensorSpec) -> np.ndarray:
    """A value in the type that a signature takes, without loss but for the precision of floats.

    Args:
        name: The input's, for the message.
        value: An array, or what makes one.
        spec: What the signature takes.

    Raises:
        ServingError: If it does not fit.
    """
    wanted = dtype_of(spec.dtype)
    try:
        if wanted == STRING:
            return _strings(value if isinstance(value, np.ndarray) else np.array(value, object))
        array = np.asarray(value)
        if np.can_cast(array.dtype, wanted, "same_kind") and array.dtype.kind != wanted.kind:
            return array.astype(wanted)  # integers as floats
        cast = array.astype(wanted, casting="same_kind", copy=False)
        if wanted.kind in "iu" and not (cast == array).all():
            raise ValueError("some do not fit")
        return cast
    except (ValueError, TypeError) as error:
        raise invalid(f"`{name}` must be {name_of(spec.dtype)}. Received: {error}") from error


def _strings(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "USO":
        raise ValueError(f"{array.dtype}")
    encoded = [each if isinstance(each, bytes) else str.encode(each) for each in array.flat]
    result = np.empty(len(encoded), object)
    result[:] = encoded
    return result.reshape(array.shape)
