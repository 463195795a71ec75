"""Loading a file on whichever runtime there is, and what is said when that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnapp.device import TensorInfo, interpreter, load

from .conftest import LABELS, with_files


@pytest.fixture(scope="session")
def flex() -> bytes:
    """A model with an operator of TensorFlow's own."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 160), name="samples")])
    def step(samples: Any) -> dict[str, Any]:
        return {"probabilities": tf.strings.length(tf.strings.as_string(samples))}

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [step.get_concrete_function()], tf.Module()
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    return bytes(converter.convert())


def test_signatures_are_described_by_name(tones: bytes) -> None:
    """Binding by name needs each signature's inputs and outputs with their shapes."""
    model = load(tones)
    assert sorted(model.signatures) == ["predict", "step"]
    assert {name: info.shape for name, info in model.inputs("step").items()} == {
        "samples": (1, 160),
        "hidden": (1, 4),
    }
    assert {name: info.shape for name, info in model.outputs("step").items()} == {
        "probabilities": (1, 5),
        "next_hidden": (1, 4),
    }


def test_path_and_bytes_are_the_same_model(tones_path: Path) -> None:
    """A model from memory must answer as the one from disk."""
    waveform = np.random.default_rng(0).normal(size=(1, 16_000)).astype(np.float32)
    answers = [
        load(source).run("predict", waveform=waveform)["probabilities"]
        for source in (tones_path, str(tones_path), tones_path.read_bytes())
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_associated_files_are_read(tones: bytes, tones_path: Path) -> None:
    """Labels and settings travel inside the file."""
    model = load(tones_path)
    assert model.files["labels.txt"].decode().split() == LABELS
    assert load(tones).files == {}


def test_missing_signature_names_those_there_are(convert_tones: Callable[..., bytes]) -> None:
    """A whole-clip file given to the listener must be told apart from a broken one."""
    model = load(convert_tones(("predict",)))
    with pytest.raises(ValueError, match=r"signature `step`\. It has: predict"):
        model.inputs("step")


def test_flex_operators_are_named_at_load(flex: bytes) -> None:
    """The runtime itself complains only when it runs, and in cryptic words."""
    with pytest.raises(ValueError, match=r"needs the TensorFlow operators Flex\w+.*BUILTINS"):
        load(flex)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"PK\3\4 a zip, no model", "must be a TFLite file"), (b"x", "must be")],
)
def test_not_a_model_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """Wrong files are told by name and cause."""
    path = tmp_path / "wörds.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"wörds\.tflite {message}"):
        load(path)


def test_absent_file_is_named(tmp_path: Path) -> None:
    """A wrong path must not look like a wrong file."""
    with pytest.raises(FileNotFoundError, match=r"absent\.tflite"):
        load(tmp_path / "absent.tflite")


@given(data=st.data())
def test_any_cut_is_noticed(tones: bytes, data: st.DataObject) -> None:
    """A half-copied file crashes tflite-runtime's process, so it must not get that far."""
    length = data.draw(st.integers(8, len(tones) - 1))
    with pytest.raises(ValueError, match="cut short"):
        load(tones[:length])


def test_cut_zip_leaves_the_model_usable(tones: bytes) -> None:
    """Labels may be lost with the end of the file; the model itself is whole."""
    model = load(with_files(tones, {"labels.txt": "yes\nno"})[:-5])
    assert model.files == {} and "step" in model.signatures


def test_missing_runtime_names_both_install_commands(
    monkeypatch: pytest.MonkeyPatch, tones: bytes
) -> None:
    """A device without a runtime is the first thing that a user meets."""
    monkeypatch.setattr(interpreter, "RUNTIMES", ("absent_runtime.interpreter",))
    with pytest.raises(
        ImportError, match=r"pip install ai-edge-litert.*pip install tflite-runtime"
    ):
        load(tones)


@given(
    scale=st.floats(1e-6, 10),
    dtype=st.sampled_from([np.int8, np.int16, np.uint8]),
    data=st.data(),
)
def test_quantization_is_nearest_and_saturates(
    scale: float, dtype: type[np.integer[Any]], data: st.DataObject
) -> None:
    """Inside the range the error is half a unit; outside, the end of the range is kept."""
    limits = np.iinfo(dtype)
    zero_point = data.draw(st.integers(int(limits.min), int(limits.max)))
    info = TensorInfo("x", (1, 1), np.dtype(dtype), scale, zero_point)
    lowest, highest = ((end - zero_point) * scale for end in (limits.min, limits.max))
    real = data.draw(st.floats(2 * lowest - scale, 2 * highest + scale))
    back = info.dequantize(info.quantize(np.array([[real]])))[0, 0]
    nearest = min(max(real, lowest), highest)
    # float32 carries 24 bits, so up to 2**17 units are known to 1 % of a unit
    assert abs(back - nearest) <= 0.51 * scale


def test_floats_for_integers_are_refused() -> None:
    """Rounding token ids silently would hide a wrong input."""
    info = TensorInfo("token_ids", (1, 1), np.dtype(np.int32))
    assert info.quantize(np.array([[3]])).dtype == np.int32
    with pytest.raises(TypeError, match="`token_ids` must be int32. Received: float64"):
        info.quantize(np.array([[3.0]]))
