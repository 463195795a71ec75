"""Arrays travel as they are, and no message makes the receiver allocate what it did not send."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.protocol import DataType, Message, TensorProto
from rnnapp.serving.tensors import to_array, to_proto

DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f4", ">i8"]
NUMBERS = {value.name: value.number for value in DataType.values}


def shaped(dtype: str, *sizes: int) -> Message:
    """A message that says what it shall hold, and holds nothing."""
    proto = TensorProto(dtype=NUMBERS[dtype])
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@settings(deadline=None)
@given(st.data())
def test_numbers_travel_unchanged(data: st.DataObject) -> None:
    """To the bit, whatever the type, order of bytes and layout; and as TensorFlow reads them."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    array = data.draw(arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0)))
    array = data.draw(st.sampled_from([array, array.T, array[..., ::2] if array.ndim else array]))
    sent = to_proto(array).SerializeToString()
    received = to_array(TensorProto.FromString(sent))
    theirs = tf.make_ndarray(tensor_pb2.TensorProto.FromString(sent))
    for each in (received, theirs):
        assert each.dtype == dtype.newbyteorder("<") and each.shape == array.shape
        np.testing.assert_array_equal(each, array)


@settings(deadline=None)
@given(arrays.arrays(object, arrays.array_shapes(min_side=0), elements=st.binary(max_size=9)))
def test_bytes_travel_unchanged(array: np.ndarray) -> None:
    """Zeros at the end included, which NumPy's own strings lose."""
    received = to_array(to_proto(array))
    assert received.shape == array.shape and received.tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [name for name in DTYPES if not name.startswith(">")])
def test_typed_fields_are_read(dtype: str) -> None:
    """Other clients write values one by one, as TensorFlow's own does for some."""
    from tensorflow.python.framework import tensor_util

    expected = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    field = tensor_util.make_tensor_proto(expected)
    proto = TensorProto.FromString(field.SerializeToString())
    name = next(n for n, number in NUMBERS.items() if number == proto.dtype)
    values = {
        "DT_HALF": ("half_val", expected.view(np.uint16) if dtype == "f2" else None),
        "DT_FLOAT": ("float_val", expected),
        "DT_DOUBLE": ("double_val", expected),
        "DT_INT64": ("int64_val", expected),
        "DT_UINT32": ("uint32_val", expected),
        "DT_UINT64": ("uint64_val", expected),
        "DT_BOOL": ("bool_val", expected),
    }
    name, flat = values.get(name, ("int_val", expected))
    proto.ClearField("tensor_content")
    proto.ClearField(name)
    assert flat is not None
    getattr(proto, name).extend(flat.ravel().tolist())
    np.testing.assert_array_equal(to_array(proto), expected)


@pytest.mark.parametrize(
    ("proto", "told"),
    [
        (shaped("DT_FLOAT", 2**40, 2**40), "fit into memory"),
        (shaped("DT_FLOAT", 2**31), "Received: 0 values"),
        (shaped("DT_FLOAT", -1), "0 or more"),
        (shaped("DT_FLOAT", *[1] * 65), "at most 64"),
        (shaped("DT_FLOAT", 0, 2**62, 2**62), "fit into memory"),
        (shaped("DT_FLOAT", 2**33, 0), "fit into memory"),  # rows that cost nothing to send
        (shaped("DT_STRING", 5), "Received: 0 values"),
        (shaped("DT_BFLOAT16", 1), "Received: DT_BFLOAT16"),
        (shaped("DT_COMPLEX64", 1), "Received: DT_COMPLEX64"),
        (TensorProto(dtype=77), "DataType 77"),
        (TensorProto(), "DT_INVALID"),
        (TensorProto(dtype=NUMBERS["DT_FLOAT"], float_val=[1, 2]), "Received: 2 values"),
        (TensorProto(dtype=NUMBERS["DT_FLOAT"], tensor_content=b"12345"), "Received: 5 bytes"),
        (TensorProto(dtype=NUMBERS["DT_STRING"], tensor_content=b"1"), "string_val"),
        (TensorProto(dtype=NUMBERS["DT_INT8"], int_val=[300]), "from -128 to 127"),
        (TensorProto(dtype=NUMBERS["DT_HALF"], half_val=[-1]), "from 0 to 65535"),
    ],
)
def test_lies_are_refused(proto: Message, told: str) -> None:
    """What a message claims is not allocated, and what is wrong with it is said."""
    with pytest.raises(ServingError, match=told) as caught:
        to_array(proto)
    assert caught.value.code is Code.INVALID_ARGUMENT


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_array_or_refused(content: bytes) -> None:
    """Whatever parses as a message ends in one of two ways."""
    from google.protobuf.message import DecodeError

    with contextlib.suppress(DecodeError, ServingError):
        to_array(TensorProto.FromString(content))


@pytest.mark.parametrize("value", [np.array([1j]), np.array([None], object), np.array(["\ud800"])])
def test_what_cannot_be_sent_is_refused(value: np.ndarray) -> None:
    """Before it is sent, with a reason."""
    with pytest.raises(ServingError, match="Received|valid Unicode"):
        to_proto(value)
