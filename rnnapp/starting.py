"""What a run takes over from the run that it starts from: form, tokenizer, weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from pipelines.text import tokenization
from rnnapp.runs import Run
from rnnapp.specs import EmbeddingSpec, LanguageSpec, RNNSpec, require
from rnnapp.tasks import RunSpec, task_named

FORM = ("cell", "units", "last_units", "num_layers", "bidirectional")
# Tasks whose models may begin with the encoder of another task's.
ENCODERS = {"text_classification": "language_model"}


def begun(spec: RunSpec) -> Run | None:
    """The run that another starts from, if it starts from one.

    Args:
        spec: What the other run was asked for.

    Raises:
        ValueError: If that run is not finished, or of a task that is no start for this one; or if
            layers shall be unfrozen that nobody has trained.
    """
    unfreezing, start = spec.train.gradual_unfreezing, spec.train.start
    if start is None:
        must = "false without a run to start from: what is unfrozen later must have learnt before"
        require(not unfreezing, "gradual_unfreezing", must, unfreezing)
        return None
    run = Run.open(start)
    tasks = [spec.task, *([ENCODERS[spec.task]] if spec.task in ENCODERS else [])]
    must = f"a run of {' or '.join(tasks)}"
    require(run.spec.task in tasks, "start", must, f"{start}, a run of {run.spec.task}")
    must = f"a finished run: rnnapp train {run.spec.task} --out {start} --resume"
    require(run.model_path.is_file(), "start", must, start)
    return run


def adapted(spec: RunSpec, settings: Sequence[str]) -> RunSpec:
    """A spec with the form and the tokenizer's settings of the run that it starts from.

    Args:
        spec: What was asked for.
        settings: The assignments that made it of the task's defaults.

    Raises:
        ValueError: If that run is no start for it, or one of the settings gives an encoder that is
            taken over another form.
    """
    run = begun(spec)
    if run is None:
        return spec
    task, theirs = task_named(spec.task), run.spec
    same = theirs.task == spec.task
    base = dataclasses.replace(
        task.spec(spec.data),
        model=theirs.model if same else _with_encoder(task.model, theirs.model),
        pipeline=_with_tokenizer(task.pipeline_spec, theirs.pipeline),
    )
    changed = task.changed(base, settings)
    if not same:
        _require_encoder(changed.model, run)
    return changed


def _with_tokenizer(pipeline: Any, theirs: Any) -> Any:
    """The settings of a pipeline, of texts with the other's tokenizer."""
    names = [
        name for name in tokenization.SETTINGS if hasattr(pipeline, name) and hasattr(theirs, name)
    ]
    return dataclasses.replace(pipeline, **{name: getattr(theirs, name) for name in names})


def _with_encoder(model: RNNSpec, theirs: LanguageSpec) -> RNNSpec:
    """The settings of a model with a language model's encoder."""
    last = theirs.last_units
    return dataclasses.replace(
        model,
        cell=theirs.cell,
        units=theirs.units,
        last_units=last if last != theirs.units else None,
        num_layers=theirs.num_layers,
        bidirectional=theirs.bidirectional,
        embedding=dataclasses.replace(model.embedding or EmbeddingSpec(), dim=theirs.embedding.dim),
    )


def _require_encoder(model: RNNSpec, run: Run) -> None:
    wanted = _with_encoder(model, run.spec.model)
    for name in (*FORM, "embedding"):
        must = f"{getattr(wanted, name)!r}, as in the language model {run.folder}"
        require(getattr(model, name) == getattr(wanted, name), name, must, getattr(model, name))


def new_pipeline(run: Run) -> Any:
    """A run's pipeline before it is fitted, with the tokenizer of the run that it starts from.

    A vocabulary taken over whole keeps one tokenizer for model and exports; matching rows would
    give the model words that its encoder never saw, to be learnt of a few labelled texts.

    Args:
        run: The run.

    Raises:
        ValueError: If its settings ask for another tokenizer.
    """
    start = begun(run.spec)
    tokenizer = getattr(start.load_pipeline(), "tokenizer", None) if start else None
    make, spec = run.task.pipeline, run.spec.pipeline
    return make(spec) if tokenizer is None else make(spec, tokenizer)


def take_over(run: Run, model: keras.Model, pipeline: Any) -> None:
    """Gives a model the weights of the run that it starts from: all, or those of its encoder.

    Args:
        run: The run of the model.
        model: Built, with drawn weights.
        pipeline: Fitted.

    Raises:
        ValueError: If they do not fit, or have learnt another vocabulary or other labels.
    """
    start = begun(run.spec)
    if start is None:
        return
    theirs = start.load_pipeline()
    same = getattr(pipeline, "vocabulary", None) == getattr(theirs, "vocabulary", None)
    require(same, "start", "a run of the same vocabulary, token for token", start.folder)
    other = start.load_model()
    if start.spec.task != run.spec.task:
        _take_encoder(model, other, start)
        return
    labels, known = (getattr(each, "labels", None) for each in (pipeline, theirs))
    require(labels == known, "start", f"a run with the labels {labels}", known)
    _take_all(model, other, start)


def take_over_beside(run: Run, beside: dict[str, keras.Model]) -> None:
    """Gives what a run trains beside its model the weights of what was trained so before.

    Args:
        run: The run.
        beside: Models by name. One that the run that this one starts from had not stays as drawn,
            but for what it shares with the run's own.
    """
    start = begun(run.spec) if beside else None
    for name, model in beside.items():
        if start is not None and start.beside(name).is_file():
            model.set_weights(start.load_model(beside=name).get_weights())


def _take_encoder(model: keras.Model, other: keras.Model, start: Run) -> None:
    spec = start.spec.model
    embeddings = other.get_layer("embedding").embeddings  # alone: a tied one has a bias, too
    model.get_layer("embedding").embeddings.assign(embeddings)
    if spec.bidirectional:
        name, both = f"{spec.cell}_1", model.get_layer("bidirectional_1")
        both.forward_layer.set_weights(other.get_layer(name).get_weights())
        backwards = start.load_model(beside="backwards")
        both.backward_layer.set_weights(backwards.get_layer(name).get_weights())
        return
    for number in range(1, spec.num_layers + 1):
        name = f"{spec.cell}_{number}"
        model.get_layer(name).set_weights(other.get_layer(name).get_weights())


def _take_all(model: keras.Model, other: keras.Model, start: Run) -> None:
    shapes, theirs = ([w.shape for w in m.weights] for m in (model, other))
    if shapes != theirs:
        raise ValueError(
            f"`start` must be a run of a model of the same form: give this one the settings that "
            f"{start.folder / 'spec.json'} has under `model`. Received: weights of shapes {theirs} "
            f"for {shapes}"
        )
    model.set_weights(other.get_weights())
