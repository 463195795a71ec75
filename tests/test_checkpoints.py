"""A checkpoint holds all that a training needs to go on, whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from rnnapp import checkpoints
from rnnapp.checkpoints import Progress


def compiled(units: int = 2) -> keras.Model:
    """A small compiled model with a random generator."""
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(units)]
    )
    model.compile("adam", "mse")
    return model


def fills_the_disk(path: Path, *_: Any, **__: Any) -> None:
    """A writer that comes to the end of the disk half-way."""
    Path(path).write_bytes(b"half of it")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    """Weights, moments, steps, the state of the generators, and how far the run was."""
    model, other = compiled(), compiled()
    x = np.ones((4, 3), np.float32)
    model.fit(x, x[:, :2], epochs=2, verbose=0)
    progress = Progress(epoch=2, best=0.25, best_epoch=1, seconds=3.5)
    checkpoints.save(tmp_path / "new" / "last.npz", model, progress)
    assert checkpoints.load(tmp_path / "new" / "last.npz", other) == progress
    for _ in range(2):  # the same units are dropped from here on
        assert model.train_on_batch(x, x[:, :2]) == other.train_on_batch(x, x[:, :2])
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


def test_a_full_disk_spares_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint is replaced whole or not at all."""
    model, path = compiled(), tmp_path / "last.npz"
    checkpoints.save(path, model, Progress(epoch=1))
    before = model.get_weights()
    model.set_weights([np.zeros_like(w) for w in before])
    monkeypatch.setattr(np, "savez", fills_the_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(path, model, Progress(epoch=2))
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoints.load(path, model).epoch == 1
    for restored, saved in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(restored, saved)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    """Resuming after an edit of `spec.json` must not half load."""
    checkpoints.save(tmp_path / "last.npz", compiled(), Progress())
    deeper = keras.Sequential([*compiled().layers, keras.layers.Dense(1)])
    deeper.compile("adam", "mse")
    deeper.build((None, 3))
    with pytest.raises(ValueError, match=r"last\.npz must hold the \d+ variables of this model"):
        checkpoints.load(tmp_path / "last.npz", deeper)
