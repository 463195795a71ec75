"""A server over tiny exports, which many tests ask, and models of NumPy that need none."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from rnnapp.exporting.reference import Reference
from rnnapp.manifests import read_manifest
from rnnapp.replay import Replay
from rnnapp.runs import Run
from rnnapp.serving import Client
from rnnapp.serving.protocol import METHODS, Message, SignatureDef
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
def storyteller(writer_exported: Path) -> Iterator[Server]:
    """A server of a language model; what is asked of it changes nothing."""
    with running(writer_exported, local()) as server:
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


def client(server: Server, protocol: str, **options: Any) -> Client:
    """Of a server."""
    return Client(server.address if protocol == "grpc" else server.url, server.name, **options)


def reference(export: Path) -> Reference:
    """The Keras model that an export came from, and its replay."""
    import keras

    model = keras.models.load_model(export / "source/model.keras", compile=False)
    manifest = read_manifest(export)
    return Reference(model, Replay.load(export / "source/replay.npz"), manifest["unit"])


def call(server: Server, name: str, **fields: Any) -> Message:
    """A call of gRPC, by its fields."""
    method = METHODS[name]
    with grpc.insecure_channel(server.address) as channel:
        stub = channel.unary_unary(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        return stub(method.request(**fields), timeout=30)


def with_second_version(words: Path, folder: Path) -> Path:
    """A copy of an export with its version a second time, as another export would bring it."""
    export = Path(shutil.copytree(words, folder / "words"))
    bring(words, export)
    return export


def bring(new: Path, export: Path) -> None:
    """Rolls a new export's version out as the second, as `rnnapp serve --help` says."""
    serving = export / "serving"
    shutil.copy(new / "manifest.json", serving / "2.manifest.json")
    shutil.copytree(new / "serving/1", serving / "2.partial")
    (serving / "2.partial").rename(serving / "2")
