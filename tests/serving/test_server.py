"""A real server over a real export, asked by both protocols."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from rnnapp.exporting.export import read_manifest
from rnnapp.exporting.reference import Case, Reference
from rnnapp.replay import Replay
from rnnapp.serving import Client, Code, ServingError
from rnnapp.serving.protocol import METHODS, Message
from rnnapp.serving.server.app import Server, running
from rnnapp.serving.server.batching import BatchSpec
from rnnapp.serving.server.settings import ServerSpec, read_keys
from tests.serving.conftest import Rest, ask, local

EQUAL = 1e-6  # of a probability: sums of float32 in another order, as batches of other shapes have
KEY = "k" * 32


def client(server: Server, protocol: str, **options: Any) -> Client:
    """Of a server."""
    return Client(server.address if protocol == "grpc" else server.url, server.name, **options)


def reference(export: Path) -> Reference:
    """The Keras model that an export came from, and its replay."""
    import keras

    model = keras.models.load_model(export / "source/model.keras", compile=False)
    manifest = read_manifest(export)
    return Reference(model, Replay.load(export / "source/replay.npz"), manifest["unit"])


@pytest.fixture(scope="module")
def sounds(words: Path) -> Reference:
    """Of the words."""
    return reference(words)


def together(case: Case, asked: Callable[[int], np.ndarray]) -> np.ndarray:
    """Answers to all rows of a case, asked at the same time by as many threads."""
    with ThreadPoolExecutor(len(case.sequences)) as pool:
        return np.stack(list(pool.map(asked, range(len(case.sequences)))))


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_whole_sequences_are_answered_as_keras_does(
    server: Server, sounds: Reference, protocol: str
) -> None:
    """The certificate's replay, each window by a client of its own, all at once."""
    case = sounds.windows()
    with client(server, protocol) as asking:
        answers = together(case, lambda n: asking.predict(case.sequences[n, None]).probabilities[0])
    np.testing.assert_allclose(answers, case.expected, atol=EQUAL)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_mixed_lengths_share_a_batch(
    server: Server, sounds: Reference, protocol: str, rest: Rest
) -> None:
    """Each sequence alone and cut to its length, padded by the server, as Keras answers it."""
    case = sounds.padded()
    assert len(set(case.lengths)) > 10
    before = _calls(server)

    def asked(row: int) -> np.ndarray:
        length = max(1, case.lengths[row])
        inputs = {
            "waveform": case.sequences[row, None, :length],
            "lengths": case.lengths[row, None],
        }
        return asking.predict(inputs, signature="padded").probabilities[0]

    with client(server, protocol) as asking:
        answers = together(case, asked)
    np.testing.assert_allclose(answers, case.expected, atol=EQUAL)
    assert _calls(server) - before < len(case.sequences), "nothing was batched"


