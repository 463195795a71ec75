"""Signatures that parse examples are asked to classify and to regress."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from rnnapp.serving.protocol import METHODS
from rnnapp.serving.server.app import Server, running
from rnnapp.serving.signatures import CLASSIFY, REGRESS
from tests.serving.conftest import ask, local

EXAMPLES = [{"x": [1.0, 2.0], "name": "a"}, {"x": [-3.0, 1.5], "name": {"b64": "Yg=="}}]


def write_saved_model(folder: Path) -> None:
    """Classes by name with scores x, and a regression that sums x, of examples."""
    import tensorflow as tf
    from tensorflow.python.saved_model.method_name_updater import MethodNameUpdater

    features = {
        "x": tf.io.FixedLenFeature([2], tf.float32),
        "name": tf.io.FixedLenFeature([], tf.string),
    }
    spec = [tf.TensorSpec([None], tf.string, "inputs")]

    @tf.function(input_signature=spec)
    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        read = tf.io.parse_example(inputs, features)
        return {"classes": read["name"][:, None] + [["-up", "-down"]], "scores": read["x"]}

    @tf.function(input_signature=spec)
    def regress(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": tf.reduce_sum(tf.io.parse_example(inputs, features)["x"], 1)}

    module = tf.Module()
    module.classify, module.regress = classify, regress
    signatures = {
        "serving_default": classify,
        "sum": regress,
        # What a classifier must not be.
        "odd": tf.function(lambda inputs: {"nothing": inputs}, input_signature=spec),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    updater = MethodNameUpdater(str(folder))
    for name, method in (("serving_default", CLASSIFY), ("sum", REGRESS), ("odd", CLASSIFY)):
        updater.replace_method_name(name, method)
    updater.save()


@pytest.fixture(scope="module")
def examples_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of examples."""
    folder = tmp_path_factory.mktemp("served") / "examples"
    write_saved_model(folder / "1")
    with running(folder, local(trust=True)) as server:
        yield server


def test_rest_classifies_and_regresses(examples_server: Server) -> None:
    """Features of numbers, of texts and of base64; those in common stand in `context`."""
    url = f"{examples_server.url}/v1/models/examples"
    classes = [[["a-up", 1.0], ["a-down", 2.0]], [["b-up", -3.0], ["b-down", 1.5]]]
    assert ask(f"{url}:classify", {"examples": EXAMPLES}) == (200, {"results": classes})
    asked = {"signature_name": "sum", "examples": EXAMPLES}
    assert ask(f"{url}:regress", asked) == (200, {"results": [3.0, -1.5]})
    shared = {"context": {"name": "c", "x": [9, 9]}, "examples": [{"x": [1.0, 2.0]}, {}]}
    classes = [[["c-up", 1.0], ["c-down", 2.0]], [["c-up", 9.0], ["c-down", 9.0]]]
    status, answer = ask(f"{url}:classify", shared)
    assert status == 400  # of integers, which the signature does not take
    shared["context"] = {"name": "c", "x": [9.0, 9]}
    assert ask(f"{url}:classify", shared) == (200, {"results": classes})


@pytest.mark.parametrize(
    ("verb", "document", "told"),
    [
        ("classify", {"examples": [{"x": 1.0, "name": "a"}]}, "x"),
        ("classify", {"examples": [{"y": 1.0}]}, "Name"),
        ("classify", {"examples": [3]}, "object of features"),
        ("classify", {"examples": [{"x": [1, "a"]}]}, "numbers or strings"),
        ("classify", {"examples": [{"x": [None]}]}, "numbers or strings"),
        ("classify", {"examples": [{"x": 2**70}]}, "of one type"),
        ("classify", {"examples": [{"x": [0.5, 10**400]}]}, "of one type"),
        ("classify", {"examples": [{}] * 300, "context": {"y": "z" * 2**18}}, "times the examples"),
        ("classify", {"examples": EXAMPLES, "signature_name": "sum"}, "of method"),
        ("classify", {"examples": EXAMPLES, "signature_name": "odd"}, "gave no outputs"),
        ("regress", {"examples": EXAMPLES}, "of method"),
    ],
)
def test_wrong_examples_are_refused(
    examples_server: Server, verb: str, document: Any, told: str
) -> None:
    """By the server, or by TensorFlow that parses them."""
    status, answer = ask(f"{examples_server.url}/v1/models/examples:{verb}", document)
    assert status == 400 and told in answer["error"]


def test_grpc_answers_several_tasks_at_once(examples_server: Server) -> None:
    """One input, a classification and a regression of it."""
    example = {
        "features": {
            "feature": {
                "x": {"float_list": {"value": [1.0, 2.0]}},
                "name": {"bytes_list": {"value": [b"a"]}},
            }
        }
    }
    given = {"example_list": {"examples": [example] * 3}}
    spec = {"name": "examples"}
    with grpc.insecure_channel(examples_server.address) as channel:

        def call(name: str, **fields: Any) -> Any:
            method = METHODS[name]
            stub = channel.unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
            return stub(method.request(input=given, **fields))

        classified = call("Classify", model_spec=spec)
        regressed = call("Regress", model_spec={**spec, "signature_name": "sum"})
        tasks = [
            {"model_spec": spec, "method_name": CLASSIFY},
            {"model_spec": {**spec, "signature_name": "sum"}, "method_name": REGRESS},
        ]
        both = call("MultiInference", tasks=tasks).results
    assert [each.value for each in regressed.result.regressions] == [3.0] * 3
    assert len(classified.result.classifications) == 3
    first = classified.result.classifications[0].classes
    assert [(each.label, each.score) for each in first] == [("a-up", 1.0), ("a-down", 2.0)]
    assert both[0].classification_result == classified.result
    assert both[1].regression_result == regressed.result
    assert both[1].model_spec.version.value == 1
    np.testing.assert_equal(both[0].model_spec.signature_name, "serving_default")
