"""Programs with int8 weights are near those in float, and small."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rnnapp import Run, builders
from rnnapp.exporting.c99 import writer
from rnnapp.replay import Replay
from rnnapp.specs import RNNSpec

from ...layers.conftest import FEATURES, feature_model, sequences, shuffled
from ...layers.test_streaming import streamed
from .conftest import EXACT, LABELS, answers, softmax, written


def test_int8_weights_are_near(finished: Run, tmp_path: Path) -> None:
    """On a trained model: eight bits a weight and an activation, over clips end to end."""
    model, replay = finished.load_model(), Replay.load(finished.folder / "replay.npz")
    labels = finished.load_pipeline().labels
    heard = replay.sequences[:8].reshape(1, -1)
    folders = {variant: tmp_path / variant for variant in writer.VARIANTS}
    for variant, folder in folders.items():
        writer.write(model, labels, folder, variant)
    float_answers, int8_answers = (answers(folder, heard) for folder in folders.values())
    expected = softmax(streamed(model, heard)[:, 0])
    assert np.ptp(expected, axis=0).max() > 0.5  # it does tell them apart
    np.testing.assert_allclose(float_answers, expected, **EXACT)
    np.testing.assert_allclose(int8_answers, expected, rtol=0, atol=2e-2)
    assert np.abs(int8_answers - expected).max() > 1e-5  # it is int8 indeed


def test_int8_rows_keep_their_own_scales(tmp_path: Path) -> None:
    """A soft unit beside a loud one is not rounded away, in any matrix of a model."""
    spec = RNNSpec("lstm", units=8, num_layers=1, pooling="attention", num_heads=2)
    model = builders.many_to_one(spec, len(LABELS), num_features=FEATURES, window=6)
    generator = np.random.default_rng(0)
    for weight in shuffled(model).weights:
        if len(weight.shape) == 2:
            loudness = [generator.permutation(np.geomspace(0.1, 10, n)) for n in weight.shape]
            weight.assign(weight * np.sqrt(np.outer(*loudness)))
    x = sequences(1, 30)
    expected = softmax(streamed(model, x)[:, 0])
    assert np.ptp(expected, axis=0).max() > 0.3
    heard = answers(written(model, tmp_path, "int8"), x)
    np.testing.assert_allclose(heard, expected, rtol=0, atol=1e-2)


def flash(folder: Path) -> int:
    """Bytes of constants, as the header says."""
    (found,) = re.findall(r"and (\d+) bytes of flash", (folder / "model.h").read_text())
    return int(found)


def test_int8_is_small(tmp_path: Path) -> None:
    """A quarter of the weights, and a scale for each row."""
    model = feature_model("lstm", "last")
    float_flash, int8_flash = (
        flash(written(model, tmp_path / variant, variant)) for variant in writer.VARIANTS
    )
    weights = 4 * 4 * (8 + 4) + 4 * 4 * (4 + 4) + 4 * 3
    rows = 2 * (16 + 16) + 3
    biases = 16 + 16 + 3
    assert float_flash == 4 * (weights + biases)
    assert int8_flash == weights + 4 * (rows + biases)