def _calls(server: Server) -> float:
    """Calls of the signature `padded` so far."""
    with urllib.request.urlopen(server.url + "/monitoring/prometheus/metrics") as answer:
        lines = answer.read().decode().splitlines()
    wanted = 'rnnapp_serving_batch_rows_count{signature="padded"'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(wanted))


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_sequences_of_different_lengths_are_one_request(
    server: Server, sounds: Reference, protocol: str
) -> None:
    """The client pads them, and tells the lengths."""
    case = sounds.padded()
    rows = [row for row, length in enumerate(case.lengths) if length]
    clips = [case.sequences[row, : case.lengths[row]] for row in rows]
    with client(server, protocol) as asking:
        answer = asking.predict(clips, signature="padded")
    np.testing.assert_allclose(answer.probabilities, case.expected[rows], atol=EQUAL)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_texts_are_answered_as_keras_does(
    text_server: Server, opinions: Path, protocol: str
) -> None:
    """Raw strings, in one request and each in its own."""
    case = reference(opinions).texts()
    assert case is not None
    with client(text_server, protocol) as asking:
        whole = asking.predict(case.sequences.tolist())
        alone = together(case, lambda n: asking.predict([str(case.sequences[n])]).probabilities[0])
    np.testing.assert_allclose(whole.probabilities, case.expected, atol=EQUAL)
    np.testing.assert_allclose(alone, case.expected, atol=EQUAL)
    best = (opinions / "labels.txt").read_text().split()
    assert whole.labels == [best[index] for index in case.expected.argmax(-1)]


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_stream_is_heard_step_by_step(server: Server, sounds: Reference, protocol: str) -> None:
    """The client carries the state: `next_X` of one answer is `X` of the next request."""
    case = sounds.stream()
    with client(server, protocol) as asking:
        specs = asking.signatures()["step"].inputs
        size = specs["samples"].shape[1]
        states = {
            name: np.zeros((1, *spec.shape[1:]), np.float32)
            for name, spec in specs.items()
            if name != "samples"
        }
        answers = []
        for start in range(0, 12 * size, size):
            samples = case.sequences[:, start : start + size]
            answer = asking.predict({"samples": samples, **states}, signature="step")
            states = {name: answer.outputs[f"next_{name}"] for name in states}
            answers.append(answer.probabilities[0])
    places = [place for place, length in enumerate(case.lengths) if length <= 12 * size]
    heard = [answers[case.lengths[place] // size - 1] for place in places]
    assert len(places) > 3
    np.testing.assert_allclose(heard, case.expected[places], atol=1e-5)  # rounding adds up


def test_rest_writes_rows_and_columns(server: Server, rest: Rest) -> None:
    """Both ways to ask, and the answer in the same way."""
    model, silence = f"/v1/models/{server.name}", [[0.0] * 2400] * 2
    status, rows = rest(f"{model}:predict", {"instances": silence})
    assert status == 200
    status, named = rest(f"{model}:predict", {"instances": [{"waveform": x} for x in silence]})
    assert status == 200 and named == rows
    status, columns = rest(f"{model}/versions/1:predict", {"inputs": {"waveform": silence}})
    assert status == 200
    status, bare = rest(
        f"{model}:predict", {"inputs": silence, "signature_name": "serving_default"}
    )
    assert status == 200 and bare == columns
    for name, values in columns["outputs"].items():
        assert [row[name] for row in rows["predictions"]] == values
    # A sequence without lengths has its own full length.
    status, padded = rest(f"{model}:predict", {"signature_name": "padded", "instances": silence})
    assert status == 200
    np.testing.assert_allclose(
        [row["logits"] for row in padded["predictions"]], columns["outputs"]["logits"], atol=1e-5
    )


def test_a_token_that_is_none_is_told(text_server: Server) -> None:
    """What TensorFlow itself refuses: the reason, and not where in the graph it stood."""
    for protocol in ("grpc", "rest"):
        with client(text_server, protocol) as asking:
            with pytest.raises(
                ServingError, match=r"^INVALID_ARGUMENT: indices\[0,0\] = 10000"
            ) as caught:
                asking.predict([[100_000_000]], signature="padded")
            assert "node" not in caught.value.message


def test_rest_reads_base64(text_server: Server) -> None:
    """Texts in any bytes."""
    url = f"{text_server.url}/v1/models/{text_server.name}:predict"
    plain = ask(url, {"instances": ["good"]})
    assert plain[0] == 200 and plain == ask(url, {"instances": [{"b64": "Z29vZA=="}]})
    assert plain == ask(url, {"instances": [{"text": {"b64": "Z29vZA=="}}]})


def test_status_and_metadata_are_tensorflow_servings(server: Server, rest: Rest) -> None:
    """What readiness probes and generated clients read."""
    model = f"/v1/models/{server.name}"
    available = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert rest(model) == (200, {"model_version_status": [available]})
    assert rest(f"{model}/versions/1") == rest(model)
    status, metadata = rest(f"{model}/metadata")
    assert status == 200 and metadata["model_spec"]["version"] == "1"
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert signatures["padded"]["inputs"]["lengths"]["dtype"] == "DT_INT32"
    assert rest("/healthz") == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/nothing", None, 404, "Not Found"),
        ("/v1/nothing", None, 400, "Malformed request: GET /v1/nothing"),
        ("/v1/models", None, 400, "Malformed request"),
        ("/v1/models/other", None, 404, "Servable not found"),
        ("/v1/models/MODEL/versions/7", None, 404, "Could not find any versions"),
        ("/v1/models/MODEL/versions/" + "9" * 30, None, 400, "cannot be so named"),
        ("/v1/models/MODEL/labels/x", None, 400, "Unrecognized servable version label: x"),
        ("/v1/models/MODEL:predict", None, 400, "Malformed request: GET"),
        ("/v1/models/MODEL:guess", b"{}", 400, "Malformed request: POST"),
        ("/v1/models/MODEL/../../etc/passwd", None, 400, "Malformed request"),
        ("/v1/models/other:predict", {"instances": [[1]]}, 404, "Servable not found"),
        ("/v1/models/MODEL/versions/7:predict", {"instances": [[1]]}, 404, "Specific"),
        ("/v1/models/MODEL/labels/x:predict", {"instances": [[1]]}, 400, "label: x"),
        ("/v1/models/MODEL:classify", {"examples": [{"x": 1}]}, 400, "ask it by `predict`"),
        ("/v1/models/MODEL:regress", {"examples": [{"x": 1}]}, 400, "ask it by `predict`"),
        ("/v1/models/MODEL:regress", {"examples": []}, 400, "`examples` must be"),
        ("/v1/models/MODEL:predict", b"{", 400, "JSON Parse error"),
        ("/v1/models/MODEL:predict", b"[" * 100_000, 400, "JSON Parse error"),
        ("/v1/models/MODEL:predict", b"\xff\xfe", 400, "JSON Parse error"),
        ("/v1/models/MODEL:predict", b'{"instances": [[NaN]]}', 400, "NaN is no JSON number"),
        ("/v1/models/MODEL:predict", b'{"instances": [[1e999]]}', 400, "fit float32"),
        ("/v1/models/MODEL:predict", b'{"instances": [[1e39]]}', 400, "fit float32"),
        ("/v1/models/MODEL:predict", [], 400, "must be a JSON object"),
        ("/v1/models/MODEL:predict", {}, 400, "either `instances`"),
        ("/v1/models/MODEL:predict", {"instances": [], "inputs": []}, 400, "either"),
        ("/v1/models/MODEL:predict", {"instances": []}, 400, "list of at least one"),
        ("/v1/models/MODEL:predict", {"instances": [[1], [1, 2]]}, 400, "each list of one length"),
        ("/v1/models/MODEL:predict", {"instances": [["a"]]}, 400, "must be DT_FLOAT [any, any]"),
        ("/v1/models/MODEL:predict", {"instances": [[None]]}, 400, "must be DT_FLOAT"),
        ("/v1/models/MODEL:predict", {"instances": [[True]]}, 400, "must be DT_FLOAT"),
        ("/v1/models/MODEL:predict", {"instances": [1.0]}, 400, "Received: float32 [1]"),
        ("/v1/models/MODEL:predict", {"instances": [{"x": [1]}]}, 400, "takes the inputs"),
        ("/v1/models/MODEL:predict", {"inputs": {}}, 400, "takes the inputs"),
        ("/v1/models/MODEL:predict", {"signature_name": 1}, 400, "must be a string"),
        (
            "/v1/models/MODEL:predict",
            {"instances": [[1.0]], "signature_name": "nix"},
            400,
            "has the signatures ['padded', 'serving_default', 'step']",
        ),
        (
            "/v1/models/MODEL:predict",
            {"inputs": {"waveform": [[1.0]], "lengths": [5]}, "signature_name": "padded"},
            400,
            "from 0 to the 1 timesteps",
        ),
    ],
)
def test_wrong_requests_are_told_why(
    server: Server, rest: Rest, path: str, body: Any, status: int, told: str
) -> None:
    """In TensorFlow Serving's statuses, and as a JSON object with `error`."""
    answered, document = rest(path.replace("MODEL", server.name), body)
    assert answered == status and document.keys() == {"error"}
    assert told in document["error"]


