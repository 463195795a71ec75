"""The certificate finds what is wrong with an artefact, whatever it is."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rnnapp import FORMATS
from rnnapp.device import TensorInfo
from rnnapp.exporting import runtimes, tf_c_api
from rnnapp.exporting.certificate import certify, failures, lossy, table
from rnnapp.exporting.formats import Format
from rnnapp.exporting.reference import Reference
from rnnapp.exporting.runtimes import RUNTIMES, Runtime
from rnnapp.layers.streaming import StepModel
from rnnapp.replay import Replay

from ..layers.conftest import CONVOLUTIONS, FEATURES, feature_model, sequences

UNIT, TIMESTEPS, EXAMPLES = 2, 12, 10
JUDGED = 10
BOUND = 1e-4
SIGNATURES = ("predict", "padded", "step")
Spoiler = Callable[[np.ndarray, int], np.ndarray]


class Model:
    """A small model, whole and step by step, traced once for all tests."""

    def __init__(self) -> None:
        model = feature_model("gru", "mean_max", CONVOLUTIONS)
        replay = Replay(
            sequences(EXAMPLES, TIMESTEPS),
            np.full(EXAMPLES, TIMESTEPS, np.int32),
            np.zeros(EXAMPLES, np.int32),
        )
        self.reference, self.stepper = Reference(model, replay, UNIT), StepModel(model)
        self.step = tf.function(self.stepper, autograph=False)
        self.whole = tf.function(model, reduce_retracing=True, autograph=False)


class Artefact:
    """The model itself as an artefact, with its answers spoilt as `spoil(answers, calls)` says."""

    def __init__(self, model: Model, spoil: Spoiler, signatures: Sequence[str]) -> None:
        self.name, self.signatures = "artefact", list(signatures)
        self.model, self.spoil, self.calls = model, spoil, 0

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """The inputs of each signature; states last."""
        size = UNIT if signature == "step" else TIMESTEPS
        infos = {"features": TensorInfo("features", (1, size, FEATURES), np.dtype(np.float32))}
        if signature == "padded":
            infos["lengths"] = TensorInfo("lengths", (1,), np.dtype(np.int32))
        return infos | (self._states("") if signature == "step" else {})

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """The outputs of each signature."""
        infos = {"probabilities": TensorInfo("probabilities", (1, 3), np.dtype(np.float32))}
        return infos | (self._states("next_") if signature == "step" else {})

    def _states(self, prefix: str) -> dict[str, TensorInfo]:
        shapes = self.model.stepper.state_shapes.items()
        return {
            prefix + name: TensorInfo(prefix + name, (1, *shape), np.dtype(np.float32))
            for name, shape in shapes
        }

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model, and spoils its answer."""
        x, changed = inputs.pop("features"), {}
        if signature == "step":
            logits, states = self.model.step(x, inputs)
            changed = {f"next_{name}": value.numpy() for name, value in states.items()}
        else:
            lengths = inputs.get("lengths", np.full(len(x), x.shape[1]))
            logits = self.model.whole([x, tf.cast(lengths, tf.int32)])
        self.calls += 1
        return {"probabilities": self.spoil(tf.nn.softmax(logits).numpy(), self.calls), **changed}


@pytest.fixture(scope="module")
def model() -> Model:
    """The model that all artefacts are held against."""
    return Model()


@pytest.fixture
def certified(model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict]:
    """The certificate of an artefact that is spoilt in some way, in the format `test`."""

    def make(
        spoil: Spoiler,
        *formats: str,
        signatures: Sequence[str] = SIGNATURES,
        max_quality_loss: float = 0.99,
        known: dict | None = None,
    ) -> dict:
        runtimes = {
            "here": Runtime(lambda path: nullcontext(Artefact(model, spoil, signatures)), "numpy"),
            "gone": Runtime(lambda path: nullcontext(), "no_such_package"),  # type: ignore
        }
        form = Format("", "", BOUND, tuple(runtimes), SIGNATURES, lambda *_: [])
        for name, runtime in runtimes.items():
            monkeypatch.setitem(RUNTIMES, name, runtime)
        monkeypatch.setitem(FORMATS, "test", form)
        monkeypatch.setitem(FORMATS, "eight", dataclasses.replace(form, bound=None))
        return certify(
            tmp_path,
            [*formats] or ["test"],
            model.reference,
            lambda done, total: None,
            max_quality_loss=max_quality_loss,
            known=known,
        )

    return make


