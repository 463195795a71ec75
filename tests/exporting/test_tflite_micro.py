"""TensorFlow Lite Micro gives the answers of LiteRT, and says what it cannot run."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rnnapp import builders
from rnnapp.device import Stepper
from rnnapp.device import load as load_litert
from rnnapp.device.stepper import Runnable
from rnnapp.exporting import signatures, tflite_micro
from rnnapp.exporting.c99 import library
from rnnapp.exporting.tflite_micro import UnsupportedModelError
from rnnapp.layers import CELLS
from rnnapp.layers.streaming import StepModel
from rnnapp.specs import FrontSpec, RNNSpec

from ..layers.conftest import CLASSES, feature_model, sequences

# The converter calibrates by TensorFlow's own interpreter, which says that it will go.
pytestmark = pytest.mark.filterwarnings(r"ignore:\s+Warning. tf\.lite\.Interpreter:UserWarning")

OPERATORS = {
    "int8": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS],
    "int16x8": [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ],
}


def quantized(
    stepper: StepModel, variant: str, scratch: Path, ends: tf.DType = tf.float32
) -> bytes:
    """A step file, calibrated on states rolled forward, with inputs and outputs of a dtype."""
    specs = signatures.step_specs(stepper, 1)
    (name, *states), generator = specs, np.random.default_rng(0)
    holder = tf.Module()
    holder.weights = stepper.weights
    step = tf.function(signatures.renamed(signatures.step(stepper), [name]), autograph=False)
    traced = step.get_concrete_function(**specs)
    tf.saved_model.save(holder, str(scratch), signatures={"step": traced})

    def heard() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        carried = {state: np.zeros(specs[state].shape, np.float32) for state in states}
        for _ in range(30):
            x = generator.standard_normal(specs[name].shape).astype(np.float32)
            yield "step", {name: x, **carried}
            outputs = traced(**{name: tf.constant(x), **carried})
            carried = {state: outputs[f"next_{state}"].numpy() for state in states}

    converter = tf.lite.TFLiteConverter.from_saved_model(str(scratch), signature_keys=["step"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = heard
    converter.inference_input_type = converter.inference_output_type = ends
    converter.target_spec.supported_ops = OPERATORS[variant]
    return converter.convert()


def streamed(model: Runnable, x: np.ndarray) -> np.ndarray:
    """The probabilities after every timestep, (timesteps, classes)."""
    stepper = Stepper(model)
    return np.concatenate(
        [stepper(features=x[:, t : t + 1])["probabilities"] for t in range(x.shape[1])]
    )


# Their kernels round differently, by two units of a probability at most.
BOUNDS = {"int8": 2 / 2**8, "int16x8": 4 / 2**15}


@pytest.mark.parametrize("variant", OPERATORS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_quantized_step_agrees_with_litert(cell: str, variant: str, tmp_path: Path) -> None:
    """By name, though the interpreter knows positions alone; over a long stream."""
    path, x = tmp_path / "step.tflite", 2 * sequences(1, 60)
    stepper = StepModel(feature_model(cell, "last"))
    path.write_bytes(quantized(stepper, variant, tmp_path / "saved"))
    litert = load_litert(path)
    with tflite_micro.load(path) as micro:
        assert micro.signatures == ["step"]
        assert micro.inputs("step") == litert.inputs("step")
        assert micro.outputs("step") == litert.outputs("step")
        ours, theirs = streamed(micro, x), streamed(litert, x)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=BOUNDS[variant])
    assert np.ptp(theirs, axis=0).max() > 5 * BOUNDS[variant]


def test_what_is_stored_is_described(tmp_path: Path) -> None:
    """Integers with their scales, where the file's ends are quantized too."""
    path = tmp_path / "step.tflite"
    stepper = StepModel(feature_model("gru", "last"))
    path.write_bytes(quantized(stepper, "int8", tmp_path / "saved", ends=tf.int8))
    litert = load_litert(path)
    with tflite_micro.load(path) as micro:
        assert {info.dtype for info in micro.inputs("step").values()} == {np.dtype(np.int8)}
        assert micro.inputs("step") == litert.inputs("step")
        assert micro.outputs("step") == litert.outputs("step")
        zeros = {n: np.zeros(i.shape, np.int8) for n, i in micro.inputs("step").items()}
        kept = micro.run("step", **zeros)
        copies = {name: value.copy() for name, value in kept.items()}
        micro.run("step", **{n: np.full_like(value, 100) for n, value in zeros.items()})
        for name, value in kept.items():  # not a view of the interpreter's memory
            np.testing.assert_array_equal(value, copies[name])
        with pytest.raises(ValueError, match="must have the signature `predict`. It has: step"):
            micro.run("predict", **zeros)
        with pytest.raises(
            ValueError, match="The inputs must be .'features', .*Received: ..features"
        ):
            micro.run("step", features=zeros["features"])


def test_what_it_cannot_run_is_named(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """At loading, an operator that it lacks; at the first step, types that one does not take."""
    spec = RNNSpec("gru", units=4, num_layers=1, front=FrontSpec(num_mel_bins=8))
    front = StepModel(builders.many_to_one(spec, CLASSES, sample_rate=8000))
    pool = StepModel(feature_model("gru", "max"))
    paths = [tmp_path / "front.tflite", tmp_path / "pool.tflite"]
    for path, stepper in zip(paths, (front, pool), strict=True):
        path.write_bytes(quantized(stepper, "int16x8", tmp_path / path.stem))
    capfd.readouterr()
    said = r"front\.tflite must have operators of TensorFlow Lite Micro alone.*of features, as int8"
    with pytest.raises(UnsupportedModelError, match=said):
        tflite_micro.load(paths[0]).__enter__()
    assert "RFFT2D" in capfd.readouterr().err
    with (
        tflite_micro.load(paths[1]) as micro,
        pytest.raises(UnsupportedModelError, match=r"pool\.tflite must.*invocation failed"),
    ):
        streamed(micro, sequences(1, 1))
    assert "REDUCE_MAX" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"no model at all", "must be a TFLite file")],
)
def test_what_is_no_model_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    """Before the interpreter sees it, which crashes on some."""
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\.tflite {message}"):
        tflite_micro.load(path).__enter__()


@pytest.mark.parametrize("size", [1, 16, 1000])
def test_an_array_in_c_is_the_file(size: int, tmp_path: Path) -> None:
    """To the byte, as long as it says, and where the interpreter wants it."""
    content = np.random.default_rng(0).bytes(size)
    source = tmp_path / "array.c"
    source.write_text(tflite_micro.c_array(content, "my_model"))
    library._compile([source], tmp_path / "array.so")
    code = ctypes.CDLL(str(tmp_path / "array.so"))
    length = ctypes.c_uint.in_dll(code, "my_model_length").value
    stored = (ctypes.c_ubyte * length).in_dll(code, "my_model")
    assert bytes(stored) == content
    assert ctypes.addressof(stored) % 16 == 0
    with pytest.raises(ValueError, match="must be a name in C. Received: name='my-model'"):
        tflite_micro.c_array(content, "my-model")
