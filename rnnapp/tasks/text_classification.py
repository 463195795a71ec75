"""Text classification: which of a few labels a text has; sentiment, topic, intent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.text.labelled import TextPipeline
from pipelines.text.spec import TextSpec
from rnnapp import decoding, metrics, plots
from rnnapp.progress import Report
from rnnapp.specs import EmbeddingSpec, RNNSpec, TrainSpec
from rnnapp.tasks.base import Evaluation, NoSettings, Task

if TYPE_CHECKING:
    import keras

PRESETS = {
    # Reads forwards alone, so that it answers word by word, and runs wherever steps do.
    "streaming": ("bidirectional=false", "pooling=last"),
    # Texts of any length, read whole, with gradients through chunks of them.
    "documents": (
        "bidirectional=false",
        "pooling=mean_max",
        "max_tokens=null",
        "gradient_length=200",
    ),
    # Some thousand short sentences, learnt by heart unless much is dropped.
    "sentences": (
        "dim=200",
        "pooling=mean_max",
        "token_dropout=0.4",
        "embedding.dropout=0.5",
        "model.dropout=0.5",
    ),
    # Goes on from a small language model's encoder, which learns at the head's own rate and as much
    # of it is dropped as of one from scratch: one of a million words or two, held back or frozen,
    # judged worse (`benchmarks/sentiment.py`).
    "transfer": (
        "pooling=mean_max",
        "token_dropout=0.4",
        "embedding.dropout=0.5",
        "model.dropout=0",
        "head_dropout=0.5",
    ),
    # The same as ULMFiT has it (Howard and Ruder 2018, arXiv:1801.06146): the head first, then a
    # layer more each epoch, the lower the slower.
    "ulmfit": (
        "pooling=mean_max",
        "token_dropout=0.2",
        "embedding.dropout=0.2",
        "model.dropout=0.3",
        "schedule=slanted_triangular",
        "gradual_unfreezing=true",
        "rate_divisor=2.6",
        "learning_rate=0.01",
    ),
}


def _default_data(folder: Path, report: Report) -> None:
    """Invented reviews, made once."""
    from pipelines.text import reviews

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "reviews.csv").exists():
        reviews.write(folder / "reviews.csv", progress=report)


def _build(spec: RNNSpec, pipeline: TextPipeline) -> keras.Model:
    from rnnapp import builders

    return builders.many_to_one(
        spec,
        len(pipeline.labels),
        vocabulary_size=len(pipeline.vocabulary),
        name="text_classification",
    )


def _loss(spec: TrainSpec) -> keras.losses.Loss:
    from rnnapp.losses import SmoothedCrossentropy

    return SmoothedCrossentropy(spec.label_smoothing)


def _metrics() -> list[keras.metrics.Metric]:
    import keras

    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]


def _score(evaluation: Evaluation) -> dict[str, Any]:
    figures = metrics.classification(
        evaluation.targets, evaluation.logits, evaluation.pipeline.labels
    )
    return {**figures, **metrics.calibration(evaluation.targets, evaluation.logits)}


def _plot(evaluation: Evaluation, folder: Path) -> list[Path]:
    figures = _score(evaluation)
    confusion = folder / f"confusion_{evaluation.name}.png"
    reliability = folder / f"reliability_{evaluation.name}.png"
    return [
        plots.confusion(np.array(figures["confusion"]), evaluation.pipeline.labels, confusion),
        plots.reliability(figures["reliability"], figures["calibration_error"], reliability),
    ]


def _decode(pipeline: TextPipeline, logits: np.ndarray) -> list[dict[str, Any]]:
    return [decoding.classification(row, pipeline.labels) for row in metrics.softmax(logits)]


TASK = Task(
    name="text_classification",
    summary="which of a few labels a text has: sentiment, topic, intent",
    pipeline=TextPipeline,
    pipeline_spec=TextSpec(),
    model=RNNSpec(
        cell="lstm",
        units=64,
        num_layers=1,
        bidirectional=True,
        dropout=0.3,
        pooling="max",
        embedding=EmbeddingSpec(dim=64, token_dropout=0.1, dropout=0.2),
    ),
    train=TrainSpec(epochs=8, batch_size=64, learning_rate=3e-3, label_smoothing=0.05),
    evaluation_spec=NoSettings(),
    default_data=_default_data,
    build=_build,
    loss=_loss,
    metrics=_metrics,
    objective=("val_accuracy", "max"),
    score=_score,
    plot=_plot,
    decode=_decode,
    presets=PRESETS,
)