def late(answers: np.ndarray, calls: int) -> np.ndarray:
    """Wrong after forty calls, in the midst of the stream."""
    return answers + 2 * BOUND * (calls > 40)


def drifting(answers: np.ndarray, calls: int) -> np.ndarray:
    """Another answer at each call, by far less than the bound."""
    return answers + np.float32(1e-6) * calls


def test_a_faithful_artefact_passes(certified: Callable[..., dict]) -> None:
    """Windows, padded batches and a stream are each replayed and compared in number."""
    result = certified(lambda answers, calls: answers)
    assert result["passed"]
    assert [check["signature"] for check in result["checks"]] == ["predict", "padded", "step"]
    assert all(
        check["comparisons"] > 5
        and check["finite"]
        and check["max_difference"] < 1e-6
        and check["repeatable"]
        and check["median_us"] > 0
        for check in result["checks"]
    )
    assert result["runtimes"]["here"] == np.__version__


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda answers, calls: answers + 2 * BOUND, r"differs by 2\.0\de-04, allowed are 1e-04"),
        (lambda answers, calls: answers * np.nan, "answers that are not finite numbers"),
        (lambda answers, calls: answers[:, ::-1], "differs by"),
        (late, r"step \(a long stream\): differs by"),
        (drifting, "gave another answer to the same input: it keeps state between calls"),
    ],
    ids=["shifted", "nan", "swapped", "late", "drifting"],
)
def test_a_spoilt_artefact_fails(
    certified: Callable[..., dict], spoil: Spoiler, message: str
) -> None:
    """Each with the reason, by format, runtime and signature; as JSON that all can read."""
    result = certified(spoil)
    assert not result["passed"]
    assert re.search(rf"test in here, signature .*{message}", "\n".join(failures(result)["test"]))
    json.dumps(result, allow_nan=False)
    assert "BAD" in {row[0] for row in table(result)}


def test_a_difference_within_the_bound_passes(certified: Callable[..., dict]) -> None:
    """Quantized weights may differ, and by how much is written down."""
    result = certified(lambda answers, calls: answers + np.float32(0.5 * BOUND))
    assert result["passed"] and failures(result) == {}
    for check in result["checks"]:
        assert check["max_difference"] == pytest.approx(0.5 * BOUND, rel=0.05)  # float32 around 1


def test_a_change_of_accuracy_is_written_down(certified: Callable[..., dict], model: Model) -> None:
    """The figure that users ask for first: over true examples, not over noise."""

    def zeroth(answers: np.ndarray, calls: int) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[np.zeros(len(answers), int)]

    replay = model.reference.replay
    right = model.reference.probabilities(replay.sequences, replay.lengths).argmax(axis=1) == 0
    (windows, *others) = certified(zeroth)["checks"]
    assert windows["quality"] == 1.0
    assert windows["quality_loss"] == pytest.approx((right.mean() - 1) / right.mean())
    assert windows["model_quality"] == right.mean()
    assert others[0]["signature"] == "padded" and others[0]["quality"] is None


def wrong_once(answers: np.ndarray, calls: int) -> np.ndarray:
    """Another label than the model's at the first window, and when that comes again."""
    return answers[:, ::-1] if calls in (1, JUDGED + 4) else answers


