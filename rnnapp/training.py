"""Training: a task, its data and a spec become a run folder."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from rnnapp import checkpoints, plots, progress
from rnnapp.checkpoints import Progress
from rnnapp.files import replacing
from rnnapp.replay import Replay
from rnnapp.runs import Run, data_home, write_json
from rnnapp.specs import TrainSpec
from rnnapp.tasks import RunSpec, task_named

REPLAYED = 64  # validation sequences that go along with a run


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why, and what to do."""


def train(
    task: str,
    data: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    *,
    settings: Sequence[str] = (),
    resume: bool = False,
) -> Run:
    """Trains a task's model.

    Args:
        task: One of `rnnapp.TASKS`.
        data: A folder, a file or a `tfds:` name; None for the task's own default data.
        out: The run folder; `runs/TASK` by default.
        settings: `key=value` assignments to fields of the spec, as `--set` takes them.
        resume: Go on with a run that was killed, with the settings that it was begun with.

    Returns:
        The finished run.

    Raises:
        ValueError: If a name or value is wrong, or `out` holds another run.
        TrainingError: If the loss stops being a number.
    """
    run, _ = train_with_pipeline(task, data, out, settings=settings, resume=resume)
    return run


def train_with_pipeline(
    task: str,
    data: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    *,
    settings: Sequence[str] = (),
    resume: bool = False,
) -> tuple[Run, Any]:
    """As `train`, and returns the pipeline with its data too, for whoever goes on with them."""
    folder = Path(out or Path("runs") / task)
    run = _resumed(folder, settings) if resume else _begun(folder, task, data, settings)
    pipeline = fit_pipeline(run)
    if not resume:  # not before: a folder without usable data is no run to go on with
        run.write_spec()
    model = compiled(run, pipeline)
    _fit(run, pipeline, model)
    return run, pipeline


def _begun(folder: Path, name: str, data: str | os.PathLike | None, settings: Sequence[str]) -> Run:
    spec = task_named(name).spec(None if data is None else os.fspath(data), settings)
    if (folder / "spec.json").exists():
        raise ValueError(
            f"{folder} must be a new folder: it holds a run. Go on with that run by --resume, "
            "or choose another folder by --out."
        )
    return Run(folder, spec)


def _resumed(folder: Path, settings: Sequence[str]) -> Run:
    if settings:
        raise ValueError(
            "A resumed run keeps the settings that it was begun with. Received: "
            f"--set {' '.join(settings)}"
        )
    return Run.open(folder)


def fit_pipeline(run: Run) -> Any:
    """The run's pipeline on the run's data; its fitted state goes to the run folder."""
    spec = run.spec
    data = spec.data
    if data is None:
        with progress.bar("Making the default data") as report:
            data = os.fspath(run.task.default_data(data_home(), report))
    with progress.bar("Reading the data") as report:
        pipeline = run.task.pipeline(spec.pipeline).fit(data, spec.train.seed, report)
    pipeline.save(run.folder / "pipeline")
    return pipeline


def compiled(run: Run, pipeline: Any) -> keras.Model:
    """The run's model, seeded, with its optimizer and loss."""
    spec: RunSpec = run.spec
    keras.utils.set_random_seed(spec.train.seed)
    model = run.task.build(spec.model, pipeline)
    steps = pipeline.num_batches("train", spec.train.batch_size)
    model.compile(
        optimizer=optimizer(spec.train, steps * spec.train.epochs),
        loss=run.task.loss(spec.train),
        metrics=list(run.task.metrics()),
        jit_compile=spec.train.jit_compile,
        steps_per_execution=spec.train.steps_per_execution,
    )
    return model


def optimizer(spec: TrainSpec, total_steps: int) -> keras.optimizers.Optimizer:
    """AdamW under a linear warm-up and a cosine decay to zero.

    Args:
        spec: The training.
        total_steps: Steps of the whole training.
    """
    warmup = round(spec.warmup_fraction * total_steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        spec.learning_rate if not warmup else 0.0,
        decay_steps=max(1, total_steps - warmup),
        warmup_target=spec.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    adamw = keras.optimizers.AdamW(
        schedule,
        weight_decay=spec.weight_decay,
        global_clipnorm=spec.clip_norm or None,
    )
    # Decay belongs to matrices: a bias or a scale pulled to zero only loses range.
    adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return adamw


def _fit(run: Run, pipeline: Any, model: keras.Model) -> None:
    """Runs the epochs that are left, and leaves the best model in the run folder."""
    spec, folder = run.spec.train, run.folder
    last = folder / "checkpoints" / "last.npz"
    state = checkpoints.load(last, model) if last.exists() else Progress()
    keeper = _Keeper(run, state)
    if not keeper.finished:
        # One endless iteration over all epochs: a new one for each would build its graph anew.
        batches = pipeline.dataset(
            "train", spec.batch_size, training=True, seed=spec.seed, epoch=state.epoch, repeat=True
        )
        model.fit(
            batches,
            steps_per_epoch=pipeline.num_batches("train", spec.batch_size),
            validation_data=pipeline.dataset("validation", spec.batch_size),
            initial_epoch=state.epoch,
            epochs=spec.epochs,
            callbacks=[keeper, keras.callbacks.TensorBoard(folder / "logs", write_graph=False)],
            shuffle=False,  # the pipeline has
            verbose=0,
        )
    model.load_weights(keeper.best_weights)
    _switch_off_recurrent_dropout(model)
    _replay(pipeline).save(folder / "replay.npz")
    plots.history(folder / "history.csv", folder / "history.png")
    write_json(folder / "metrics.json", {**run.metrics(), "training": keeper.summary(model)})
    with replacing(run.model_path) as path:  # last of all: a run with a model is finished
        model.save(path)


def _switch_off_recurrent_dropout(model: keras.Model) -> None:
    """Keras draws its masks in inference too: an export would hold random numbers and their state.

    `spec.json` remembers what the model was trained with.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN):
            layer.cell.recurrent_dropout = 0.0


def _replay(pipeline: Any) -> Replay:
    """Validation sequences on which every export will be held against the model."""
    inputs, targets = next(pipeline.dataset("validation", REPLAYED).as_numpy_iterator())
    sequence = next(name for name in inputs if name != "lengths")
    return Replay(inputs[sequence], inputs["lengths"], targets)


class _Keeper(keras.callbacks.Callback):
    """Counts epochs, keeps the best weights and a checkpoint, writes the history, stops early."""

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
            raise TrainingError(
                f"The loss is no longer a number, in epoch {self.state.epoch + 1}, step "
                f"{batch + 1}. Lower the learning rate (--set learning_rate="
                f"{self.run.spec.train.learning_rate / 3:.2g}) or clip_norm. The last good epoch "
                f"stands in {self.run.folder / 'checkpoints'}."
            )
        self.report(batch + 1, self.params["steps"] or batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes down what the epoch reached."""
        self.bar.__exit__(None, None, None)
        logs = dict(logs or {})
        state, value = self.state, float(logs[self.monitor])
        state.epoch = epoch + 1
        state.seconds = self.before + time.monotonic() - self.begun
        if state.best is None or self.sign * value > self.sign * state.best:
            state.best, state.best_epoch = value, state.epoch
            self.best_weights.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.best_weights) as path:
                self.model.save_weights(path)
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
