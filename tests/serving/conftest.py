"""A server over tiny exports, which many tests ask, and models of NumPy that need none."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnapp.runs import Run
from rnnapp.serving.protocol import SignatureDef
from rnnapp.serving.server.app import Server, running
from rnnapp.serving.server.batching import BatchSpec
from rnnapp.serving.server.settings import ServerSpec
from rnnapp.serving.signatures import PREDICT, Arrays, Signature

Rest = Callable[..., tuple[int, Any]]
FLOAT, INT32, STRING = 1, 3, 7  # DataType
MAX_BODY = 4 * 2**20


def local(**settings: Any) -> ServerSpec:
    """Settings of a server at free ports, which looks for versions often."""
    return ServerSpec(port=0, rest_port=0, poll_seconds=0.05, **settings)


@pytest.fixture(scope="session")
def words(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a model of sound, for servers alone; never to be changed."""
    from rnnapp import export

    return export(finished, tmp_path_factory.mktemp("served") / "words", formats=["saved_model"])


@pytest.fixture(scope="session")
def opinions(reader: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a model of texts, for servers alone; never to be changed."""
    from rnnapp import export

    return export(reader, tmp_path_factory.mktemp("served") / "opinions", formats=["saved_model"])


@pytest.fixture(scope="session")
def server(words: Path) -> Iterator[Server]:
    """A server of the words; what is asked of it changes nothing."""
    with running(words, local(max_body=MAX_BODY, batch=BatchSpec(timeout=0.002))) as server:
        yield server


@pytest.fixture(scope="session")
def text_server(opinions: Path) -> Iterator[Server]:
    """A server of the opinions; what is asked of it changes nothing."""
    with running(opinions, local()) as server:
        yield server


@pytest.fixture(scope="session")
def rest(server: Server) -> Rest:
    """Asks the words' server by REST."""
    return lambda path, body=None, **options: ask(server.url + path, body, **options)


def ask(
    url: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
) -> tuple[int, Any]:
    """Status and JSON of an HTTP answer; bytes are sent as they are, others as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def signature(
    inputs: dict[str, tuple[int, tuple[int, ...]]], outputs: dict[str, tuple[int, tuple[int, ...]]]
) -> Signature:
    """A signature by the types and shapes of its tensors."""
    proto = SignatureDef(method_name=PREDICT)
    for tensors, specs in ((proto.inputs, inputs), (proto.outputs, outputs)):
        for name, (dtype, shape) in specs.items():
            tensors[name].dtype = dtype
            for size in shape:
                tensors[name].tensor_shape.dim.add(size=size)
    return Signature.of("serving_default", proto)


SUMMING = signature(
    {"x": (FLOAT, (-1, -1, 2)), "lengths": (INT32, (-1,))}, {"sum": (FLOAT, (-1, 2))}
)


def summed(inputs: Arrays) -> Arrays:
    """A model of sequences that looks at nothing past their lengths, and would tell of padding."""
    x, lengths = inputs["x"], inputs["lengths"]
    inside = np.arange(x.shape[1]) < lengths[:, None]
    return {"sum": np.where(inside[..., None], x, 0).sum(1, dtype=np.float32)}