def test_bodies_have_a_limit(server: Server, rest: Rest) -> None:
    """Memory is not the client's; the connection's other requests are answered."""
    status, document = rest(f"/v1/models/{server.name}:predict", b" " * (5 * 2**20))
    assert status == 413 and "at most" in document["error"]
    with client(server, "grpc") as asking, pytest.raises(ServingError) as caught:
        asking.predict(np.zeros((1, 2 * 2**20), np.float32))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


def test_an_answer_may_be_filtered(server: Server) -> None:
    """A client that wants labels need not read probabilities."""
    silence = np.zeros((1, 2400), np.float32)
    for protocol in ("grpc", "rest"):
        with client(server, protocol) as asking:
            assert asking.predict(silence, outputs=["label"]).outputs.keys() == {"label"}
            with pytest.raises(ServingError, match="nix"):
                asking.predict(silence, outputs=["nix"])


def call(server: Server, name: str, **fields: Any) -> Message:
    """A call of gRPC, by its fields."""
    method = METHODS[name]
    with grpc.insecure_channel(server.address) as channel:
        stub = channel.unary_unary(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        return stub(method.request(**fields), timeout=30)


def test_labels_and_policies_change_while_serving(words: Path, tmp_path: Path) -> None:
    """By TensorFlow Serving's own call, which here takes no path."""
    export = with_second_version(words, tmp_path)
    with running(export, local()) as server:
        policy = {"all": {}}
        config = {"name": "words", "model_version_policy": policy}

        def reload(**changes: Any) -> None:
            listed = {"config": [{**config, **changes}]}
            call(server, "HandleReloadConfigRequest", config={"model_config_list": listed})

        reload(version_labels={"stable": 1, "canary": 2})
        with client(server, "grpc") as asking:
            silence = np.zeros((1, 2400), np.float32)
            for label, version in (("stable", 1), ("canary", 2), ("", 2)):
                assert asking.predict(silence, label=label).version == version
        for changes, code in (
            ({"base_path": "/etc"}, grpc.StatusCode.PERMISSION_DENIED),
            ({"name": "other"}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"version_labels": {"next": 9}}, grpc.StatusCode.FAILED_PRECONDITION),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                reload(**changes)
            assert caught.value.code() is code


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


def test_a_new_version_is_served_without_a_lost_request(words: Path, tmp_path: Path) -> None:
    """Under traffic, while it loads and while the old one ends."""
    export = Path(shutil.copytree(words, tmp_path / "words"))
    silence, seen, ended = np.zeros((1, 2400), np.float32), list[int | None](), threading.Event()

    def ask_on(server: Server) -> None:
        with client(server, "grpc", retries=0) as asking:
            while not ended.is_set():
                seen.append(asking.predict(silence).version)

    with running(export, local()) as server, ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask_on, server) for _ in range(2)]
        bring(words, export)
        limit = time.monotonic() + 60
        while 2 not in seen and time.monotonic() < limit:
            time.sleep(0.05)
        ended.set()
        for each in asking:
            each.result()  # of a request that failed, its error
        with client(server, "rest") as asking_rest:
            while (states := _states(asking_rest)) != {2: "AVAILABLE", 1: "END"}:
                assert time.monotonic() < limit, states
    assert set(seen) == {1, 2} and seen.index(2) > 0


