"""What an epoch reached is written down in an order that a kill cannot harm."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp import Run
from rnnapp.checkpoints import Progress
from rnnapp.keeper import Keeper

from .test_checkpoints import compiled, fills_the_disk
from .test_training import EPOCHS, checkpoint, history

LOGS = {"loss": 1.0, "val_accuracy": 0.5}


def keeper(run: Run, folder: Path, model: keras.Model) -> Keeper:
    """A keeper of a run in `folder`, in the middle of its first epoch."""
    kept = Keeper(dataclasses.replace(run, folder=folder), Progress())
    kept.set_model(model)
    kept.set_params({"epochs": EPOCHS, "steps": 1})
    kept.on_epoch_begin(0)
    return kept


def test_an_objective_that_is_no_number_is_not_the_best(finished: Run, tmp_path: Path) -> None:
    """Any number is better; and the first epoch is kept all the same, for want of another."""
    kept = keeper(finished, tmp_path, compiled())
    for epoch, value in enumerate([np.nan, np.nan, 0.5, np.nan, 0.4]):
        kept.on_epoch_begin(epoch)
        kept.on_epoch_end(epoch, {**LOGS, "val_accuracy": value})
        best = (None, 1) if epoch < 2 else (0.5, 3)
        assert (kept.state.best, kept.state.best_epoch) == best
        assert kept.best_weights.exists()


def test_a_full_disk_spares_the_best_weights(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the model, even if the run never goes on."""
    kept = keeper(finished, tmp_path, compiled())
    kept.on_epoch_end(0, LOGS)
    before = checkpoint(tmp_path)
    monkeypatch.setattr(keras.Model, "save_weights", lambda self, path: fills_the_disk(path))
    kept.on_epoch_begin(1)
    with pytest.raises(OSError, match="No space left"):
        kept.on_epoch_end(1, {**LOGS, "val_accuracy": 0.6})
    assert checkpoint(tmp_path) == before


def test_an_epoch_is_in_the_history_before_it_is_in_the_checkpoint(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run killed between the two does the epoch once more; the other way a row would be lost."""
    kept = keeper(finished, tmp_path, compiled())
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(np, "savez", fills_the_disk)
        kept.on_epoch_end(0, LOGS)
    again = keeper(finished, tmp_path, compiled())
    again.on_epoch_end(0, {**LOGS, "loss": 2.0})
    assert history(tmp_path) == [{"epoch": "1", "loss": "2.0", "val_accuracy": "0.5"}]