@pytest.mark.parametrize("allowed", [0.0, 0.5])
def test_a_loss_of_quality_is_a_fault(
    allowed: float, certified: Callable[..., dict], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no bound decides, one answer that was right and is not any more does."""
    replay = model.reference.replay
    told = model.reference.probabilities(replay.sequences, replay.lengths).argmax(axis=1)
    right = dataclasses.replace(model.reference.windows(), targets=np.append(told, [-1, -1, -1]))
    monkeypatch.setattr(model.reference, "windows", lambda: right)
    result = certified(wrong_once, "eight", max_quality_loss=allowed)
    (windows, *_) = result["checks"]
    assert windows["quality_loss"] == pytest.approx(1 / JUDGED)
    assert windows["passed"] == (allowed > 0)
    if not allowed:
        assert "worse than the model, allowed are 0.0%" in windows["fault"]
        assert lossy(result) == ["eight"]


def test_what_is_missing_is_a_fault(certified: Callable[..., dict]) -> None:
    """A file without a step is no proof of one."""
    result = certified(lambda answers, calls: answers, signatures=("predict", "padded"))
    assert failures(result) == {"test": ["test in here, signature step: is missing"]}


def refused(answers: np.ndarray, calls: int) -> np.ndarray:
    """As an old runtime ends that lacks an operator."""
    raise RuntimeError("node 7 failed to prepare")


def test_a_refusal_is_a_fault_like_others(certified: Callable[..., dict]) -> None:
    """One runtime that cannot run one format leaves the others proven."""
    result = certified(refused)
    assert failures(result) == {
        "test": ["test in here: could not be run: node 7 failed to prepare"]
    }
    assert not lossy(result)
    json.dumps(result, allow_nan=False)
    assert table(result)[0][0] == "BAD"


def test_what_was_known_goes_on(certified: Callable[..., dict]) -> None:
    """Certifying one format anew forgets neither what passed nor what nothing could run."""

    def faithful(answers: np.ndarray, calls: int) -> np.ndarray:
        return answers

    gone = dataclasses.replace(FORMATS["saved_model"], runtimes=("gone",))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(FORMATS, "unseen", gone)
        known = certified(faithful, "test", "eight", "unseen")
        again = certified(faithful, "eight", known=known)
    assert again["unproved"] == ["unseen"] and not again["passed"]
    assert {check["format"] for check in again["checks"]} == {"test", "eight"}
    assert len(again["checks"]) == len(known["checks"])


def test_an_absent_runtime_is_named(certified: Callable[..., dict]) -> None:
    """What was not run must not look like what was."""
    result = certified(lambda answers, calls: answers)
    assert result["not_run"] == [{"format": "test", "runtime": "gone", "reason": "not installed"}]
    assert "gone" not in result["runtimes"]
    assert "gone" not in {check["runtime"] for check in result["checks"]}
    assert table(result)[-1][:5] == ["not run", "test", "gone", "", "not installed"]


def test_what_no_runtime_has_run_is_not_proved(
    certified: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing disagrees where nothing was asked."""
    form = dataclasses.replace(FORMATS["saved_model"], runtimes=("gone",))
    monkeypatch.setitem(FORMATS, "unseen", form)
    result = certified(lambda answers, calls: answers, "test", "unseen")
    assert not result["passed"] and result["unproved"] == ["unseen"]
    reason = "unseen: no runtime is at hand to prove it. gone: not installed"
    assert failures(result) == {"unseen": [reason]}
    assert not certified(lambda answers, calls: answers, "unseen")["passed"]


def test_a_runtime_whose_library_is_absent_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TensorFlow for other systems keeps its C API elsewhere; an export there goes on without."""
    assert RUNTIMES["tf_c_api"].absence is None
    monkeypatch.setattr(tf_c_api, "_folder", lambda: tmp_path)
    assert RUNTIMES["tf_c_api"].absence == "this TensorFlow has no libtensorflow_framework.so.2"


def test_a_version_is_found_under_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tensorflow` may come from tensorflow-cpu, or from no wheel at all."""
    monkeypatch.setattr(runtimes.metadata, "packages_distributions", lambda: {"tf": ["numpy"]})
    assert runtimes.version_of("tf") == np.__version__
    assert runtimes.version_of("rnnapp") == "unknown"


def test_the_reference_hears_no_padding(model: Model) -> None:
    """What lies past a length is filled with other things than what is answered from."""
    reference = model.reference
    padded, stream, windows = reference.padded(), reference.stream(), reference.windows()
    assert {0, UNIT // 2, UNIT, TIMESTEPS} <= set(padded.lengths.tolist())
    for row, length in zip(padded.sequences, padded.lengths, strict=True):
        assert (row[length:] == row[0]).all()  # as TensorFlow Serving pads
    assert stream.lengths.max() == stream.sequences.shape[1] == JUDGED * TIMESTEPS
    assert not stream.lengths[0] % UNIT and stream.lengths[0] == UNIT
    assert np.abs(windows.sequences[JUDGED]).max() == 0  # digital silence
    assert windows.targets is not None and (windows.targets[JUDGED:] == -1).all()
