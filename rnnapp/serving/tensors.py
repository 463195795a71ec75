"""NumPy arrays as TensorProto and back, never allocating more than what was received."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

from rnnapp.serving.errors import invalid
from rnnapp.serving.protocol import DataType, Message, TensorProto

MAX_RANK = 64  # NumPy's
MAX_EMPTY = 2**16  # of the other sizes of a tensor without elements, which cost nothing to send


@dataclass(frozen=True)
class _Kind:
    """An element type: NumPy's, and the field that holds single values of it."""

    dtype: np.dtype
    field: str


_KINDS = {
    DataType.values_by_name[f"DT_{name}"].number: _Kind(np.dtype(dtype), field)
    for name, dtype, field in (
        ("FLOAT", "<f4", "float_val"),
        ("DOUBLE", "<f8", "double_val"),
        ("HALF", "<f2", "half_val"),
        ("INT8", "<i1", "int_val"),
        ("INT16", "<i2", "int_val"),
        ("INT32", "<i4", "int_val"),
        ("INT64", "<i8", "int64_val"),
        ("UINT8", "<u1", "int_val"),
        ("UINT16", "<u2", "int_val"),
        ("UINT32", "<u4", "uint32_val"),
        ("UINT64", "<u8", "uint64_val"),
        ("BOOL", "?", "bool_val"),
        ("STRING", "O", "string_val"),
    )
}
_NUMBERS = {kind.dtype: number for number, kind in _KINDS.items()}
STRING = np.dtype(object)  # of bytes


def name_of(data_type: int) -> str:
    """The name of a number of DataType."""
    value = DataType.values_by_number.get(data_type)
    return value.name if value else f"DataType {data_type}"


def dtype_of(data_type: int) -> np.dtype:
    """NumPy's type for a number of DataType; of strings, objects.

    Raises:
        ServingError: If there is none here: complex numbers, bfloat16, quantized ones.
    """
    if data_type not in _KINDS:
        raise invalid(
            f"`dtype` must be one of {', '.join(map(name_of, _KINDS))}. "
            f"Received: {name_of(data_type)}"
        )
    return _KINDS[data_type].dtype


def to_proto(array: np.ndarray) -> Message:
    """An array as a message; see `fill`."""
    proto = TensorProto()
    fill(proto, array)
    return proto


def fill(proto: Message, array: np.ndarray) -> None:
    """Writes an array into an empty message, such as one in a map, without a copy of it.

    Args:
        proto: A TensorProto.
        array: Of numbers, truth values, or of strings: `str`, `bytes` or objects of those.

    Raises:
        ServingError: If messages cannot hold its type.
    """
    if array.dtype.kind in "USO":
        proto.dtype = _NUMBERS[STRING]
        proto.string_val.extend(_bytes(each) for each in array.flat)
    else:
        dtype = array.dtype if array.dtype in _NUMBERS else array.dtype.newbyteorder("<")
        if dtype not in _NUMBERS:
            raise invalid(
                f"`dtype` must be one of NumPy's that TensorFlow has. Received: {array.dtype}"
            )
        proto.dtype = _NUMBERS[dtype]
        proto.tensor_content = np.ascontiguousarray(array, dtype).tobytes()
    proto.tensor_shape.SetInParent()  # a scalar's shape is there, and empty
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)


def to_array(proto: Message) -> np.ndarray:
    """A message as an array, of bytes objects for strings.

    Raises:
        ServingError: If the message is not what its shape says, to the element.
    """
    dtype, shape = dtype_of(proto.dtype), _shape(proto.tensor_shape)
    count = math.prod(shape)  # Python's integers, which do not overflow
    if content := proto.tensor_content:  # a copy each time it is read
        return _of_content(content, dtype, shape, count)
    values = getattr(proto, _KINDS[proto.dtype].field)
    if len(values) != count:
        raise invalid(
            f"A tensor of shape {list(shape)} must hold {count} values in "
            f"`{_KINDS[proto.dtype].field}`, or their bytes in `tensor_content`. "
            f"Received: {len(values)} values"
        )
    return _of_values(values, dtype).reshape(shape)


def _shape(proto: Message) -> tuple[int, ...]:
    sizes = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or any(size < 0 for size in sizes) or len(sizes) > MAX_RANK:
        received = "an unknown rank" if proto.unknown_rank else f"{list(sizes)}"
        raise invalid(
            f"`tensor_shape` must be at most {MAX_RANK} sizes of 0 or more. Received: {received}"
        )
    limit = MAX_EMPTY if 0 in sizes else sys.maxsize // 16
    if math.prod(max(1, size) for size in sizes) > limit:
        raise invalid(f"`tensor_shape` must fit into memory. Received: {list(sizes)}")
    return sizes


def _of_content(content: bytes, dtype: np.dtype, shape: tuple[int, ...], count: int) -> np.ndarray:
    if dtype == STRING:
        raise invalid("Strings must stand in `string_val`. Received: `tensor_content`")
    if len(content) != count * dtype.itemsize:
        raise invalid(
            f"`tensor_content` must be {count * dtype.itemsize} bytes for {dtype} of shape "
            f"{list(shape)}. Received: {len(content)} bytes"
        )
    if dtype.kind == "b":  # any byte but 0 is true
        return (np.frombuffer(content, np.uint8) != 0).reshape(shape)
    return np.frombuffer(content, dtype).reshape(shape)


def _of_values(values: Message, dtype: np.dtype) -> np.ndarray:
    """The values of a field, one-dimensional."""
    if dtype == STRING:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    if dtype == np.float16:  # its bits
        return _narrowed(np.array(values, np.int32), np.dtype(np.uint16)).view(np.float16)
    if dtype.kind in "iu" and dtype.itemsize < 4:
        return _narrowed(np.array(values, np.int32), dtype)
    return np.array(values, dtype)


def _narrowed(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    limits = np.iinfo(dtype)
    if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
        raise invalid(
            f"Values of {dtype} must be from {limits.min} to {limits.max}. "
            f"Received: {values.min()} to {values.max()}"
        )
    return values.astype(dtype)


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise invalid(f"A string must be valid Unicode. {error}") from error
    if isinstance(value, bytes):
        return value
    raise invalid(f"A string must be str or bytes. Received: {type(value).__name__}")
