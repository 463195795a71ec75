"""The callback that makes a training one that can be killed: it writes down what is reached."""

from __future__ import annotations

import csv
import math
import time
from typing import Any

import keras

from rnnapp import checkpoints, progress
from rnnapp.checkpoints import Progress
from rnnapp.files import replacing
from rnnapp.runs import Run


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why, and what to do."""


class Keeper(keras.callbacks.Callback):
    """Counts epochs, keeps the best weights and a checkpoint, writes the history, stops early.

    Args:
        run: The run; everything goes into its folder.
        state: How far the training is.
    """

    def __init__(self, run: Run, state: Progress) -> None:
        super().__init__()
        self.run, self.state = run, state
        self.monitor, mode = run.task.objective
        self.sign = 1 if mode == "max" else -1
        self.best_weights = run.folder / "checkpoints" / "best.weights.h5"
        self.before = state.seconds
        self.begun = time.monotonic()
        self.console = progress.console()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        spec, state = self.run.spec.train, self.state
        waited = state.epoch - state.best_epoch
        return state.epoch >= spec.epochs or (0 < spec.patience <= waited and state.epoch > 0)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Shows progress."""
        self.bar = progress.bar(f"Epoch {epoch + 1}/{self.params['epochs']}")
        self.report = self.bar.__enter__()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Shows progress; stops on a loss that is no number."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.bar.__exit__(None, None, None)
            spec = self.run.spec.train
            raise TrainingError(
                f"The loss is no longer a number, in epoch {self.state.epoch + 1}, step "
                f"{batch + 1}. Begin anew in another folder (--out) with a lower learning rate "
                f"(--set learning_rate={spec.learning_rate / 3:.2g}) or gradients clipped harder "
                f"(--set clip_norm={(spec.clip_norm or 2) / 2:.2g})."
            )
        self.report(batch + 1, self.params["steps"] or batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes down what the epoch reached."""
        self.bar.__exit__(None, None, None)
        logs = dict(logs or {})
        state = self.state
        state.epoch = epoch + 1
        state.seconds = self.before + time.monotonic() - self.begun
        self._keep_if_best(float(logs[self.monitor]))
        # The checkpoint comes last: a run that was killed before it does the epoch once more.
        self._write_history({"epoch": state.epoch, **logs, "seconds": state.seconds})
        checkpoints.save(self.best_weights.with_name("last.npz"), self.model, state)
        figures = "  ".join(f"{name} {figure:.4g}" for name, figure in logs.items())
        self.console.print(f"Epoch {state.epoch}/{self.params['epochs']}  {figures}")
        if self.finished:
            self.model.stop_training = True

    def summary(self, model: keras.Model) -> dict[str, Any]:
        """What the training came to, for `metrics.json`."""
        return {
            "epochs": self.state.epoch,
            "best_epoch": self.state.best_epoch,
            self.monitor: self.state.best,
            "seconds": round(self.state.seconds, 1),
            "parameters": int(model.count_params()),
        }

    def _keep_if_best(self, value: float) -> None:
        """Keeps the first epoch, whatever it reached, and then each that is better."""
        state, known = self.state, not math.isnan(value)
        better = known and (state.best is None or self.sign * value > self.sign * state.best)
        if not better and state.best_epoch:
            return
        state.best, state.best_epoch = value if known else None, state.epoch
        self.best_weights.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.best_weights) as path:
            self.model.save_weights(path)

    def _write_history(self, row: dict[str, float]) -> None:
        path = self.run.folder / "history.csv"
        rows = []
        if path.exists():  # with this epoch in it, if it is done once more
            with path.open(newline="", encoding="utf-8") as file:
                rows = [r for r in csv.DictReader(file) if int(r["epoch"]) < row["epoch"]]
        with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows([*rows, row])