def _states(asking: Client) -> dict[int, str]:
    return {each.version: each.state for each in asking.status()}


def test_a_changed_file_is_not_loaded(words: Path, tmp_path: Path) -> None:
    """A SavedModel is code; and whoever trusts it says so."""
    export = Path(shutil.copytree(words, tmp_path / "words"))
    file = export / "serving/1/saved_model.pb"
    file.write_bytes(file.read_bytes() + b"\xaa\x06\x00")  # still a SavedModel
    with pytest.raises(ValueError, match="changed since"), running(export, local()):
        pass
    shutil.copytree(words / "serving/1", tmp_path / "bare/1")
    with pytest.raises(ValueError, match="without manifest.json"):
        Server(tmp_path / "bare", local())
    with running(tmp_path / "bare", local(trust=True)) as server:
        assert server.name == "bare" and server.model.available == [1]


def test_ports_that_are_taken_are_named(server: Server, words: Path) -> None:
    """Two servers at one port would answer by turns."""
    taken = int(server.address.rpartition(":")[2])
    with (
        pytest.raises(OSError, match="--port"),
        running(words, ServerSpec(port=taken, rest_port=0)),
    ):
        pass
    taken = int(server.url.rpartition(":")[2])
    with (
        pytest.raises(OSError, match="--rest-port"),
        running(words, ServerSpec(port=0, rest_port=taken)),
    ):
        pass


