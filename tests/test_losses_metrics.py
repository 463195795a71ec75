"""Figures of merit equal their definitions, and pictures are pictures."""

from __future__ import annotations

import csv
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rnnapp import metrics, plots
from rnnapp.losses import SmoothedCrossentropy

LABELS = ["_silence_", "yes", "no", "ja"]


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Targets (examples,) and logits (examples, 4)."""
    examples = draw(st.integers(1, 20))
    targets = draw(hnp.arrays(np.int32, examples, elements=st.integers(0, 3)))
    logits = draw(hnp.arrays(np.float32, (examples, 4), elements=st.floats(-30, 30, width=32)))
    return targets, logits


@given(answers=answers(), smoothing=st.floats(0, 0.9))
@settings(max_examples=30, deadline=None)
def test_the_loss_is_the_smoothed_crossentropy(
    answers: tuple[np.ndarray, np.ndarray], smoothing: float
) -> None:
    """As the paper defines it: every class gets an equal part of the smoothed mass."""
    targets, logits = answers
    wide = logits.astype(np.float64)
    log_share = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    mass = (1 - smoothing) * np.eye(4)[targets] + smoothing / 4
    expected = float(np.mean(-(mass * log_share).sum(axis=1)))
    # Float32 logarithms of numbers up to 60.
    assert float(SmoothedCrossentropy(smoothing)(targets, logits)) == pytest.approx(
        expected, abs=1e-4
    )


def test_the_loss_survives_its_config() -> None:
    """A compiled model is saved with its loss."""
    config = keras.losses.serialize(SmoothedCrossentropy(0.3))
    loss = keras.losses.deserialize(config)
    assert isinstance(loss, SmoothedCrossentropy) and loss.label_smoothing == 0.3


@given(
    logits=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=3),
        elements=st.floats(-(2.0**99), 2.0**99, width=32),
    )
)
def test_probabilities_sum_to_one_and_keep_the_order(logits: np.ndarray) -> None:
    """Large logits must not overflow."""
    shares = metrics.softmax(logits)
    assert ((shares >= 0) & (shares <= 1)).all()
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-5)
    favourite = np.take_along_axis(shares, logits.argmax(axis=-1)[..., None], axis=-1)
    np.testing.assert_array_equal(favourite[..., 0], shares.max(axis=-1))


@given(answers=answers())
@settings(deadline=None)
def test_classification_counts_every_answer(answers: tuple[np.ndarray, np.ndarray]) -> None:
    """All figures follow from counts that a reader can check."""
    targets, logits = answers
    figures = metrics.classification(targets, logits, LABELS)
    matrix, predicted = np.array(figures["confusion"]), logits.argmax(axis=1)
    expected = [
        [int(((targets == t) & (predicted == p)).sum()) for p in range(4)] for t in range(4)
    ]
    assert matrix.tolist() == expected
    assert figures["examples"] == matrix.sum() == len(targets)
    assert figures["accuracy"] == pytest.approx(np.trace(matrix) / len(targets))
    present = [label for t, label in enumerate(LABELS) if (targets == t).any()]
    assert list(figures["recall"]) == present
    f1 = []
    for label in present:
        t = LABELS.index(label)
        hits, said = matrix[t, t], matrix[:, t].sum()
        assert figures["recall"][label] == pytest.approx(hits / matrix[t].sum())
        f1.append(2 * hits / (said + matrix[t].sum()))
    assert figures["macro_f1"] == pytest.approx(np.mean(f1))


def size_of(picture: Path) -> tuple[int, int]:
    """Width and height of a PNG file, from its header."""
    header = picture.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", header[16:])
    return width, height


def test_pictures_are_drawn(tmp_path: Path) -> None:
    """With one epoch, a class that nobody said and labels of any script, too."""
    with (tmp_path / "history.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["epoch", "loss", "val_loss", "seconds"], [1, 0.5, "nan", 3]])
    matrix = np.zeros((4, 4), int)
    matrix[1, 2] = 7
    pictures = [
        plots.history(tmp_path / "history.csv", tmp_path / "history.png"),
        plots.confusion(matrix, [*LABELS[:3], "für"], tmp_path / "confusion.png"),
        plots.detection_curve(
            np.array([1e4, 0.0]), np.array([0.0, 1.0]), (0.0, 1.0), tmp_path / "curve.png"
        ),
    ]
    assert all(min(size_of(picture)) > 300 for picture in pictures)
