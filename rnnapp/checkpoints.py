"""Checkpoints from which a killed run goes on to the very weights it would have reached."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnapp.files import replacing

if TYPE_CHECKING:
    import keras


@dataclass
class Progress:
    """How far a training is.

    Args:
        epoch: Epochs done.
        best: The best objective so far; None before the first, or if that was no number.
        best_epoch: The epoch (from 1) that reached it; 0 before the first.
        seconds: Time spent in training.
    """

    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0


def save(path: Path, model: keras.Model, progress: Progress) -> None:
    """Writes weights, optimizer and the random generators of dropout, whole or not at all.

    Keras' own `BackupAndRestore` leaves out the generators, so that a resumed run drops other
    units than the one that was not killed.

    Args:
        path: The file to make or replace, `*.npz`.
        model: A built and compiled model.
        progress: How far its training is.

    Raises:
        OSError: If the file cannot be written; what stood there stays.
    """
    arrays: dict[str, Any] = {f"{i:04d}": np.asarray(v) for i, v in enumerate(_variables(model))}
    notes = np.frombuffer(json.dumps(dataclasses.asdict(progress)).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        np.savez(temporary, progress=notes, **arrays)


def load(path: Path, model: keras.Model) -> Progress:
    """Sets a model to a checkpoint.

    Args:
        path: What `save` wrote.
        model: A built and compiled model.

    Returns:
        How far its training was.

    Raises:
        ValueError: If the checkpoint is of another model.
    """
    with np.load(path) as arrays:
        variables = _variables(model)
        if len(arrays) != len(variables) + 1:
            raise ValueError(
                f"{path} must hold the {len(variables)} variables of this model. Received: "
                f"{len(arrays) - 1}. Resume with the settings that the run was begun with."
            )
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"{i:04d}"])
        return Progress(**json.loads(arrays["progress"].tobytes()))


def _variables(model: keras.Model) -> list[keras.Variable]:
    # `variables` holds the seed generators' states, which `weights` leaves out.
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
