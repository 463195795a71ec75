"""Evaluation: what a trained model is worth, as figures and pictures."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from rnnapp import progress
from rnnapp.layers.streaming import streams
from rnnapp.runs import Run, absolute, write_json
from rnnapp.tasks import Evaluation


def evaluate(
    run: str | os.PathLike | Run,
    data: str | os.PathLike | None = None,
    split: str = "test",
    *,
    listen: bool = True,
    pipeline: Any = None,
) -> dict[str, Any]:
    """Evaluates a trained model, and leaves figures and pictures in the run folder.

    Args:
        run: A run folder.
        data: Other data than the run's own, all of it the test split; None for the run's.
        split: Of the run's own data.
        listen: Also judge the model as a listener over a long recording (the run's own test
            split, a causal model), which chooses the threshold that exports carry.
        pipeline: The run's pipeline with the run's own data, where it is at hand.

    Returns:
        The figures, as JSON types.

    Raises:
        ValueError: If the run, data or split is wrong.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if pipeline is None or data is not None:
        pipeline = _open(run, data)
    known = run.metrics()
    evaluations = known.setdefault("evaluation", {})
    name = split if data is None else _name(data, evaluations)
    evaluation = answer(run, pipeline, split if data is None else "test", name)
    figures = {"data": absolute(data or run.spec.data or "default"), **run.task.score(evaluation)}
    evaluations[name] = figures
    write_json(run.folder / "metrics.json", known)
    pictures = run.task.plot(evaluation, run.folder)
    if listen and data is None and split == "test":
        figures = {**figures, **_listened(run, evaluation)}
    return {**figures, "pictures": [str(path) for path in pictures]}


def answer(run: Run, pipeline: Any, split: str = "test", name: str | None = None) -> Evaluation:
    """A trained model's answers, to be scored or drawn; nothing is written.

    Args:
        run: The run.
        pipeline: Its pipeline, with any data.
        split: Of those data.
        name: What the evaluation is called; the split by default.

    Returns:
        The answers.

    Raises:
        ValueError: If the run is not finished, or the split is unknown or empty.
    """
    model = run.load_model()
    if run.task.answers:
        with progress.bar("Evaluating") as report:
            settings = run.spec.evaluation
            return run.task.answers(model, pipeline, split, name or split, settings, report)
    targets, logits = _answers(model, pipeline, split, run.spec.train.batch_size)
    return Evaluation(model, pipeline, name or split, targets, logits)


def _listened(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    """The model's figures as a listener, which join those in the run folder."""
    if run.task.listen is None or not streams(evaluation.model):
        return {}
    with progress.bar("Listening") as report:
        heard = run.task.listen(
            evaluation.model, evaluation.pipeline, run.spec.evaluation, run.folder, report
        )
    write_json(run.folder / "metrics.json", {**run.metrics(), **heard})
    return {name: value for group in heard.values() for name, value in group.items()}


def _name(data: str | os.PathLike, evaluations: dict[str, Any]) -> str:
    """What the figures on other data stand under: the same data under the same name."""
    # Not the bare name: a folder may be called `test`.
    name = re.sub(r"\W+", "_", f"data_{Path(data).name}")
    numbered = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(
        each
        for each in numbered
        if each not in evaluations or evaluations[each]["data"] == absolute(data)
    )


def _open(run: Run, data: str | os.PathLike | None) -> Any:
    """The run's pipeline with data: its own, or other data that is all test."""
    source = run.data() if data is None else os.fspath(data)
    with progress.bar("Reading the data") as report:
        return run.load_pipeline().open(source, test_only=data is not None, progress=report)


def _answers(
    model: keras.Model, pipeline: Any, split: str, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (examples,) and logits (examples, classes)."""
    targets, logits = [], []
    dataset = pipeline.dataset(split, batch_size)
    total = int(dataset.cardinality())
    with progress.bar("Evaluating") as report:
        for done, (inputs, labels) in enumerate(dataset, 1):
            logits.append(model.predict_on_batch(inputs))
            targets.append(labels.numpy())
            report(done, total)
    return np.concatenate(targets), np.concatenate(logits)
