"""What TensorFlow Serving gets: names, batches, labels, and no Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rnnapp import Run
from rnnapp.exporting import runtimes, tf_c_api
from rnnapp.exporting.runtimes import RUNTIMES, Loaded
from rnnapp.layers.streaming import StepModel

from ..conftest import RATE, SECONDS

SIZE = round(RATE * SECONDS)


@pytest.fixture(scope="module", params=["saved_model", "tf_c_api"])
def served(request: pytest.FixtureRequest, exported: Path) -> Loaded:
    """The exported SavedModel, in Python's TensorFlow and in C's."""
    return RUNTIMES[request.param].load(exported / "serving" / "1")


def waveforms(batch: int, size: int = SIZE) -> np.ndarray:
    """Noise, float32 (batch, size)."""
    return np.random.default_rng(0).uniform(-1, 1, (batch, size)).astype(np.float32)


def test_inputs_and_outputs_are_named(served: Loaded, evaluated: Run) -> None:
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
def test_any_batch_of_any_length_is_answered(served: Loaded, evaluated: Run, batch: int) -> None:
    """Each row by itself, and by the label's name."""
    labels = evaluated.load_pipeline().labels
    x = waveforms(batch, 2 * SIZE)
    outputs = served.run("serving_default", waveform=x)
    alone = [served.run("serving_default", waveform=row[None])["logits"][0] for row in x]
    np.testing.assert_allclose(outputs["logits"], alone, rtol=0, atol=1e-5)  # other kernels
    assert [label.decode() for label in outputs["label"]] == [
        labels[i] for i in outputs["probabilities"].argmax(axis=1)
    ]


def test_padding_with_the_first_element_does_no_harm(served: Loaded) -> None:
    """TensorFlow Serving pads a batch so, and only `lengths` tells."""
    x, lengths = waveforms(3), np.array([SIZE, 1600, 800], np.int32)
    for row, length in zip(x, lengths, strict=True):
        row[length:] = row[0]
    together = served.run("padded", waveform=x, lengths=lengths)["logits"]
    for row, length, logits in zip(x, lengths, together, strict=True):
        alone = served.run("serving_default", waveform=row[None, :length])["logits"][0]
        np.testing.assert_allclose(logits, alone, rtol=0, atol=1e-5)  # other kernels


def test_a_bad_call_is_an_error_not_a_crash(exported: Path) -> None:
    """The C API reports by a status that must be looked at."""
    session = tf_c_api.CApiSession(exported / "serving" / "1")
    with pytest.raises(RuntimeError, match="has no operation 'nowhere'"):
        session.run({}, ["nowhere:0"])
    loaded = RUNTIMES["tf_c_api"].load(exported / "serving" / "1")
    with pytest.raises(RuntimeError, match="(?i)shape|dimension|rank"):
        loaded.run("serving_default", waveform=np.zeros((1, 2, 3), np.float32))
    session.close()
    session.close()  # twice does no harm
    with pytest.raises(RuntimeError, match="(?i)saved_?model"):
        tf_c_api.CApiSession(exported / "device")


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
    outputs = runtimes.CApi(tmp_path).run("echo", **values)
    for name, value in values.items():
        np.testing.assert_array_equal(outputs[name], value)
        assert outputs[name].dtype == value.dtype
