"""Training: a task, its data and a spec become a run folder."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from rnnapp import checkpoints, plots, progress, starting
from rnnapp.checkpoints import Progress
from rnnapp.chunks import ChunkedTraining
from rnnapp.files import replacing
from rnnapp.keeper import Keeper, TrainingError
from rnnapp.optimizers import optimizer
from rnnapp.replay import Replay, window_of
from rnnapp.runs import Run, absolute, write_json
from rnnapp.specs import require
from rnnapp.tasks import RunSpec, task_named

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["TrainingError", "compiled", "train", "train_with_pipeline"]

# Sequences that go along with a run: of validation, to judge exports by, where one is less than
# half a percent; of training, for integers to learn from.
KEPT = (("validation", 240, "replay.npz"), ("train", 128, "calibration.npz"))


def train(
    task: str,
    data: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    *,
    settings: Sequence[str] = (),
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Trains a task's model.

    Args:
        task: One of `rnnapp.TASKS`.
        data: A folder, a file or a `tfds:` name; None for the task's own default data.
        out: The run folder; `runs/TASK` by default.
        settings: `key=value` assignments to fields of the spec, as `--set` takes them.
        resume: Go on with a run that was killed, to the weights that it would have reached. Task,
            data and settings must be those that it was begun with, or left out.
        callbacks: Called after what keeps the run, so that its history has the epoch.

    Returns:
        The finished run.

    Raises:
        ValueError: If a name or value is wrong, `out` holds another run, or the data of a resumed
            run have changed.
        TrainingError: If the loss stops being a number.
    """
    run, _ = train_with_pipeline(
        task, data, out, settings=settings, resume=resume, callbacks=callbacks
    )
    return run


