"""The description of the REST API is valid, and true to what is answered."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from rnnapp.serving.server.app import Server, running
from tests.serving.conftest import Rest, ask, local
from tests.serving.test_examples import EXAMPLES, write_saved_model

QUIET = [0.0] * 2400
KEY = "k" * 32


@pytest.fixture(scope="module")
def described(rest: Rest) -> Any:
    """The words' description."""
    status, document = rest("/openapi.json")
    assert status == 200
    return document


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key that classifies, and whose version has a label."""
    folder = tmp_path_factory.mktemp("served") / "up down"
    write_saved_model(folder / "3")
    with running(folder, local(trust=True, labels={"stable": 3}, api_keys=(KEY,))) as server:
        yield server


def schema_of(document: Any, path: str, method: str, status: int | None = None) -> Any:
    """The schema of a request, or of the answer of a status."""
    operation = document["paths"][path][method]
    part = operation["requestBody"] if status is None else operation["responses"][str(status)]
    return part["content"]["application/json"]["schema"]


def fits(value: Any, schema: Any) -> bool:
    """Whether a value is what a schema says."""
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def test_descriptions_are_openapi(described: Any, labelled: Server, text_server: Server) -> None:
    """By the schema of OpenAPI 3.1 itself; of sounds, of texts and of examples."""
    headers = {"Authorization": f"Bearer {KEY}"}
    examples = ask(labelled.url + "/openapi.json", headers=headers)[1]
    texts = ask(text_server.url + "/openapi.json")[1]
    for document in (described, examples, texts):
        OpenAPIV31SpecValidator(document).validate()
    assert examples["security"] and "security" not in described
    operations = [each for path in examples["paths"].values() for each in path.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"instances": [QUIET]}, True),
        ({"instances": [{"waveform": QUIET}], "signature_name": ""}, True),
        ({"inputs": {"waveform": [[0.5], [1]]}, "signature_name": "serving_default"}, True),
        ({"inputs": {"waveform": [QUIET], "lengths": [7]}, "signature_name": "padded"}, True),
        ({"inputs": [QUIET], "signature_name": "padded"}, True),
        ({"instances": []}, False),
        ({"instances": [1.0]}, False),
        ({"instances": [["a"]]}, False),
        ({"instances": [[True]]}, False),
        ({"instances": [[3.4028235677973e38]]}, True),  # rounds to float32's greatest
        ({"instances": [[3.402823567797337e38]]}, False),
        ({"instances": [{"x": [1.0]}]}, False),
        ({"instances": [QUIET], "inputs": [QUIET]}, False),
        ({"inputs": {"waveform": [QUIET], "lengths": [7]}}, False),
        ({"inputs": {"waveform": [QUIET], "lengths": [0.5]}, "signature_name": "padded"}, False),
        ({"inputs": {"waveform": [QUIET], "lengths": [2**40]}, "signature_name": "padded"}, False),
        ({"instances": [QUIET], "signature_name": "nix"}, False),
        ({"inputs": {"samples": [[0.0] * 9]}, "signature_name": "step"}, False),
        ({}, False),
        ([], False),
    ],
)
def test_requests_are_described(
    server: Server, rest: Rest, described: Any, document: Any, told: bool
) -> None:
    """What fits is answered, as the description says; what does not is refused."""
    path = f"/v1/models/{server.name}:predict"
    assert fits(document, schema_of(described, path, "post")) is told
    status, answer = rest(path, document)
    assert status == (200 if told else 400), answer
    assert fits(answer, schema_of(described, path, "post", status)), answer


def test_answers_that_are_no_numbers_are_described(
    server: Server, rest: Rest, described: Any
) -> None:
    """JSON has no NaN; a parser that does not mind reads null."""
    path = f"/v1/models/{server.name}:predict"
    status, answer = rest(path, {"instances": [[3e38, -3e38] * 1200]})
    read = json.dumps(answer).replace("NaN", "null")
    assert status == 200 and "null" in read
    assert fits(json.loads(read), schema_of(described, path, "post", 200))


def test_all_else_is_described(server: Server, rest: Rest, described: Any) -> None:
    """Status, metadata and health, and each path of a version; what is refused, too."""
    model = f"/v1/models/{server.name}"
    for path in (model, f"{model}/metadata", f"{model}/versions/1", "/healthz", "/openapi.json"):
        status, answer = rest(path)
        assert status == 200 and fits(answer, schema_of(described, path, "get", 200)), answer
    status, answer = rest(f"{model}/versions/1:predict", {"inputs": 3})
    assert fits(answer, schema_of(described, f"{model}/versions/1:predict", "post", status))
    with urllib.request.urlopen(server.url + "/monitoring/prometheus/metrics") as metrics:
        content = described["paths"]["/monitoring/prometheus/metrics"]["get"]["responses"]["200"]
        assert metrics.headers.get_content_type() in content["content"]


def test_texts_are_described(text_server: Server) -> None:
    """As they are, and in base64."""
    _, document = ask(text_server.url + "/openapi.json")
    path = f"/v1/models/{text_server.name}:predict"
    schema = schema_of(document, path, "post")
    for text, told in (("good", True), ({"b64": "Z29vZA=="}, True), ({"b64": "!"}, False)):
        assert fits({"instances": [text]}, schema) is told
        status, answer = ask(text_server.url + path, {"instances": [text]})
        assert status == (200 if told else 400)
        assert fits(answer, schema_of(document, path, "post", status)), answer
    assert not fits({"instances": [1]}, schema)


def test_versions_labels_and_examples_are_described(labelled: Server) -> None:
    """In paths that are written as a browser sends them, for those with a key."""
    assert ask(labelled.url + "/openapi.json")[0] == 401
    headers = {"Authorization": f"Bearer {KEY}"}
    _, document = ask(labelled.url + "/openapi.json", headers=headers)
    for place in ("", "/versions/3", "/labels/stable"):
        for verb, name in (("classify", "serving_default"), ("regress", "sum")):
            path = f"/v1/models/up%20down{place}:{verb}"
            asked = {"signature_name": name, "examples": EXAMPLES}
            assert fits(asked, schema_of(document, path, "post"))
            status, answer = ask(labelled.url + path, asked, headers=headers)
            assert status == 200 and fits(answer, schema_of(document, path, "post", 200)), answer
            assert not fits({**asked, "examples": [3]}, schema_of(document, path, "post"))
    assert not fits({"signature_name": "odd"}, schema_of(document, path, "post"))


def test_a_description_follows_the_versions(labelled: Server, tmp_path: Path) -> None:
    """A label that leads nowhere any more is not described."""
    headers = {"Authorization": f"Bearer {KEY}"}
    labelled.model.labels["gone"] = 7
    try:
        _, document = ask(labelled.url + "/openapi.json", headers=headers)
    finally:
        del labelled.model.labels["gone"]
    assert "stable" in json.dumps(document) and "gone" not in json.dumps(document)
