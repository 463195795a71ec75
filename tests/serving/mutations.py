"""What is sent to a server to break it: nonsense, and requests that are nearly right."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from rnnapp.serving.protocol import METHODS, DataType, Message, PredictRequest
from rnnapp.serving.tensors import to_proto

NAME = "words"  # of the model in `conftest`
wave = (np.sin(np.arange(200) / 7) * 0.1).astype(np.float32)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["waveform", "lengths", "b64", "x"]) | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(["padded", "step", "serving_default"]) | values,
        "instances": values | st.lists(st.lists(st.floats(-1, 1), max_size=4), max_size=3),
        "inputs": values,
        "examples": values,
        "context": values,
    },
)
_row = wave[:40].round(3).tolist()
RIGHT_DOCUMENTS: list[dict[str, Any]] = [
    {"instances": [_row, _row]},
    {"instances": [{"waveform": _row}], "signature_name": ""},
    {"inputs": [_row]},
    {"inputs": {"waveform": [_row, _row], "lengths": [40, 7]}, "signature_name": "padded"},
    {"instances": [{"waveform": _row, "lengths": 3}] * 2, "signature_name": "padded"},
    {"examples": [{"x": [1.0, 2.0], "name": {"b64": "Yg=="}}], "context": {"y": "z"}},
]
right = st.lists(
    st.tuples(
        st.lists(st.floats(-1, 1, width=32), min_size=len(_row), max_size=len(_row)),
        st.integers(1, len(_row)),
    ),
    min_size=1,
    max_size=3,
).map(
    lambda drawn: {
        "signature_name": "padded",
        "instances": [{"waveform": row, "lengths": length} for row, length in drawn],
    }
)
_odd = values | st.sampled_from(
    [
        -1,
        41,
        2**31,
        2**63,
        10**400,
        1e39,
        float("nan"),
        float("-inf"),
        [],
        {},
        "",
        [[]],
        [None],
        "\ud800",
    ]
)


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """A right document with one thing changed, removed, doubled or nested somewhere in it."""
    document: Any = copy.deepcopy(draw(st.sampled_from(RIGHT_DOCUMENTS)))
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if not (isinstance(place[key], dict | list) and place[key] and draw(st.booleans())):
            break
        place = place[key]
    change = draw(st.sampled_from(["replace", "remove", "double", "nest"]))
    if change == "remove":
        del place[key]
    elif change == "double" and isinstance(place, list):
        place.insert(key, place[key])
    else:
        place[key] = [place[key]] if change == "nest" else draw(_odd)
    text = json.dumps(document)
    if draw(st.integers(0, 9)) == 0:  # a key that stands there twice
        text = '{"instances": [[0.5]], "inputs": 1,' + text[1:]
    return text.encode()


@st.composite
def damaged(draw: st.DrawFn, right: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which some are others, missing, or there twice."""
    content = bytearray(draw(right))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(["flip", "set", "cut", "repeat", "insert"]))
        if kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and content:
            content[at] = draw(st.sampled_from([0, 0x7F, 0x80, 0xFF]))
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 40))]
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 40))]
        else:
            content[at:at] = draw(st.binary(min_size=1, max_size=4))
    return bytes(content)


def right_call(name: str, **inputs: np.ndarray) -> Message:
    """A PredictRequest."""
    request = PredictRequest(model_spec={"name": NAME, "signature_name": name})
    for key, array in inputs.items():
        request.inputs[key].CopyFrom(to_proto(array))
    return request


_EXAMPLES = {"example_list": {"examples": [{"features": {"feature": {"x": {}}}}]}}
_SPEC = {"name": NAME}
RIGHT_CALLS: list[tuple[str, Message]] = [
    ("Predict", right_call("", waveform=wave[None])),
    ("Predict", right_call("padded", waveform=np.stack([wave] * 2), lengths=np.int32([200, 3]))),
    *(
        (name, METHODS[name].request(**fields))
        for name, fields in (
            ("Classify", {"model_spec": _SPEC, "input": _EXAMPLES}),
            ("Regress", {"model_spec": _SPEC, "input": _EXAMPLES}),
            ("MultiInference", {"tasks": [{"model_spec": _SPEC}], "input": _EXAMPLES}),
            ("GetModelMetadata", {"model_spec": _SPEC, "metadata_field": ["signature_def"]}),
            ("GetModelStatus", {"model_spec": _SPEC}),
        )
    ),
]
damaged_calls = st.sampled_from(RIGHT_CALLS).flatmap(
    lambda call: st.tuples(st.just(call[0]), damaged(st.just(call[1].SerializeToString())))
)
_sizes = st.integers(-2, 4) | st.sampled_from([2**31, 2**33, 2**59, 2**62, 199, 201])
_dtypes = st.sampled_from([value.number for value in DataType.values])


