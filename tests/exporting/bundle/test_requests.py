from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnapp.device.sequences import LENGTHS
from rnnapp.exporting.runtimes import RUNTIMES

from .conftest import Bundle, arrays, sounds, warm_up

COLD = {"attend", "read", "grow", "longer", "alone"}  # signatures that no sound fills


def test_a_version_is_warmed_by_all_its_signatures(bundle: Bundle) -> None:
    """What is not warmed is slow for the first who asks; too many or too large, and all wait."""
    requests = list(bundle.warm_up())
    asked = Counter(request.model_spec.signature_name for request in requests)
    assert set(asked) == set(bundle.model.signatures)
    assert len(requests) <= 1000  # which is TensorFlow Serving's own limit
    sizes = {len(next(iter(arrays(request).values()))) for request in requests}
    assert sizes == {1, 8}


def test_requests_are_answered_as_the_keras_model_does(bundle: Bundle) -> None:
    """A request that fails would keep the server, whose loader is the C API's, from loading."""
    with RUNTIMES["tf_c_api"].load(bundle.base / "1") as loaded:
        for request in bundle.warm_up():
            inputs = arrays(request)
            signature = request.model_spec.signature_name
            expected = bundle.expected(signature, inputs)
            for model in (bundle.model, loaded):
                outputs = model.run(signature, **inputs)
                for name, value in expected.items():  # within the bound of the certificate
                    np.testing.assert_allclose(outputs[name], value, rtol=0, atol=1e-5)


def test_requests_are_sequences_of_the_replay(bundle: Bundle) -> None:
    """What a server sees in service, not numbers at random."""
    sequences = bundle.replay.sequences
    for request in bundle.warm_up():
        inputs = arrays(request)
        if "text" in inputs or "memory" in inputs:
            continue  # looked up by `expected`; or made of what `encode` said
        for row in inputs[bundle.sequence(inputs)]:
            assert any(np.array_equal(other[: len(row)], row) for other in sequences)


def test_examples_are_answered_as_the_keras_model_does(bundle: Bundle) -> None:
    """The JSON that people try first, float32 to the last digit."""
    for signature in bundle.model.signatures:
        body = json.loads((bundle.base / "examples" / f"{signature}.json").read_text())
        assert body["signature_name"] == signature
        (row,) = body["instances"]
        dtypes = {name: info.dtype for name, info in bundle.model.inputs(signature).items()}
        inputs = {
            name: np.array([value.encode() if isinstance(value, str) else value], dtypes[name])
            for name, value in row.items()
        }
        first = next(r for r in bundle.warm_up() if r.model_spec.signature_name == signature)
        for name, value in arrays(first).items():
            np.testing.assert_array_equal(inputs[name], value)
        answer = bundle.model.run(signature, **inputs)
        for name, value in bundle.expected(signature, inputs).items():
            np.testing.assert_allclose(answer[name], value, rtol=0, atol=1e-5)


@pytest.fixture
def asked(written: Callable[..., Path]) -> dict[str, list[dict[str, np.ndarray]]]:
    """The requests of signatures of all kinds, by name."""
    made: dict[str, list[dict[str, np.ndarray]]] = {}
    for request in warm_up(written() / "1"):
        made.setdefault(request.model_spec.signature_name, []).append(arrays(request))
    return made


def test_requests_have_the_lengths_that_were_seen(
    asked: dict[str, list[dict[str, np.ndarray]]],
) -> None:
    """From the shortest to the longest; cut to the longest of a batch, never longer."""
    replay = sounds()
    for request in asked["padded"]:
        assert request["sound"].shape[1] == request[LENGTHS].max()
    alone = [request["sound"].shape for request in asked["padded"] if len(request["sound"]) == 1]
    assert alone == [(1, 10), (1, 40)]  # the median is the longest
    np.testing.assert_array_equal(asked["padded"][0]["sound"][0], replay.sequences[7, :10])
    assert [request["sound"].shape for request in asked["step"]] == [(1, 5), (8, 5)]
    assert not any(request["state"].any() for request in asked["step"])


def test_what_no_sequence_fills_is_left_out_and_said(
    asked: dict[str, list[dict[str, np.ndarray]]], written: Callable[..., Path]
) -> None:
    """An invented memory could keep the server from loading; a silent gap would be slow."""
    assert set(asked) == {"serving_default", "padded", "step"}
    base = written("second")
    assert {path.stem for path in (base / "examples").iterdir()} == set(asked)
    (line,) = (x for x in (base / "ROLLOUT.md").read_text().splitlines() if "none could" in x)
    assert {name for name in COLD if f"`{name}`" in line} == COLD
