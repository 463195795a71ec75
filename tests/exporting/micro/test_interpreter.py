"""TensorFlow Lite Micro gives the answers of LiteRT, and says what it cannot run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rnnapp.device import Stepper, load
from rnnapp.device.stepper import Runnable
from rnnapp.exporting import lowering
from rnnapp.exporting.micro.interpreter import MicroModel, UnsupportedModelError
from rnnapp.exporting.quantized import IntegerStep
from rnnapp.layers import CELLS
from rnnapp.layers.pooling import KINDS

from ...layers.conftest import sequences
from .conftest import NO_FRONT, body, integers


def streamed(model: Runnable, x: np.ndarray) -> np.ndarray:
    """The probabilities after every timestep, (timesteps, classes)."""
    stepper = Stepper(model)
    return np.concatenate(
        [stepper(features=x[:, t : t + 1])["probabilities"] for t in range(x.shape[1])]
    )


# Their kernels round differently, by some units of an activation, of which a class hears less.
BOUNDS = {8: 1 / 2**8, 16: 4 / 2**15}
MODELS = [*((cell, "last") for cell in CELLS), *(("gru", pooling) for pooling in KINDS)]


@pytest.mark.parametrize("bits", BOUNDS)
@pytest.mark.parametrize(("cell", "pooling"), MODELS)
def test_a_step_of_integers_agrees_with_litert(cell: str, pooling: str, bits: int) -> None:
    """By name, though the interpreter knows positions alone; over a long stream."""
    content, x = body(integers(NO_FRONT, cell, pooling), bits), 2 * sequences(1, 60)
    litert, micro = load(content), MicroModel(content, "step")
    assert micro.signatures == ["step"]
    assert micro.inputs("step") == litert.inputs("step")
    assert micro.outputs("step") == litert.outputs("step")
    ours, theirs = streamed(micro, x), streamed(litert, x)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=BOUNDS[bits])
    assert np.ptp(theirs, axis=0).max() > 5 * BOUNDS[bits]


def with_integer_ends(step: IntegerStep) -> bytes:
    """A step whose inputs and outputs are integers too."""

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = step._examples
        converter.inference_input_type = converter.inference_output_type = tf.int8

    return lowering.lowered({"step": step._traced}, step.body.weights, prepare)


def test_what_is_stored_is_described() -> None:
    """Integers with their scales, where the file's ends are quantized too."""
    content = with_integer_ends(integers(NO_FRONT))
    litert, micro = load(content), MicroModel(content, "step")
    assert {info.dtype for info in micro.inputs("step").values()} == {np.dtype(np.int8)}
    assert micro.inputs("step") == litert.inputs("step")
    assert micro.outputs("step") == litert.outputs("step")
    zeros = {name: np.zeros(info.shape, np.int8) for name, info in micro.inputs("step").items()}
    kept = micro.run("step", **zeros)
    copies = {name: value.copy() for name, value in kept.items()}
    micro.run("step", **{name: np.full_like(value, 100) for name, value in zeros.items()})
    for name, value in kept.items():  # not a view of the interpreter's memory
        np.testing.assert_array_equal(value, copies[name])
    with pytest.raises(ValueError, match="must have the signature `predict`. It has: step"):
        micro.run("predict", **zeros)
    with pytest.raises(ValueError, match="The inputs must be .'features', .*Received: ..features"):
        micro.run("step", features=zeros["features"])


def test_an_operator_that_it_lacks_is_named(capfd: pytest.CaptureFixture) -> None:
    """At loading: the Fourier transform, for one, for which fronts are written in C."""
    said = r"whole must have operators of TensorFlow Lite Micro alone.*of features, as int8"
    with pytest.raises(UnsupportedModelError, match=said):
        MicroModel(integers("log_mel").front_step, "whole")
    assert "RFFT2D" in capfd.readouterr().err


def test_types_that_it_lacks_are_named(capfd: pytest.CaptureFixture) -> None:
    """At the first step. The day that this passes, pooling needs no detour for it any more."""

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter([("step", {"features": sequences(1, 9)})])
        int16x8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [int16x8]

    def highest(features: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"highest": tf.reduce_max(features, axis=1)}

    spec = {"features": tf.TensorSpec(sequences(1, 9).shape, tf.float32, "features")}
    content = lowering.lowered({"step": lowering.traced(highest, spec)}, [], prepare)
    micro = MicroModel(content, "pool")
    with pytest.raises(UnsupportedModelError, match="pool must.*invocation failed"):
        micro.run("step", features=sequences(1, 9))
    assert "REDUCE_MAX" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"no model at all", "must be a TFLite file")],
)
def test_what_is_no_model_is_named(content: bytes, message: str) -> None:
    """Before the interpreter sees it, which crashes on some."""
    with pytest.raises(ValueError, match=f"broken {message}"):
        MicroModel(content, "broken")
