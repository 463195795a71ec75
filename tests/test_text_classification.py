"""Texts from raw strings to labels: in a server, on a device, at the shell."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text import reviews
from rnnapp import Run, metrics, plots, predict
from rnnapp.device import SequenceClassifier, load
from rnnapp.exporting.runtimes import RUNTIMES

TEXTS = [
    "The soup was not bad at all .",
    "although the ROOM is clean , the waiter was anything but kind .",
    "the café — naïve 😀 — was great",
    "great",
]


def model_answers(run: Run, texts: list[str]) -> np.ndarray:
    """What the Keras model says, (texts, classes)."""
    inputs = run.load_pipeline().encode(*texts)
    return metrics.softmax(run.load_model().predict_on_batch(inputs))


@pytest.mark.parametrize("runtime", ["saved_model", "tf_c_api"])
def test_a_server_reads_raw_texts(runtime: str, reader: Run, reader_exported: Path) -> None:
    """Clients know neither the vocabulary nor how words are parted; an empty text is answered."""
    with RUNTIMES[runtime].load(reader_exported / "serving" / "1") as served:
        texts = np.array([*(text.encode() for text in TEXTS), b""], object)
        outputs = served.run("serving_default", text=texts)
    np.testing.assert_allclose(
        outputs["probabilities"][:-1], model_answers(reader, TEXTS), atol=1e-5
    )
    assert np.isfinite(outputs["probabilities"]).all()
    labels = reader.load_pipeline().labels
    assert [label.decode() for label in outputs["label"]] == [
        labels[i] for i in outputs["probabilities"].argmax(axis=1)
    ]


@pytest.fixture(scope="module")
def classifier(reader_exported: Path) -> SequenceClassifier:
    """The export's file of floats, which keeps nothing from text to text."""
    return SequenceClassifier(reader_exported / "device" / "float.tflite")


@pytest.mark.parametrize("size", [1, 7, "all", "longer"])
def test_a_device_reads_texts_of_any_length(
    size: int | str, reader: Run, classifier: SequenceClassifier
) -> None:
    """Padded up to the longest that `predict` takes, step by step from there on."""
    length = {"all": classifier.time, "longer": 3 * classifier.time + 5}.get(str(size), size)
    ids = np.random.default_rng(0).integers(4, 60, int(length)).astype(np.int32)
    inputs = {"token_ids": ids[None], "lengths": np.array([length], np.int32)}
    expected = metrics.softmax(reader.load_model().predict_on_batch(inputs))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # float32, summed in another order
        np.testing.assert_allclose(classifier.predict(ids), expected, atol=1e-5)


def test_what_a_model_without_steps_cannot_read_is_said(
    classifier: SequenceClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a text is another text: nobody should take its answer for the whole one's."""
    ids = np.arange(4, 4 + classifier.time + 3)
    monkeypatch.setattr(classifier.model, "signatures", ["predict"])
    with pytest.warns(UserWarning, match=f"Only the first {classifier.time} of {len(ids)}"):
        answer = classifier.predict(ids)
    np.testing.assert_array_equal(answer, classifier.predict(ids[: classifier.time]))


@pytest.mark.parametrize("wrong", [np.zeros(0, np.int32), np.zeros((3, 2), np.int32)])
def test_sequences_of_another_shape_are_refused(
    wrong: np.ndarray, classifier: SequenceClassifier
) -> None:
    """NumPy would stretch or fail somewhere inside."""
    with pytest.raises(ValueError, match=r"must have the shape \(timesteps\)"):
        classifier.predict(wrong)


def test_a_model_of_sound_is_no_model_of_sequences(exported: Path) -> None:
    """The message names the inputs that it must have."""
    with pytest.raises(ValueError, match="a sequence and `lengths` as the inputs of `predict`"):
        SequenceClassifier(load(exported / "device" / "float.tflite"))


def test_texts_and_files_are_answered_side_by_side(
    reader: Run, reader_exported: Path, tmp_path: Path
) -> None:
    """By run and export alike; what cannot be read is named, and keeps nobody from an answer."""
    (tmp_path / "a.txt").write_text(TEXTS[0], encoding="utf-8")
    inputs = [TEXTS[0], str(tmp_path / "a.txt"), " ", str(tmp_path / "absent.txt")]
    for source in (reader.folder, reader_exported):
        text, file, empty, absent = predict(source, inputs)
        assert text["probabilities"] == pytest.approx(file["probabilities"], abs=1e-6)
        assert "more than whitespace" in empty["error"]
        assert "absent.txt" in absent["error"]


def test_figures_of_a_classifier_are_kept(reader: Run) -> None:
    """With pictures of what it confuses, and of how sure it is."""
    figures = reader.metrics()["evaluation"]["test"]
    assert {"accuracy", "macro_f1", "calibration_error"} <= set(figures)
    assert figures["accuracy"] > 0.95  # it is learnt to the last text, or not at all
    for name in ("confusion_test.png", "reliability_test.png"):
        assert (reader.folder / name).stat().st_size > 5000


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_calibration_is_between_sure_and_right(seed: int, classes: int) -> None:
    """Every answer is in one bin; the error is no more than the largest distance in any."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (50, classes))
    figures = metrics.calibration(generator.integers(0, classes, 50), logits)
    rows = figures["reliability"]
    assert sum(row["examples"] for row in rows) == 50
    distances = [abs(row["confidence"] - row["accuracy"]) for row in rows]
    assert 0 <= figures["calibration_error"] <= max(distances) + 1e-12


def test_who_is_as_sure_as_right_is_calibrated() -> None:
    """A model that says three quarters, and is right so often, errs by nothing."""
    logits = np.log(np.tile([0.75, 0.25], (400, 1)))
    figures = metrics.calibration(np.arange(400) % 4 == 0, logits)
    assert figures["calibration_error"] == pytest.approx(0)
    sure = metrics.calibration(np.arange(400) % 4 == 0, 100 * logits)
    assert sure["calibration_error"] == pytest.approx(0.25)


def test_reliability_is_drawn_of_one_bin_too(tmp_path: Path) -> None:
    """A model that is always sure fills one."""
    rows = [{"examples": 3, "confidence": 0.99, "accuracy": 1.0}]
    assert plots.reliability(rows, 0.01, tmp_path / "a.png").stat().st_size > 5000


def test_reviews_are_many_and_fair(tmp_path: Path) -> None:
    """As many of each label, no text twice, the same for a seed."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        reviews.write(tmp_path / name, 300, seed)
    first, again, other = ((tmp_path / name).read_text().splitlines() for name in "abc")
    assert first == again != other
    rows = [line.rsplit(",", 1) for line in first[1:]]
    assert len({text for text, _ in rows}) == 300
    assert [label for _, label in rows].count("positive") == 150
