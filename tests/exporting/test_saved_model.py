"""What TensorFlow Serving gets: names, batches, labels, and no Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rnnapp import Run
from rnnapp.device.stepper import Runnable
from rnnapp.exporting import tf_c_api
from rnnapp.exporting.runtimes import RUNTIMES
from rnnapp.exporting.tf_c_api import CApiError, CApiSession
from rnnapp.layers.streaming import StepModel

from ..conftest import RATE, SECONDS

SIZE = round(RATE * SECONDS)


@pytest.fixture(scope="module", params=["saved_model", "tf_c_api"])
def served(request: pytest.FixtureRequest, exported: Path) -> Iterator[Runnable]:
    """The exported SavedModel, in Python's TensorFlow and in C's."""
    with RUNTIMES[request.param].load(exported / "serving" / "1") as loaded:
        yield loaded


def waveforms(batch: int, size: int = SIZE) -> np.ndarray:
    """Noise, float32 (batch, size)."""
    return np.random.default_rng(0).uniform(-1, 1, (batch, size)).astype(np.float32)


def test_inputs_and_outputs_are_named(served: Runnable, evaluated: Run) -> None:
    """Clients are written against these names."""
    states = StepModel(evaluated.load_model()).state_shapes
    answers = {"label", "logits", "probabilities"}
    assert {name: set(served.inputs(name)) for name in served.signatures} == {
        "serving_default": {"waveform"},
        "padded": {"waveform", "lengths"},
        "step": {"samples", *states},
    }
    assert {name: set(served.outputs(name)) for name in served.signatures} == {
        "serving_default": answers,
        "padded": answers,
        "step": answers | {f"next_{name}" for name in states},
    }


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch_of_any_length_is_answered(served: Runnable, evaluated: Run, batch: int) -> None:
    """Each row by itself, and by the label's name."""
    labels = evaluated.load_pipeline().labels
    x = waveforms(batch, 2 * SIZE)
    outputs = served.run("serving_default", waveform=x)
    alone = [served.run("serving_default", waveform=row[None])["logits"][0] for row in x]
    np.testing.assert_allclose(outputs["logits"], alone, rtol=0, atol=1e-5)  # other kernels
    assert [label.decode() for label in outputs["label"]] == [
        labels[i] for i in outputs["probabilities"].argmax(axis=1)
    ]


def test_padding_with_the_first_element_does_no_harm(served: Runnable) -> None:
    """TensorFlow Serving pads a batch so, and only `lengths` tells."""
    x, lengths = waveforms(3), np.array([SIZE, 1600, 800], np.int32)
    for row, length in zip(x, lengths, strict=True):
        row[length:] = row[0]
    together = served.run("padded", waveform=x, lengths=lengths)["logits"]
    for row, length, logits in zip(x, lengths, together, strict=True):
        alone = served.run("serving_default", waveform=row[None, :length])["logits"][0]
        np.testing.assert_allclose(logits, alone, rtol=0, atol=1e-5)  # other kernels


@pytest.mark.parametrize("size", [0, 1])
def test_less_than_a_step_is_answered(served: Runnable, size: int) -> None:
    """By itself as among longer ones: a click of a few samples is no reason to fail."""
    x, lengths = waveforms(2), np.array([size, SIZE], np.int32)
    among = served.run("padded", waveform=x, lengths=lengths)["logits"][:1]
    alone = served.run("padded", waveform=x[:1, :size], lengths=lengths[:1])["logits"]
    np.testing.assert_allclose(alone, among, rtol=0, atol=1e-5)  # other kernels


class Counting:
    """The C API, with what is made and deleted counted by kind."""

    def __init__(self, api: Any) -> None:
        self.api, self.held = api, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.api, name)
        kind = name.removeprefix("TF_New").removeprefix("TF_Delete").removeprefix("TF_Allocate")

        def counted(*arguments: Any) -> Any:
            result = function(*arguments)
            if name == "TF_LoadSessionFromSavedModel":
                self.held["Session"] += bool(result)
            elif name == "TF_SessionRun":
                self.held["Tensor"] += sum(map(bool, arguments[6]))
            elif name.startswith(("TF_New", "TF_Allocate")):
                self.held[kind] += 1
            elif name.startswith("TF_Delete"):
                self.held[kind] -= 1
            return result

        return counted


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """What sessions hold of TensorFlow's memory."""
    api = Counting(tf_c_api._library())
    monkeypatch.setattr(tf_c_api, "_library", lambda: api)
    return api


def test_a_bad_call_is_an_error_not_a_crash(exported: Path, counted: Counting) -> None:
    """The C API reports by a status that must be looked at; and nothing frees but who made."""
    with pytest.raises(CApiError, match="(?i)saved_?model"):
        CApiSession(exported / "device")
    assert not +counted.held
    with RUNTIMES["tf_c_api"].load(exported / "serving" / "1") as loaded:
        (tensor,) = (info.name for info in loaded._signatures["serving_default"].inputs.values())
        with pytest.raises(CApiError, match="has no operation 'nowhere'"):
            loaded._session.run({tensor: waveforms(1)}, ["nowhere:0"])
        with pytest.raises(CApiError, match="(?i)shape|dimension|rank"):
            loaded.run("serving_default", waveform=np.zeros((1, 2, 3), np.float32))
        loaded.run("serving_default", waveform=waveforms(1))
        assert set(+counted.held) == {"Status", "Graph", "Session"}
    assert not +counted.held and not -counted.held
    loaded.close()  # twice does no harm
    assert not -counted.held
    with pytest.raises(CApiError, match="must be open"):
        loaded.run("serving_default", waveform=waveforms(1))


def test_every_dtype_goes_through_the_c_api_unchanged(tmp_path: Path) -> None:
    """Numbers of all kinds, strings of any bytes, scalars and empty arrays."""
    values = {
        "float32": np.array([[1.5, -2.0]], np.float32),
        "float64": np.array(np.pi),
        "float16": np.array([0.5], np.float16),
        "int32": np.array([2**31 - 1], np.int32),
        "int64": np.array([-(2**62)]),
        "bool": np.array([True, False]),
        "text": np.array([b"", "größer".encode(), b"x" * 100], object),
        "empty": np.zeros((0, 3), np.float32),
    }
    dtypes = {name: value.dtype for name, value in values.items()} | {"text": tf.string}
    specs = {name: tf.TensorSpec(value.shape, dtypes[name], name) for name, value in values.items()}
    echo = tf.function(lambda **inputs: {k: tf.identity(v) for k, v in inputs.items()})
    tf.saved_model.save(
        tf.Module(), str(tmp_path), signatures={"echo": echo.get_concrete_function(**specs)}
    )
    with RUNTIMES["tf_c_api"].load(tmp_path) as loaded:
        outputs = loaded.run("echo", **values)
    for name, value in values.items():
        np.testing.assert_array_equal(outputs[name], value)
        assert outputs[name].dtype == value.dtype
