"""Steps of integers: a front end of floats before them, and ranges learnt from real states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from rnnapp import Run
from rnnapp.device import Stepper, load
from rnnapp.exporting import conversion, flatbuffer, signatures
from rnnapp.exporting.quantized import ARITHMETIC, IntegerStep
from rnnapp.exporting.reference import SURE, Reference
from rnnapp.layers.streaming import StepModel
from rnnapp.replay import Replay

from .conftest import constants, long_windows


@pytest.fixture(scope="module")
def replay(finished: Run) -> Replay:
    """Validation sequences of tones."""
    return Replay.load(finished.folder / "replay.npz")


@pytest.fixture(scope="module")
def model(finished: Run) -> keras.Model:
    """A trained model."""
    return finished.load_model()


@pytest.fixture(scope="module", params=[8, 16])
def content(request: pytest.FixtureRequest, model: keras.Model, replay: Replay) -> bytes:
    """Its step, of each kind of integers."""
    return IntegerStep(model, replay.sequences).step(request.param)


def stream(stepper: Stepper, sequence: np.ndarray) -> Iterator[np.ndarray]:
    """The probabilities, step by step."""
    ((name, info),) = stepper.inputs.items()
    size = info.shape[1]
    for start in range(0, len(sequence) - size + 1, size):
        yield stepper(**{name: sequence[None, start : start + size]})["probabilities"][0]


def test_inputs_and_states_are_those_of_the_float_step(content: bytes, model: keras.Model) -> None:
    """A listener, an app or a server takes one for the other."""
    loaded, stepper = load(content), StepModel(model)
    assert loaded.signatures == ["step"]
    states = {name: (1, *shape) for name, shape in stepper.state_shapes.items()}
    inputs = {name: info.shape for name, info in loaded.inputs("step").items()}
    assert inputs == {"samples": (1, *stepper.input_shape), **states}
    outputs = {name: info.shape for name, info in loaded.outputs("step").items()}
    assert {f"next_{name}": shape for name, shape in states.items()}.items() <= outputs.items()
    assert {"logits", "probabilities"} <= set(outputs)


def test_the_front_end_stays_exact(content: bytes, model: keras.Model, replay: Replay) -> None:
    """Rounded to eight bits, a front end is deaf: its states are those of floats, to the bit."""
    loaded, reference = load(content), load(IntegerStep(model, replay.sequences).front_step)
    mine, theirs = Stepper(loaded), Stepper(reference)
    size = reference.inputs("step")["samples"].shape[1]
    for start in range(0, 4 * size, size):
        samples = replay.sequences[0][None, start : start + size]
        mine(samples=samples), theirs(samples=samples)
        for name, value in theirs.states.items():
            np.testing.assert_array_equal(mine.states[name], value, err_msg=name)


def test_integers_learn_from_what_does_not_judge(
    finished: Run, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range that fits the very sequences it is judged by hides what it cuts off of others."""
    rounded_by = []
    monkeypatch.setattr(conversion, "IntegerStep", lambda model, sequences: sequences)
    monkeypatch.setattr(
        conversion.rounding, "round_weights", lambda model, heard, **_: rounded_by.append(heard)
    )
    job = dict(model=finished.model_path, calibration=finished.folder / "calibration.npz")
    settings = dict(time=replay.time, rows=1, streams=True, float_parts=[])
    sequences: Any = conversion.Conversion({**job, **settings}).integers
    learnt = {row.tobytes() for row in [*sequences, *rounded_by[0]]}
    assert learnt.isdisjoint(row.tobytes() for row in replay.sequences)
    taught = Replay.load(finished.folder / "calibration.npz").sequences
    assert {row.tobytes() for row in taught} <= learnt


def test_a_stream_is_right_where_keras_is_sure(model: keras.Model, replay: Replay) -> None:
    """It has no labels, and integers have no bound: otherwise nothing would judge them in it."""
    stream = Reference(model, replay, StepModel(model).input_shape[0]).stream()
    assert stream.targets is not None
    sure = stream.expected.max(axis=1) > SURE
    assert sure.any()
    np.testing.assert_array_equal(stream.targets[sure], stream.expected[sure].argmax(axis=1))
    assert (stream.targets[~sure] == -1).all()
    unsure = keras.models.clone_model(model)
    unsure.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    assert Reference(unsure, replay, StepModel(model).input_shape[0]).stream().targets is None


