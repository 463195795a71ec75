"""Prediction: what a run or an export says to new input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.runs import Run

BATCH = 64


def predict(source: str | os.PathLike, inputs: Sequence[str | os.PathLike]) -> list[dict[str, Any]]:
    """Answers new input with a run's model, or with an export's.

    Args:
        source: A run folder or an export folder.
        inputs: Files of the kind that the task was trained on.

    Returns:
        An answer each, in the order of `inputs`: `input`, `label` and `probabilities` by label.

    Raises:
        ValueError: If `source` is neither, or a file cannot be used; the message names it.
    """
    folder = Path(source)
    if (folder / "manifest.json").is_file():
        answers = _by_export(folder, inputs)
    else:
        answers = _by_run(Run.open(folder), inputs)
    return [
        {"input": os.fspath(path), **answer} for path, answer in zip(inputs, answers, strict=True)
    ]


def _by_run(run: Run, inputs: Sequence[str | os.PathLike]) -> list[dict[str, Any]]:
    model, pipeline = run.load_model(), run.load_pipeline()
    answers = []
    for start in range(0, len(inputs), BATCH):
        batch = pipeline.encode(*inputs[start : start + BATCH])
        answers += run.task.decode(pipeline, model.predict_on_batch(batch))
    return answers


def _by_export(folder: Path, inputs: Sequence[str | os.PathLike]) -> list[dict[str, Any]]:
    """On the device runner, without TensorFlow."""
    from rnnapp.device import Classifier, audio

    files = sorted((folder / "device").glob("*.tflite"))
    if not files:
        raise ValueError(
            f"{folder} must hold a TFLite file to predict with. Export with "
            "--formats all, or give the run folder."
        )
    best = next((path for path in files if path.stem == "float"), files[0])
    classifier = Classifier(best)
    answers = []
    for path in inputs:
        samples = audio.read(path, classifier.sample_rate)
        probabilities = classifier.predict(samples)
        order = np.argsort(-probabilities)
        answers.append(
            {
                "label": classifier.labels[order[0]],
                "probabilities": {classifier.labels[i]: float(probabilities[i]) for i in order},
            }
        )
    return answers
