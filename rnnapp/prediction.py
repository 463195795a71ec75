"""Prediction: what a run or an export says to new input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp import decoding
from rnnapp.runs import Run
from rnnapp.specs import require

BATCH = 64
TOKENIZER = "tokenizer"  # the folder of an export of texts that says how they become token ids

Read = Callable[[Sequence[str | os.PathLike]], Any]
Answer = Callable[[Any], list[dict[str, Any]]]


def predict(
    source: str | os.PathLike,
    inputs: Sequence[str | os.PathLike],
    *,
    on_bad_input: str = "skip",
) -> list[dict[str, Any]]:
    """Answers new input with a run's model, or with an export's.

    Args:
        source: A run folder or an export folder.
        inputs: Files of the kind that the task was trained on; of a task of texts, texts or paths
            of `.txt` files.
        on_bad_input: "skip" answers the other files, "stop" raises at the first that cannot be
            used.

    Returns:
        One for each of `inputs`, in their order: `input` with `label` and `probabilities` by
        label, or with `error`, which says why the file cannot be used.

    Raises:
        ValueError: If `source` is neither; or a file cannot be used, where `on_bad_input` is
            "stop". The message names it.
        OSError: If a file cannot be read, where `on_bad_input` is "stop".
    """
    require(on_bad_input in ("skip", "stop"), "on_bad_input", "one of skip, stop", on_bad_input)
    folder = Path(source)
    exported = (folder / "manifest.json").is_file()
    read, answer = _of_export(folder) if exported else _of_run(Run.open(folder))
    answers = []
    for start in range(0, len(inputs), BATCH):
        batch = inputs[start : start + BATCH]
        answers += _answers(read, answer, batch, skip=on_bad_input == "skip")
    return [
        {"input": os.fspath(path), **answer} for path, answer in zip(inputs, answers, strict=True)
    ]


def _answers(
    read: Read, answer: Answer, paths: Sequence[str | os.PathLike], skip: bool
) -> list[dict[str, Any]]:
    """Answers in one batch, or one by one where a file among them cannot be read."""
    try:
        batch = read(paths)
    except (ValueError, OSError) as error:
        if not skip:
            raise
        if len(paths) == 1:
            return [{"error": str(error)}]
        return [each for path in paths for each in _answers(read, answer, [path], skip)]
    return answer(batch)


def _of_run(run: Run) -> tuple[Read, Answer]:
    model, pipeline = run.load_model(), run.load_pipeline()
    return (
        lambda paths: pipeline.encode(*paths),
        lambda batch: run.task.decode(pipeline, model.predict_on_batch(batch)),
    )


def _of_export(folder: Path) -> tuple[Read, Answer]:
    """On the device runner, without TensorFlow."""
    files = sorted((folder / "device").glob("*.tflite"))
    if not files:
        raise ValueError(
            f"{folder} must hold a TFLite file to predict with. Export with "
            "--formats all, or give the run folder."
        )
    best = next((path for path in files if path.stem == "float"), files[0])
    return _of_texts(folder, best) if (folder / TOKENIZER).is_dir() else _of_sound(best)


def _of_sound(file: Path) -> tuple[Read, Answer]:
    from rnnapp.device import Classifier, audio

    model = Classifier(file)
    return (
        lambda paths: [audio.read(path, model.sample_rate) for path in paths],
        lambda clips: [decoding.classification(model.predict(c), model.labels) for c in clips],
    )


def _of_texts(folder: Path, file: Path) -> tuple[Read, Answer]:
    from pipelines.text import files, tokenization
    from rnnapp.device import SequenceClassifier

    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    settings, model = manifest["spec"]["pipeline"], SequenceClassifier(file)
    tokenizer = tokenization.load(folder / TOKENIZER)

    def read(inputs: Sequence[str | os.PathLike]) -> list[list[int]]:
        texts = [files.usable(os.fspath(raw), settings["encoding"]) for raw in inputs]
        return [tokenizer.encode(text)[: settings["max_tokens"]] for text in texts]

    return (
        read,
        lambda texts: [
            decoding.classification(model.predict(np.array(ids)), model.labels) for ids in texts
        ],
    )