def train_with_pipeline(
    task: str,
    data: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    *,
    settings: Sequence[str] = (),
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[Run, Any]:
    """As `train`, and returns the pipeline with its data too, for whoever goes on with them."""
    folder = Path(out or Path("runs") / task)
    asked = None if data is None else os.fspath(data)
    run, pipeline = (_resumed if resume else _begun)(folder, task, asked, settings)
    model = compiled(run, pipeline)
    keeper = Keeper(run, _reached(folder, model) if resume else Progress())
    batches = _batches(run, pipeline, keeper.state.epoch)
    if not resume:  # not before: a folder of what cannot be trained is no run to go on with
        pipeline.save(folder / "pipeline")
        run.write_spec()
    if not keeper.finished:
        _fit(model, pipeline, keeper, *batches, callbacks)
    _finish(model, pipeline, keeper)
    return run, pipeline


def _begun(folder: Path, name: str, data: str | None, settings: Sequence[str]) -> tuple[Run, Any]:
    """A new run, and its pipeline fitted to its data; nothing is written yet."""
    spec = starting.adapted(task_named(name).spec(data, settings), settings)
    if (folder / "spec.json").exists():
        raise ValueError(
            f"{folder} must be a new folder: it holds a run. Go on with that run by --resume, "
            "or choose another folder by --out."
        )
    if spec.data is not None:  # so that the run goes on from whatever directory
        spec = dataclasses.replace(spec, data=absolute(spec.data))
    run = Run(folder, spec)
    source = run.data()
    with progress.bar("Reading the data") as report:
        return run, starting.new_pipeline(run).fit(source, spec.train.seed, report)


def _resumed(folder: Path, name: str, data: str | None, settings: Sequence[str]) -> tuple[Run, Any]:
    """A run that was begun, and its pipeline on its data; neither may have changed."""
    run = Run.open(folder)
    _require_as_begun(run, name, data, settings)
    source = run.data()
    with progress.bar("Reading the data") as report:
        pipeline = run.load_pipeline().open(source, progress=report)
    _require_same_examples(run, pipeline, source)
    return run, pipeline


def _require_as_begun(run: Run, name: str, data: str | None, settings: Sequence[str]) -> None:
    """What is given to a resumed run may repeat what it was begun with, and change nothing."""
    begun = run.spec
    why = f"with which {run.folder} was begun (another run needs another --out)"
    require(name == begun.task, "task", f"{begun.task!r}, {why}", name)
    same = data is None or (begun.data is not None and absolute(data) == absolute(begun.data))
    require(same, "data", f"{begun.data or 'the default data'!r}, {why}", data)
    if run.task.changed(begun, settings) != begun:  # as a whole: a later one may undo a preset's
        others = [each for each in settings if run.task.changed(begun, [each]) != begun]
        require(False, "settings", f"those {why}", others)


def _require_same_examples(run: Run, pipeline: Any, source: str) -> None:
    """Other examples, or the same ones in other splits, would lead to other weights."""
    begun = _examples(run.folder / "pipeline")
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save(folder)
        found = _examples(Path(folder))
    added, missing = set(found) - set(begun), set(begun) - set(found)
    changes = [
        f"{len(rows)} {what}, for one {min(rows)}"
        for what, rows in (("added", added), ("missing", missing))
        if rows
    ]
    if found != begun:
        raise ValueError(
            f"{source} must hold the examples with which {run.folder} was begun. Received: "
            f"{'; '.join(changes) or 'another order'}. Put them back as they were, or begin "
            "another run by --out."
        )


def _examples(folder: Path) -> list[str]:
    """The examples of a saved pipeline, each a line with its file, label and split."""
    return (folder / "splits.csv").read_text(encoding="utf-8").splitlines()


def _reached(folder: Path, model: keras.Model) -> Progress:
    """Sets the model to the run's last checkpoint, if there is one."""
    last = folder / "checkpoints" / "last.npz"
    return checkpoints.load(last, model) if last.exists() else Progress()


def _batches(run: Run, pipeline: Any, epoch: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Training batches from an epoch on, and validation batches."""
    spec = run.spec.train
    # One endless iteration over all epochs: a new one for each would build its graph anew.
    training = pipeline.dataset(
        "train", spec.batch_size, training=True, seed=spec.seed, epoch=epoch, repeat=True
    )
    return training, pipeline.dataset("validation", spec.batch_size)


def compiled(run: Run, pipeline: Any) -> keras.Model:
    """The run's model, seeded, with its optimizer and loss.

    Args:
        run: The run.
        pipeline: Its pipeline, with data.

    Returns:
        A compiled model with new weights, or with those of the run that it starts from; or what
        the task trains in its place.

    Raises:
        ValueError: If that run is no start for this one: see `starting.take_over`.
    """
    spec: RunSpec = run.spec
    keras.utils.set_random_seed(spec.train.seed)
    model = run.task.build(spec.model, pipeline)
    starting.take_over(run, model, pipeline)
    averages, trainer = spec.train.optimizer == "asgd", run.task.trainer
    length = spec.train.gradient_length
    require(trainer is None or length is None, "gradient_length", f"none for {spec.task}", length)
    must = f"adamw for {spec.task}, whose training averages no weights"
    require(trainer is not None or not averages, "optimizer", must, spec.train.optimizer)
    steps = pipeline.num_batches("train", spec.train.batch_size) * spec.train.epochs
    chosen = optimizer(spec.train, steps, model)
    model = trainer(model, spec.model, spec.train) if trainer else _chunked(model, spec)
    starting.take_over_beside(run, _beside(model))
    model.compile(
        optimizer=chosen,
        loss=run.task.loss(spec.train),
        metrics=list(run.task.metrics()),
        jit_compile=spec.train.jit_compile,
        steps_per_execution=spec.train.steps_per_execution,
    )
    return model


def _chunked(model: keras.Model, spec: RunSpec) -> keras.Model:
    """What trains a model with gradients through so many timesteps as were asked for."""
    length = spec.train.gradient_length
    return model if length is None else ChunkedTraining(model, length)


def _fit(
    model: keras.Model,
    pipeline: Any,
    keeper: Keeper,
    batches: tf.data.Dataset,
    validation: tf.data.Dataset,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Runs the epochs that are left."""
    spec, logs = keeper.run.spec.train, keeper.run.folder / "logs"
    model.fit(
        batches,
        steps_per_epoch=pipeline.num_batches("train", spec.batch_size),
        validation_data=validation,
        initial_epoch=keeper.state.epoch,
        epochs=spec.epochs,
        callbacks=[
            *getattr(model, "callbacks", ()),
            keeper,
            keras.callbacks.TensorBoard(logs, write_graph=False),
            *callbacks,
        ],
        shuffle=False,  # the pipeline has
        verbose=0,
    )


def _finish(model: keras.Model, pipeline: Any, keeper: Keeper) -> None:
    """Leaves the best model in the run folder, with what its exports will be held against."""
    run, folder = keeper.run, keeper.run.folder
    model.load_weights(keeper.best_weights)
    beside = _beside(model)
    model = model.finished() if hasattr(model, "finished") else model
    _switch_off_recurrent_dropout(model)
    window, seed = window_of(pipeline), run.spec.train.seed
    for split, count, name in KEPT:
        Replay.draw(pipeline, split, count, seed, window).save(folder / name)
    plots.history(folder / "history.csv", folder / "history.png")
    write_json(folder / "metrics.json", {**run.metrics(), "training": keeper.summary(model)})
    for name, other in beside.items():
        with replacing(run.beside(name)) as path:
            other.save(path)
    with replacing(run.model_path) as path:  # last of all: a run with a model is finished
        model.save(path)


def _beside(trainer: keras.Model) -> dict[str, keras.Model]:
    """The models that a task trains beside a run's own, by name."""
    return getattr(trainer, "beside", {})


def _switch_off_recurrent_dropout(model: keras.Model) -> None:
    """Keras draws its masks in inference too: an export would hold random numbers and their state.

    `spec.json` remembers what the model was trained with.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN):
            layer.cell.recurrent_dropout = 0.0