def test_cases_are_computed_once(model: keras.Model, replay: Replay) -> None:
    """A certificate that is made again for more parts of floats asks for the same."""
    reference = Reference(model, replay, StepModel(model).input_shape[0])
    for case in (reference.windows, reference.padded, reference.stream):
        assert case() is case()


def test_half_precision_is_not_for_the_front_end(tmp_path: Path) -> None:
    """A window of more than a thousand samples is as large as weights, and no weight."""
    run = long_windows(tmp_path)
    heard = Replay.load(run.folder / "replay.npz").sequences[:1]
    integers = IntegerStep(run.load_model(), heard)
    exact = constants(integers.front_step)
    assert max(map(len, exact)) > 4 * 1024
    step = integers.step(8, (ARITHMETIC, "gru_1"))
    assert set(exact) <= set(constants(step))
    weights = set(constants(integers.body_step(8, (ARITHMETIC, "gru_1")))) - set(constants(step))
    assert weights, "no weight has become half as long"


def test_weights_are_integers(content: bytes) -> None:
    """What is small and fast about it: matrices of eight bits, sums of integers."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = flatbuffer.unpack(content).subgraphs
    stored = [t.type for t in graph.tensors if t.type == schema.TensorType.INT8]
    assert stored, "no tensor is int8"


def test_ranges_are_those_of_a_long_stream(model: keras.Model, replay: Replay) -> None:
    """Learnt from one sequence alone, a stream's states leave their ranges, and are cut off."""
    joined = np.concatenate(list(replay.sequences))
    truth = np.array(list(stream(Stepper(load(_float_step(model))), joined)))

    def error(sequences: np.ndarray) -> float:
        step = IntegerStep(model, sequences).step(16)
        return float(np.abs(np.array(list(stream(Stepper(load(step)), joined))) - truth).max())

    quiet = replay.sequences[:1] * 0.01
    assert 3 * error(replay.sequences) < error(quiet)


def _float_step(model: keras.Model) -> bytes:
    integers = IntegerStep(model, np.zeros((1, 1)))
    return flatbuffer.chained(integers.front_step, integers.float_body, signatures.FEATURES)


def test_a_chain_is_its_links(model: keras.Model, replay: Replay) -> None:
    """Front and body joined by rewriting equal the whole step, at every step of a stream."""
    whole, joined = StepModel(model), Stepper(load(_float_step(model)))
    states, size = whole.initial_states(), whole.input_shape[0]
    for start in range(0, 2 * size, size):
        samples = replay.sequences[0][None, start : start + size]
        logits, states = whole(samples, states)
        answer = joined(samples=samples)
        # The same float32 sums in another order.
        np.testing.assert_allclose(answer["logits"], logits, rtol=0, atol=1e-5)


def test_parts_that_stay_floats_cost_nothing(model: keras.Model, replay: Replay) -> None:
    """The more of them, the less is lost; in the end, half a float's precision of weights."""
    integers = IntegerStep(model, replay.sequences)
    arithmetic, *layers = integers.sensitive_parts()
    assert set(layers) == {layer.name for layer in model.layers if layer.weights}
    joined = np.concatenate(list(replay.sequences[:4]))
    expected = np.array(list(stream(Stepper(load(_float_step(model))), joined)))

    def errors(*parts: str) -> np.ndarray:
        step = Stepper(load(integers.step(8, parts)))
        return np.abs(np.array(list(stream(step, joined))) - expected)

    none, products, every = (errors(*p) for p in ((), (arithmetic,), (arithmetic, *layers)))
    assert products.mean() < none.mean()
    assert every.max() < 1e-3  # as the float16 format has it


def test_weights_stay_integers_while_one_layer_does(model: keras.Model, replay: Replay) -> None:
    """Arithmetic in floats does not make a file grow: it consists of weights."""
    integers = IntegerStep(model, replay.sequences)
    whole, arithmetic = (
        len(flatbuffer.compact(integers.body_step(8, parts))) for parts in ((), (ARITHMETIC,))
    )
    assert arithmetic < 1.05 * whole
