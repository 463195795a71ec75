from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc as service
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from rnnapp.exporting.bundle import MODELS

from .conftest import Bundle, arrays

SERVER = "tensorflow_model_server"


def blocks(bundle: Bundle, language: str) -> list[str]:
    """What stands on the page in a language."""
    page = (bundle.base / "ROLLOUT.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


class Answering(service.PredictionServiceServicer):
    """Answers as TensorFlow Serving does, and keeps what it was asked."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.asked = bundle, list[predict_pb2.PredictRequest]()

    def Predict(self, request: Any, context: Any) -> Any:
        """Runs a signature."""
        self.asked.append(request)
        outputs = self.bundle.answer(request).items()
        return predict_pb2.PredictResponse(
            outputs={name: tf.make_tensor_proto(value) for name, value in outputs}
        )


@contextmanager
def answering(bundle: Bundle) -> Iterator[tuple[Answering, int]]:
    """A server on a free port of this machine."""
    servicer, server = Answering(bundle), grpc.server(futures.ThreadPoolExecutor(1))
    service.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, port
    finally:
        server.stop(None).wait()


def test_the_program_on_the_page_runs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It is copied before anything else is read."""
    (program,) = blocks(bundle, "python")
    monkeypatch.chdir(bundle.base)
    with answering(bundle) as (server, port):
        exec(compile(program.replace("localhost:8500", f"127.0.0.1:{port}"), "page", "exec"), {})
    (request,) = server.asked
    assert request.model_spec.signature_name == "serving_default"
    assert request.model_spec.version_label == "stable"
    first = next(r for r in bundle.warm_up() if r.model_spec.signature_name == "serving_default")
    for name, value in arrays(first).items():
        np.testing.assert_array_equal(arrays(request)[name], value)
    said = capsys.readouterr().out
    assert all(f"'{name}': array(" in said for name in bundle.model.outputs("serving_default"))


def test_requests_on_the_page_are_there(bundle: Bundle) -> None:
    """For each signature a file, and the label that clients ask for."""
    (commands,) = blocks(bundle, "sh")
    told = re.findall(r"^curl -d @(\S+) localhost:8501/v1/models/(\S+)$", commands, re.MULTILINE)
    assert len(told) == len(commands.splitlines()) == len(bundle.model.signatures)
    for file, path in told:
        assert (bundle.base / file).is_file()
        assert re.fullmatch("[a-z0-9-]+/labels/stable:predict", path)


def test_the_page_describes_every_signature(bundle: Bundle) -> None:
    """By its inputs and outputs, and how a stream goes on."""
    page = (bundle.base / "ROLLOUT.md").read_text(encoding="utf-8")
    for signature in bundle.model.signatures:
        part = page.partition(f"### `{signature}`\n")[2].partition("\n#")[0]
        for way, infos in (
            ("takes", bundle.model.inputs(signature)),
            ("gives", bundle.model.outputs(signature)),
        ):
            assert set(re.findall(rf"^\| {way} \| `(\w+)`", part, re.MULTILINE)) == set(infos)
        decodes = "encode" in bundle.model.signatures
        begins = "It begins with token 2 and what" if decodes else "A stream begins with zeros"
        assert (begins in part) == (signature == "step")
        hears_padding = set(bundle.model.inputs(signature)) == {"waveform"}
        assert ("It is told no lengths" in part) == hears_padding


def test_each_step_of_a_rollout_can_follow_the_one_before(bundle: Bundle) -> None:
    """A label is free, or moves to a version that is loaded already: else it is refused."""
    texts = [(bundle.base / "models.config").read_text(), *blocks(bundle, "proto")]
    configs = [text_format.Parse(text, ModelServerConfig()).model_config_list for text in texts]
    *steps, several = configs
    assert len(steps) == 4
    canary, promoted = steps[1], steps[2]
    for before, after in [*zip(steps, steps[1:], strict=False), (promoted, canary)]:
        (old,), (new,) = before.config, after.config
        assert (old.name, old.base_path) == (new.name, new.base_path)
        there = old.model_version_policy.specific.versions
        for label, version in new.version_labels.items():
            assert version in new.model_version_policy.specific.versions
            assert label not in old.version_labels or version in there
        assert "stable" in new.version_labels
    assert [dict(c.config[0].version_labels)["stable"] for c in steps] == [1, 1, 2, 2]
    assert len({model.base_path for model in several.config}) == len(several.config) == 2


@pytest.mark.skipif(not shutil.which(SERVER), reason=f"{SERVER} is not on the PATH")
def test_tensorflow_serving_answers_as_the_keras_model_does(bundle: Bundle, tmp_path: Path) -> None:
    """The bundle as it is, in the server that it was made for: loaded, warmed, asked, batched."""
    with serving(bundle, tmp_path) as channel:
        stub = service.PredictionServiceStub(channel)
        for request in bundle.warm_up():
            request.model_spec.version_label = "stable"
            answer = stub.Predict(request, timeout=60)
            outputs = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
            signature = request.model_spec.signature_name
            for name, value in bundle.expected(signature, arrays(request)).items():
                np.testing.assert_allclose(outputs[name], value, rtol=0, atol=1e-5)


@contextmanager
def serving(bundle: Bundle, scratch: Path) -> Iterator[grpc.Channel]:
    """TensorFlow Serving, started as in the container, but where the bundle lies."""
    base = shutil.copytree(bundle.base, scratch / "serving")
    config = text_format.Parse((base / "models.config").read_text(), ModelServerConfig())
    (model,) = config.model_config_list.config
    inside, model.base_path = model.base_path, str(base)
    assert inside.startswith(MODELS)
    (base / "models.config").write_text(text_format.MessageToString(config))
    flags = yaml.safe_load((base / "docker-compose.yml").read_text())["services"]["cpu"]["command"]
    ports = {"8500": free_port(), "8501": free_port()}
    told = [flag.replace(inside, str(base)) for flag in flags]
    told = [re.sub("850[01]$", lambda found: str(ports[found[0]]), flag) for flag in told]
    process = subprocess.Popen([SERVER, *told])
    try:
        with grpc.insecure_channel(f"127.0.0.1:{ports['8500']}") as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
            yield channel
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