def test_keys_and_tls(words: Path, tmp_path: Path) -> None:
    """Nobody is answered without a key, nor believes a server whose certificate is unknown."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "keys").write_text(f"# of tests\n\n{'o' * 32}\n{KEY}\n")
    spec = local(
        api_keys=read_keys(tmp_path / "keys"),
        tls_cert=tmp_path / "cert.pem",
        tls_key=tmp_path / "key.pem",
    )
    silence = np.zeros((1, 2400), np.float32)
    with running(words, spec) as server:
        for url in (f"grpcs://{server.address}", server.url):
            options = {"ca_cert": tmp_path / "ca.pem"}
            with Client(url, server.name, api_key=KEY, **options) as asking:
                assert len(asking.predict(silence).labels) == 1
            for key in ("", "wrong", KEY[:-1]):
                with (
                    Client(url, server.name, api_key=key, **options) as asking,
                    pytest.raises(ServingError) as caught,
                ):
                    asking.predict(silence)
                assert caught.value.code is Code.UNAUTHENTICATED
            with (
                Client(url, server.name, api_key=KEY, retries=0) as asking,
                pytest.raises(ServingError) as caught,
            ):
                asking.predict(silence, timeout=5)
            assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", "ü" * 20])
def test_keys_that_are_easily_guessed_are_refused(tmp_path: Path, content: str) -> None:
    """A key file that was forgotten must not open the server."""
    (tmp_path / "keys").write_text(content)
    with pytest.raises(ValueError, match="openssl rand"):
        read_keys(tmp_path / "keys")


def test_deadlines_are_kept(words: Path) -> None:
    """A request whose time is up is answered so, and runs no more."""
    with running(words, local(batch=BatchSpec(timeout=5.0))) as server:
        silence = np.zeros((1, 2400), np.float32)
        for protocol in ("grpc", "rest"):
            with client(server, protocol) as asking, pytest.raises(ServingError) as caught:
                asking.signatures()
                asking.predict(silence, timeout=0.3)
            assert caught.value.code is Code.DEADLINE_EXCEEDED
    with running(words, local(batch=BatchSpec(timeout=5.0), request_seconds=0.2)) as server:
        body = {"instances": silence.tolist()}
        status, document = ask(f"{server.url}/v1/models/words:predict", body)
        assert status == 504 and "No answer within 0.2 s" in document["error"]


@pytest.mark.slow
def test_the_command_answers_what_is_under_way_and_ends(words: Path, tmp_path: Path) -> None:
    """SIGTERM is how every supervisor ends a server."""
    code = "from rnnapp.cli import main; main()"
    options = ["--port", "0", "--rest-port", "0", "--batch-timeout-ms", "1500"]
    command = [sys.executable, "-c", code, "serve", str(words), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        address, url = (process.stdout.readline().split()[1] for _ in range(2))
        answers: list[Any] = []
        silence = np.zeros((1, 2400), np.float32)

        def ask_rest() -> None:
            answers.append(ask(f"{url}:predict", {"instances": silence.tolist()}))

        def ask_grpc() -> None:
            with Client(address, "words", retries=0) as asking:
                answers.append(asking.predict(silence))

        threads = [threading.Thread(target=target) for target in (ask_rest, ask_grpc)]
        for thread in threads:
            thread.start()
        time.sleep(0.75)  # they wait for company
        assert not answers
        process.terminate()
        for thread in threads:
            thread.join()
        assert len(answers) == 2 and process.wait(20) == 0
