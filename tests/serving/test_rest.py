"""REST speaks as TensorFlow Serving does: its ways to write tensors, its statuses."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest

from rnnapp.serving import ServingError
from rnnapp.serving.server.app import Server
from tests.serving.conftest import Rest, ask, client


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
        ("/v1", None, 404, "Not Found"),
        ("/healthz/", None, 404, "Not Found"),
        ("/healthz", b"{}", 405, "Method Not Allowed"),
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
        ("/v1/models/MODEL:predict", {"instances": [[True, 0.5]]}, 400, "must be DT_FLOAT"),
        # As an array of texts, each as wide as the longest, 80 GB.
        ("/v1/models/MODEL:predict", {"inputs": ["x" * 10**5] + [""] * 2 * 10**5}, 400, "DT_FLOAT"),
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
        ("/v1/models/MODEL:predict", {"instances": [0.5, [1]]}, 400, "numbers. Received: a list"),
        ("/v1/models/MODEL:predict", {"instances": [{"b64": "a"}]}, 400, "Received: an object"),
        (
            "/v1/models/MODEL:predict",
            {"inputs": {"waveform": [[1.0]], "lengths": [1.0]}, "signature_name": "padded"},
            400,
            "integers without a decimal point. Received: 1.0",
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


def test_an_answer_may_be_filtered(server: Server) -> None:
    """A client that wants labels need not read probabilities."""
    silence = np.zeros((1, 2400), np.float32)
    for protocol in ("grpc", "rest"):
        with client(server, protocol) as asking:
            assert asking.predict(silence, outputs=["label"]).outputs.keys() == {"label"}
            with pytest.raises(ServingError, match="nix"):
                asking.predict(silence, outputs=["nix"])


def test_what_is_refused_says_what_is_allowed(server: Server) -> None:
    """As HTTP asks of the status 405."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(server.url + "/healthz", b"{}")
    with caught.value as error:
        assert error.code == 405 and "GET" in error.headers["allow"]