@st.composite
def nearly_right_tensors(draw: st.DrawFn) -> bytes:
    """A right request with another type, shape, length, name or number of elements."""
    request = copy.deepcopy(draw(st.sampled_from(RIGHT_CALLS[:2]))[1])
    name = draw(st.sampled_from(sorted(request.inputs)))
    tensor = request.inputs[name]
    change = draw(st.sampled_from(["dtype", "size", "rank", "content", "odd", "name", "lengths"]))
    if change == "dtype":
        tensor.dtype = draw(_dtypes)
    elif change == "size":
        tensor.tensor_shape.dim[draw(st.integers(0, len(tensor.tensor_shape.dim) - 1))].size = draw(
            _sizes
        )
        if draw(st.booleans()):
            tensor.tensor_content = b""
    elif change == "rank":
        tensor.tensor_shape.dim.add(size=draw(_sizes))
    elif change == "content":
        tensor.tensor_content = tensor.tensor_content[draw(st.integers(0, 9)) :]
    elif change == "odd" and name == "waveform":
        odd = draw(st.sampled_from([np.nan, np.inf, -np.inf, 3e38]))
        tensor.CopyFrom(to_proto(np.full((len(request.inputs) or 1, 200), odd, np.float32)))
    elif change == "lengths":
        lengths = draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3))
        request.inputs["lengths"].CopyFrom(to_proto(np.array(lengths, np.int32)))
    else:
        request.inputs[draw(st.sampled_from(["x", ""]) | st.text(max_size=3))].CopyFrom(tensor)
    return request.SerializeToString()


tensors = st.builds(
    dict,
    dtype=_dtypes,
    tensor_shape=st.builds(
        lambda sizes: {"dim": [{"size": size} for size in sizes]}, st.lists(_sizes, max_size=3)
    ),
    tensor_content=st.binary(max_size=64),
    float_val=st.lists(st.floats(width=32), max_size=4),
    int_val=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
)
any_tensors = st.builds(
    PredictRequest,
    model_spec=st.fixed_dictionaries(
        {"name": st.just(NAME) | st.text(st.characters(codec="utf-8"), max_size=4)},
        optional={
            "signature_name": st.sampled_from(["padded", "step", "nix"]),
            "version_label": st.just("stable"),
        },
    ),
    inputs=st.dictionaries(st.sampled_from(["waveform", "lengths", "x"]), tensors, max_size=3),
    output_filter=st.lists(st.sampled_from(["label", "nix"]), max_size=2),
).map(lambda request: request.SerializeToString())

_MODEL = f"/v1/models/{NAME}"
_PATHS = [
    f"{_MODEL}:predict",
    f"{_MODEL}:stream",
    _MODEL,
    "*",
    "/%00",
    "/../etc",
    "/v1",
    "/healthz/",
]
_headers = st.lists(
    st.sampled_from(
        [
            "Content-Type: text/xml",
            "Content-Type: application/json; charset=utf-16",
            "Content-Encoding: gzip",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Content-Length: 5",
            "Content-Length: -1",
            "Content-Length: 99999999999999999999",
            "Expect: 100-continue",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Authorization: Bearer \xff",
            "Host: a\x00b",
            "X: " + "y" * 70_000,
            ": nameless",
        ]
    ),
    max_size=5,
)
_bodies = st.sampled_from(
    [
        b"",
        b"{}",
        b"5\r\n{}   \r\n0\r\n\r\n",
        b"5;x=y\r\n{}   \r\n0\r\nTrailer: x\r\n\r\n",
        b"fffffffffffffffffffff\r\n{}",
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"zz\r\n",
    ]
) | st.binary(max_size=20)


@st.composite
def http(draw: st.DrawFn) -> bytes:
    """A request down to its bytes, which may be none."""
    method = draw(st.sampled_from(["GET", "POST", "POST", "HEAD", "TRACE", "get", "\x7f"]))
    path = draw(st.sampled_from(_PATHS))
    version = draw(st.sampled_from(["HTTP/1.1"] * 4 + ["HTTP/1.0", "HTTP/2.0", "HTTP/9"]))
    lines = [f"{method} {path} {version}", "Host: localhost", *draw(_headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + draw(_bodies)


paths = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.text(st.characters(codec="utf-8"), max_size=30)
    | st.sampled_from(["/", "/metadata/", "/labels/x:predict", "/versions/1", "/../../etc/passwd"]),
)
stream_messages = st.lists(
    st.binary(max_size=700)
    | st.lists(st.floats(width=32), max_size=200).map(lambda x: np.array(x, "<f4").tobytes())
    | values.map(json.dumps)
    | st.text(max_size=20),
    min_size=1,
    max_size=3,
)
