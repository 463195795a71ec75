"""What a task is: the one place where data meets models."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rnnapp import overrides
from rnnapp.progress import Report
from rnnapp.specs import TrainSpec, require

if TYPE_CHECKING:
    import keras
    import numpy as np


class Writer(Protocol):
    """What answers texts with texts."""

    def read(self, inputs: Sequence[str | os.PathLike]) -> list[str]:
        """The texts of inputs, or of the files that they name; an error where one is bad."""

    def answers(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """For each `text`, and what else there is to say."""


@dataclass(frozen=True)
class NoSettings:
    """Of what a task has nothing to set."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that a run was asked for; `spec.json` in its folder.

    Args:
        task: The task's name.
        data: A folder, file or `tfds:` name; None for the task's own default data.
        model: The model's settings, a dataclass.
        train: The training.
        pipeline: The task's pipeline settings, a dataclass.
        evaluation: The task's evaluation settings, a dataclass.
    """

    task: str
    data: str | None
    model: Any
    train: TrainSpec
    pipeline: Any
    evaluation: Any


@dataclass(frozen=True)
class Evaluation:
    """A trained model's answers on one split.

    Args:
        model: The model.
        pipeline: The fitted pipeline.
        name: "train", "validation" or "test", or the name of other data; part of pictures' names.
        targets: Labels, int32 (examples,).
        logits: The model's outputs, float32 (examples, classes).
    """

    model: keras.Model
    pipeline: Any
    name: str
    targets: np.ndarray
    logits: np.ndarray


def _as_it_is(model: keras.Model) -> keras.Model:
    return model


@dataclass(frozen=True)
class Task:
    """A use of recurrent models: its data, model, loss and measures.

    Args:
        name: As in `rnnapp train NAME`.
        summary: One line for `rnnapp list`.
        pipeline: The pipeline's class, made from its settings.
        pipeline_spec: The settings' defaults.
        model: The defaults of the model's settings.
        train: The training's defaults.
        evaluation_spec: The evaluation's defaults.
        default_data: Makes the embedded data in a folder, offline, unless they are there.
        build: The Keras model of a spec and a fitted pipeline.
        loss: The training loss.
        metrics: Keras metrics to watch in training.
        objective: The validation metric that picks the best epoch, and which way is better.
        score: Figures of an evaluation, as JSON.
        plot: Pictures of an evaluation, written to a folder.
        decode: A batch of logits as answers for people; None for a task that has a writer.
        listen: Figures of the model as a stream hears it, in named groups, as JSON, with pictures
            in the folder; None for a task whose models are asked for whole sequences alone.
        trainer: What `fit` is called on in the place of a model, of the model, its settings and the
            training's: it has `callbacks` for `fit`, and gives the trained model by `finished()`;
            what a run keeps beside it, by `beside`. None fits the model itself.
        answers: What `score` and `plot` judge, of a model, a pipeline with data, a split, the
            evaluation's name and settings, and whom to report to; None asks for one answer to each
            example.
        writer: Writes texts by a model, of the model, a pipeline and settings of
            `evaluation_spec`; None for a task whose models write none.
        exported: The model that exports hold, made of a trained one: it answers once for a whole
            sequence.
        presets: Named bundles of `key=value` assignments, as `--preset` takes them.
    """

    name: str
    summary: str
    pipeline: type[Any]
    pipeline_spec: Any
    model: Any
    train: TrainSpec
    evaluation_spec: Any
    default_data: Callable[[Path, Report], None]
    build: Callable[[Any, Any], keras.Model]
    loss: Callable[[TrainSpec], keras.losses.Loss]
    metrics: Callable[[], Sequence[keras.metrics.Metric]]
    objective: tuple[str, Literal["max", "min"]]
    score: Callable[[Evaluation], dict[str, Any]]
    plot: Callable[[Evaluation, Path], list[Path]]
    decode: Callable[[Any, np.ndarray], list[dict[str, Any]]] | None = None
    listen: Callable[[keras.Model, Any, Any, Path, Report], dict[str, dict[str, Any]]] | None = None
    trainer: Callable[[keras.Model, Any, TrainSpec], keras.Model] | None = None
    answers: Callable[[keras.Model, Any, str, str, Any, Report], Any] | None = None
    writer: Callable[[keras.Model, Any, Any], Writer] | None = None
    exported: Callable[[keras.Model], keras.Model] = _as_it_is
    presets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def spec(self, data: str | None = None, assignments: Sequence[str] = ()) -> RunSpec:
        """The default run with assignments applied: `key=value`, or `preset=NAME`.

        Raises:
            ValueError: If a name or value is wrong; the message lists the valid ones.
        """
        spec = RunSpec(
            self.name, data, self.model, self.train, self.pipeline_spec, self.evaluation_spec
        )
        return self.changed(spec, assignments)

    def changed(self, spec: RunSpec, assignments: Sequence[str]) -> RunSpec:
        """A run's spec with assignments applied, as in `spec`.

        Args:
            spec: The spec of a run of this task.
            assignments: `key=value`, or `preset=NAME`.

        Raises:
            ValueError: If a name or value is wrong; the message lists the valid ones.
        """
        for assignment in assignments:
            for single in self._expanded(assignment):
                spec = overrides.override(spec, single)
        require(spec.task == self.name, "task", repr(self.name), spec.task)
        front = getattr(spec.model, "front", None)
        require(
            not (spec.train.jit_compile and front and front.prelude_share),
            "prelude_share",
            "0 with jit_compile=true: XLA compiles anew for each length that a prelude has",
            front and front.prelude_share,
        )
        return spec

    def _expanded(self, assignment: str) -> Sequence[str]:
        """A preset's assignments, or the assignment itself."""
        key, _, name = assignment.partition("=")
        if key.strip() != "preset":
            return (assignment,)
        if name not in self.presets:
            raise ValueError(
                f"{self.name} has no preset {name!r}. Valid names: "
                + (", ".join(self.presets) or "none")
            )
        return self.presets[name]

    def spec_from_dict(self, values: Mapping[str, Any]) -> RunSpec:
        """A spec as `spec.json` holds it."""
        nested = {
            "model": overrides.from_dict(type(self.model), values["model"]),
            "train": overrides.from_dict(TrainSpec, values["train"]),
            "pipeline": overrides.from_dict(type(self.pipeline_spec), values["pipeline"]),
            "evaluation": overrides.from_dict(type(self.evaluation_spec), values["evaluation"]),
        }
        return dataclasses.replace(self.spec(values["data"]), **nested)
