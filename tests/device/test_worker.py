"""Messages between processes: whole, or the end of the talk."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnnapp.device import worker


@given(length=st.integers(min_value=0))
def test_a_message_is_whole_or_the_end(length: int) -> None:
    """A process may die amid a message, at any byte."""
    stream = io.BytesIO()
    worker.send(stream, {"samples": np.arange(3, dtype=np.float32)})
    message = stream.getvalue()
    received = worker.receive(io.BytesIO(message))
    assert received is not None
    np.testing.assert_array_equal(received["samples"], [0, 1, 2])
    assert worker.receive(io.BytesIO(message[: length % len(message)])) is None
