"""Prediction: what a run or an export says to new input."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnapp import decoding, overrides
from rnnapp.manifests import MANIFEST, read_manifest
from rnnapp.specs import require

if TYPE_CHECKING:
    from rnnapp.tasks import Writer

BATCH = 64
_NEAREST = ("float", "float16", "dynamic")  # files of an export, the nearest to its model first
NEEDED = ("name", "spec")  # of a manifest
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
    check_policy(on_bad_input)
    return Predictor.of(source, settings)(inputs, on_bad_input)


def check_policy(on_bad_input: str) -> None:
    """Makes sure that `on_bad_input` says what to do."""
    require(on_bad_input in ("skip", "stop"), "on_bad_input", "one of skip, stop", on_bad_input)


class Predictor:
    """Answers new input, batch by batch; made once for many calls.

    Args:
        read: Makes a batch of raw inputs, or raises a ValueError or an OSError that names the one
            which cannot be used.
        answer: Answers a batch, with one for each of its inputs.

    Attributes:
        writer: What answers, of a task that writes texts; else None.
    """

    def __init__(self, read: Read, answer: Answer, writer: Writer | None = None) -> None:
        self._read, self._answer, self.writer = read, answer, writer

    @classmethod
    def of(cls, source: str | os.PathLike, settings: Sequence[str] = ()) -> Predictor:
        """Answers with a run's model, or with an export's; arguments and errors as `predict`."""
        folder = Path(source)
        if (writer := writer_of(folder, settings)) is not None:
            return cls(writer.read, writer.answers, writer)
        require(not settings, "settings", "none: this task's answers have none", list(settings))
        return cls(*(_of_export(folder) if _exported(folder) else _of_run(folder)))

    def __call__(
        self, inputs: Sequence[str | os.PathLike], on_bad_input: str = "skip"
    ) -> list[dict[str, Any]]:
        """Answers inputs; arguments and result as those of `predict`."""
        answers = []
        for start in range(0, len(inputs), BATCH):
            answers += self._answers(inputs[start : start + BATCH], on_bad_input == "skip")
        return [
            {"input": os.fspath(raw), **answer} for raw, answer in zip(inputs, answers, strict=True)
        ]

    def _answers(self, inputs: Sequence[str | os.PathLike], skip: bool) -> list[dict[str, Any]]:
        """Answers in one batch, or one by one where a file among them cannot be read."""
        try:
            batch = self._read(inputs)
        except (ValueError, OSError) as error:
            if not skip:
                raise
            if len(inputs) == 1:
                return [{"error": str(error)}]
            return [each for raw in inputs for each in self._answers([raw], skip)]
        return self._answer(batch)


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
        spec = read_manifest(folder, NEEDED)["spec"]
        make = _WRITERS.get(spec["task"])
        return make(folder, spec, settings) if make else None
    from rnnapp.runs import Run  # whose tasks load TensorFlow

    run = Run.open(folder)
    if run.task.writer is None:
        return None
    changed = changed_by(settings, run.spec.evaluation)
    return run.task.writer(run.load_model(), run.load_pipeline(), changed)


def _generator(folder: Path, spec: dict[str, Any], settings: Sequence[str]) -> Writer:
    from pipelines.text import tokenization
    from rnnapp.device import Stepper, load
    from rnnapp.generation import DeviceSteps, GenerationSpec, Generator

    changed = changed_by(settings, overrides.from_dict(GenerationSpec, spec["evaluation"]))
    steps = DeviceSteps(Stepper(load(_best_file(folder))))
    return Generator(steps, tokenization.load(folder / TOKENIZER), changed)


def _translator(folder: Path, spec: dict[str, Any], settings: Sequence[str]) -> Writer:
    from pipelines.text.sides import Sides
    from pipelines.text.spec import PairSpec
    from rnnapp.device import load
    from rnnapp.device.fixed import FixedShapes
    from rnnapp.specs import DecodingSpec
    from rnnapp.translation import Translator

    model = FixedShapes(load(_best_file(folder)))
    changed = changed_by(settings, overrides.from_dict(DecodingSpec, spec["evaluation"]))
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
    return (folder / MANIFEST).is_file()


def changed_by(settings: Sequence[str], spec: Any) -> Any:
    """A spec with `key=value` assignments applied."""
    return functools.reduce(overrides.override, settings, spec)


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

    settings, model = read_manifest(folder, NEEDED)["spec"]["pipeline"], SequenceClassifier(file)
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
