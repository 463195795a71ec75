"""A mended copy runs, and answers as the file did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp.device import Model, Stepper, load
from rnnapp.exporting.doctor import diagnose, fix

from . import keras_faults, saved_model_faults
from .tables import Tables, dense, whole_numbers
from .tflite_faults import ELSEWHERE, FAULTS

ROW = np.array([[0.3, -0.2, 0.9, 0.1]], np.float32)


@pytest.mark.parametrize("name", ["unused-operators/flex", "open-shapes/batch"])
def test_a_mended_file_answers_to_the_bit(name: str, tmp_path: Path) -> None:
    """What is taken out is what no answer comes from."""
    path, out = FAULTS[name](tmp_path), tmp_path / "mended.tflite"
    assert [finding.code for finding in fix(path, out)] == [name.partition("/")[0]]
    assert diagnose(out) == []
    before = load(dense().content()).run("predict", x=ROW)["y"]
    np.testing.assert_array_equal(load(out).run("predict", x=ROW)["y"], before)


def test_operators_that_nothing_uses_keep_nobody_from_loading(tmp_path: Path) -> None:
    """Our own runner refuses the file before, and takes it after."""
    path, out = FAULTS["unused-operators/flex"](tmp_path), tmp_path / "mended.tflite"
    with pytest.raises(ValueError, match="FlexErf"):
        load(path)
    fix(path, out)
    assert load(out).signatures == ["predict"]


@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_float_inputs_and_outputs_answer_as_whole_numbers_did(kind: str, tmp_path: Path) -> None:
    """The runtime quantizes as the program did before, and states stay bound by name."""
    tables = typed(whole_numbers((0.1, 0.12)), kind)
    path, out = tables.write(tmp_path, runtimes=["chromium"]), tmp_path / "mended.tflite"
    assert {finding.code for finding in fix(path, out)} == {"browser-types", "state-scales"}
    assert diagnose(out) == []
    mended = load(out)
    assert mended.files == load(path).files
    assert mended.inputs("step")["state"].dtype == mended.outputs("step")["next_state"].dtype
    assert mended.inputs("step")["state"].dtype == np.float32
    # One unit of the state's scale: halves may be rounded to either side.
    compare(Stepper(load(path)), Stepper(mended), 0.12)


def test_states_of_equal_scales_can_be_handed_on_as_they_are(tmp_path: Path) -> None:
    """As a program does that knows nothing of scales."""
    tables = whole_numbers((0.1, 0.12))
    path, out = tables.write(tmp_path, runtimes=ELSEWHERE), tmp_path / "mended.tflite"
    assert [finding.code for finding in fix(path, out)] == ["state-scales"]
    mended = load(out)
    assert mended.inputs("step")["state"].scale == mended.outputs("step")["next_state"].scale
    compare(Stepper(load(path)), Naive(mended), 0.12)


class Naive:
    """A program that hands the bytes of a state on."""

    def __init__(self, model: Model) -> None:
        self.model, info = model, model.inputs("step")["state"]
        self.states = {"state": np.full(info.shape, info.zero_point, info.dtype)}

    def __call__(self, x: np.ndarray) -> None:
        """Makes one step."""
        info = self.model.inputs("step")["x"]
        after = self.model.run("step", x=info.quantize(x), **self.states)
        self.states = {"state": after["next_state"]}


def compare(reference: Stepper, other: Stepper | Naive, tolerance: float) -> None:
    """Runs both over the same steps, and compares what the state has become."""
    generator, ends = np.random.default_rng(0), []
    steps = generator.uniform(-0.5, 0.7, (20, 1, 4)).astype(np.float32)
    for stepper in (reference, other):
        for x in steps:
            stepper(x=x)
        model = stepper._model if isinstance(stepper, Stepper) else stepper.model
        ends.append(model.inputs("step")["state"].dequantize(stepper.states["state"]))
    assert np.abs(ends[0]).max() > 5 * tolerance, "the states say nothing"
    np.testing.assert_allclose(ends[0], ends[1], atol=tolerance)


def typed(tables: Tables, kind: str) -> Tables:
    """The same of whole numbers of another size; those of 16 bits have no zero point."""
    from ai_edge_litert import schema_py_generated as schema

    for tensor in tables.last.tensors:
        tensor.type = getattr(schema.TensorType, kind)
        if kind == "INT16":
            tensor.quantization.zeroPoint = [0]
    return tables


def test_only_what_was_asked_for_is_mended(tmp_path: Path) -> None:
    """A microcontroller wants its whole numbers kept."""
    path = whole_numbers((0.1, 0.12)).write(tmp_path)
    mended = fix(path, tmp_path / "mended.tflite", only=["state-scales"])
    assert [finding.code for finding in mended] == ["state-scales"]
    left = diagnose(tmp_path / "mended.tflite")
    assert [finding.code for finding in left] == ["browser-types"]
    with pytest.raises(ValueError, match=r"no mending of 'scales'\. Valid names: browser-types,"):
        fix(path, tmp_path / "other.tflite", only=["scales"])


def test_a_stateful_model_starts_from_zeros_each_time(tmp_path: Path) -> None:
    """Each call is the first one."""
    path, out = keras_faults.FAULTS["kept-state/stateful"](tmp_path), tmp_path / "mended.keras"
    assert [finding.code for finding in fix(path, out)] == ["kept-state"]
    assert diagnose(out) == []
    x = np.random.default_rng(0).normal(size=(1, 7, keras_faults.FEATURES)).astype(np.float32)
    stateful, mended = keras.models.load_model(path), keras.models.load_model(out)
    first, second = stateful(x).numpy(), stateful(x).numpy()
    assert np.abs(first - second).max() > 1e-3
    for _ in range(2):
        np.testing.assert_allclose(mended(x).numpy(), first, atol=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        FAULTS["open-shapes/length"],
        FAULTS["missing-weights/cut"],
        FAULTS["browser-types/int64"],
        keras_faults.FAULTS["non-finite-weights/nan"],
        saved_model_faults.FAULTS["random-operators/dropout"],
    ],
    ids=["length", "cut", "int64", "nan", "saved model"],
)
def test_what_cannot_be_mended_surely_is_refused(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    """With what was found, and without a copy that looks mended."""
    path = build(tmp_path)
    (finding,) = diagnose(path)
    with pytest.raises(ValueError, match=f"can be mended by rewriting it. Found: {finding.code}"):
        fix(path, tmp_path / "mended")
    assert not finding.fixable and not (tmp_path / "mended").exists()


def test_a_sound_file_and_a_taken_place_are_refused(tmp_path: Path) -> None:
    """The original stays what it was, and so does all else."""
    path = dense().write(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"model\.tflite can be mended.*Found: nothing"):
        fix(path, tmp_path / "mended.tflite")
    with pytest.raises(ValueError, match=r"model\.tflite must not exist yet"):
        fix(path, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
