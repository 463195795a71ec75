"""Prediction: what a run or an export says to new input."""

from __future__ import annotations

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
    from rnnapp.generation import Generator

BATCH = 64
_NEAREST = ("float", "float16", "dynamic")  # files of an export, the nearest to its model first
LANGUAGE_MODEL = "language_model"
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
        label; of a task that writes texts, with `text`; or with `error`, which says why it cannot
        be used.

    Raises:
        ValueError: If `source` is neither; or a file cannot be used, where `on_bad_input` is
            "stop". The message names it.
        OSError: If a file cannot be read, where `on_bad_input` is "stop".
    """
    require(on_bad_input in ("skip", "stop"), "on_bad_input", "one of skip, stop", on_bad_input)
    folder = Path(source)
    if (generator := generator_of(folder, settings)) is not None:
        read, answer = _of_generator(generator)
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


def generator_of(source: str | os.PathLike, settings: Sequence[str] = ()) -> Generator | None:
    """What writes texts by a run's or an export's model.

    Args:
        source: A run folder or an export folder.
        settings: `key=value` assignments to the settings that the run was begun with.

    Returns:
        A generator; None if the task's models write no texts.

    Raises:
        ValueError: If `source` is neither, or a setting is wrong.
    """
    folder = Path(source)
    if not _exported(folder):
        from rnnapp.runs import Run  # whose tasks load TensorFlow

        run = Run.open(folder)
        if run.task.generator is None:
            return None
        spec = _changed(run.spec.evaluation, settings)
        return run.task.generator(run.load_model(), run.load_pipeline(), spec)
    spec = _manifest(folder)["spec"]
    if spec["task"] != LANGUAGE_MODEL:
        return None
    from pipelines.text import tokenization
    from rnnapp.device import Stepper, load
    from rnnapp.generation import DeviceSteps, GenerationSpec, Generator

    spec = _changed(overrides.from_dict(GenerationSpec, spec["evaluation"]), settings)
    steps = DeviceSteps(Stepper(load(_best_file(folder))))
    return Generator(steps, tokenization.load(folder / TOKENIZER), spec)


def prompts_of(inputs: Sequence[str | os.PathLike]) -> list[str]:
    """What texts are to go on from: as given, or what `.txt` files hold.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is empty, or no UTF-8.
    """
    from pipelines.text import files

    return [files.text_of(os.fspath(each)) for each in inputs]


def _of_generator(generator: Generator) -> tuple[Read, Answer]:
    return (
        prompts_of,
        lambda prompts: [{"text": p + "".join(generator.write(p))} for p in prompts],
    )


def _exported(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


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
    model, pipeline = run.load_model(), run.load_pipeline()
    return (
        lambda paths: pipeline.encode(*paths),
        lambda batch: run.task.decode(pipeline, model.predict_on_batch(batch)),
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
