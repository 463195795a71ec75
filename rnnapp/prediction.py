"""Prediction: what a run or an export says to new input."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnapp import decoding, overrides
from rnnapp.specs import require

if TYPE_CHECKING:
    from rnnapp.tasks import Writer

BATCH = 64
_NEAREST = ("float", "float16", "dynamic")  # files of an export, the nearest to its model first
TOKENIZER = "tokenizer"  # the folder of an export of texts that says how they become token ids

Read = Callable[[Sequence[str | os.PathLike]], Any]
Answer = Callable[[Any], list[dict[str, Any]]]


def predict(
    source: str | os.PathLike,
    inputs: Sequence[str | os.PathLike],
    *,
    settings: Sequence[str] = (),
    on_bad_input: str = "skip",
) -> list[dict[str, Any]]:
    """Answers new input with a run's model, or with an export's.

    Args:
        source: A run folder or an export folder.
        inputs: Files of the kind that the task was trained on; of a task of texts, texts or paths
            of `.txt` files.
        settings: `key=value` assignments to the task's evaluation settings, `temperature=0.5` say.
        on_bad_input: "skip" answers the other files, "stop" raises at the first that cannot be
            used.

    Returns:
        One for each of `inputs`, in their order: `input` with `label` and `probabilities` by
        label; of a task that writes texts, with `text` (of a translation, with its `score` and
        `alternatives` as well); or with `error`, which says why it cannot
        be used.

    Raises:
        ValueError: If `source` is neither; or a file cannot be used, where `on_bad_input` is
            "stop". The message names it.
        OSError: If a file cannot be read, where `on_bad_input` is "stop".
    """
    require(on_bad_input in ("skip", "stop"), "on_bad_input", "one of skip, stop", on_bad_input)
    folder = Path(source)
    read: Read
    answer: Answer
    if (writer := writer_of(folder, settings)) is not None:
        read, answer = writer.read, writer.answers
    else:
        require(not settings, "settings", "none: this task's answers have none", list(settings))
        read, answer = _of_export(folder) if _exported(folder) else _of_run(folder)
    answers = []
    for start in range(0, len(inputs), BATCH):
        batch = inputs[start : start + BATCH]
        answers += _answers(read, answer, batch, skip=on_bad_input == "skip")
    return [
        {"input": os.fspath(path), **answer} for path, answer in zip(inputs, answers, strict=True)
    ]


def writer_of(source: str | os.PathLike, settings: Sequence[str] = ()) -> Writer | None:
    """What writes texts by a run's or an export's model.

    Args:
        source: A run folder or an export folder.
        settings: `key=value` assignments to the settings that the run was begun with.

    Returns:
        A `Generator` or a `Translator`; None if the task's models write no texts.

    Raises:
        ValueError: If `source` is neither, or a setting is wrong.
    """
    folder = Path(source)
    if _exported(folder):
        spec = _manifest(folder)["spec"]
        make = _WRITERS.get(spec["task"])
        return make(folder, spec, settings) if make else None
    from rnnapp.runs import Run  # whose tasks load TensorFlow

    run = Run.open(folder)
    if run.task.writer is None:
        return None
    changed = _changed(run.spec.evaluation, settings)
    return run.task.writer(run.load_model(), run.load_pipeline(), changed)


def _generator(folder: Path, spec: dict[str, Any], settings: Sequence[str]) -> Writer:
    from pipelines.text import tokenization
    from rnnapp.device import Stepper, load
    from rnnapp.generation import DeviceSteps, GenerationSpec, Generator

    changed = _changed(overrides.from_dict(GenerationSpec, spec["evaluation"]), settings)
    steps = DeviceSteps(Stepper(load(_best_file(folder))))
    return Generator(steps, tokenization.load(folder / TOKENIZER), changed)


def _translator(folder: Path, spec: dict[str, Any], settings: Sequence[str]) -> Writer:
    from pipelines.text.sides import Sides
    from pipelines.text.spec import PairSpec
    from rnnapp.device import load
    from rnnapp.device.fixed import FixedShapes
    from rnnapp.translation import Translator
    from rnnapp.translation_spec import DecodingSpec

    model = FixedShapes(load(_best_file(folder)))
    changed = _changed(overrides.from_dict(DecodingSpec, spec["evaluation"]), settings)
    read = overrides.from_dict(PairSpec, spec["pipeline"])
    longest = min(read.max_tokens or model.max_source_length, model.max_source_length)
    read = dataclasses.replace(read, max_tokens=longest)
    return Translator(model, Sides.load(folder / TOKENIZER), read, changed)


# What writes by an export, without TensorFlow, by the task.
_WRITERS: dict[str, Callable[[Path, dict[str, Any], Sequence[str]], Writer]] = {
    "language_model": _generator,
    "translation": _translator,
}


def _exported(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def _manifest(folder: Path) -> dict[str, Any]:
    """What an export was made from.

    Raises:
        ValueError: If the folder holds another manifest: web pages have one as well.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["spec"]["task"] + manifest["name"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{folder} must be a run or an export folder, as `rnnapp train` and `rnnapp export` "
            f"write them. Received: another {path.name}: {error!r}"
        ) from error
    return manifest


def _changed(spec: Any, settings: Sequence[str]) -> Any:
    return functools.reduce(overrides.override, settings, spec)


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


def _of_run(folder: Path) -> tuple[Read, Answer]:
    from rnnapp.runs import Run

    run = Run.open(folder)
    model, pipeline, decode = run.load_model(), run.load_pipeline(), run.task.decode
    assert decode  # tasks without it have writers
    return (
        lambda paths: pipeline.encode(*paths),
        lambda batch: decode(pipeline, model.predict_on_batch(batch)),
    )


def _of_export(folder: Path) -> tuple[Read, Answer]:
    """On the device runner, without TensorFlow."""
    file = _best_file(folder)
    return _of_texts(folder, file) if (folder / TOKENIZER).is_dir() else _of_sound(file)


def _best_file(folder: Path) -> Path:
    """The TFLite file of an export that is nearest to the model.

    Raises:
        ValueError: If it has none.
    """
    files = sorted((folder / "device").glob("*.tflite"))
    if not files:
        raise ValueError(
            f"{folder} must hold a TFLite file to predict with. Export with "
            "--formats all, or give the run folder."
        )
    by_name = {path.stem: path for path in files}
    return next((by_name[name] for name in _NEAREST if name in by_name), files[0])


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

    settings, model = _manifest(folder)["spec"]["pipeline"], SequenceClassifier(file)
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
