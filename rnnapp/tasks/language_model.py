"""Language models: what comes next in running text, by characters, words or subwords.

The default learns 200,000 characters of invented tales. `rnnapp train language_model --data FILE`
reads any text; `benchmarks/language_model.py` says what it reached on Shakespeare and on WikiText.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.base import SPLITS
from pipelines.text.corpus import CorpusPipeline
from pipelines.text.spec import CorpusSpec
from rnnapp import plots
from rnnapp.generation import GenerationSpec, Generator, KerasSteps
from rnnapp.progress import Report
from rnnapp.specs import EmbeddingSpec, LanguageSpec, TrainSpec
from rnnapp.tasks.base import Evaluation, Task

if TYPE_CHECKING:
    import keras

EXCERPT = 1000  # tokens that are drawn

PRESETS = {
    # A megabyte of text by characters, in half an hour on two cores.
    "characters": (
        "units=512",
        "num_layers=2",
        "embedding.dim=128",
        "embedding.dropout=0.1",
        "model.dropout=0.3",
        "output_dropout=0.3",
        "weight_drop=0.2",
        "batch_size=32",
        "epochs=11",
        "learning_rate=0.003",
        "weight_decay=0.01",
    ),
    # Some hundred thousand words, parted by spaces already, a document a line.
    "words": (
        "tokens=whitespace",
        "document=line",
        "sequence_length=35",
        "units=400",
        "num_layers=2",
        "embedding.dim=256",
        "tied=true",
        "token_dropout=0.1",
        "embedding.dropout=0.4",
        "model.dropout=0.3",
        "output_dropout=0.5",
        "weight_drop=0.5",
        "activation_regularization=2",
        "temporal_regularization=1",
        "batch_size=32",
        "epochs=30",
        "learning_rate=0.003",
        "weight_decay=0.05",
    ),
    # A million words or two, a document a line, for text classification to start from.
    "encoder": (
        "bidirectional=true",
        "tokens=words",
        "document=line",
        "sequence_length=35",
        "vocabulary_size=30000",
        "min_count=2",
        "units=200",
        "num_layers=1",
        "embedding.dim=200",
        "tied=true",
        "projection=true",
        "softmax=sampled",
        "embedding.dropout=0.1",
        "output_dropout=0.2",
        "batch_size=32",
        "epochs=6",
        "learning_rate=0.002",
        "weight_decay=0.01",
    ),
}


def _default_data(folder: Path, report: Report) -> None:
    """Invented tales, written once."""
    from pipelines.text import tales

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tales.txt").exists():
        tales.write(folder / "tales.txt", progress=report)


def _build(spec: LanguageSpec, pipeline: CorpusPipeline) -> keras.Model:
    from rnnapp.language import language_model

    return language_model(spec, len(pipeline.vocabulary))


def _trainer(model: keras.Model, spec: LanguageSpec, train: TrainSpec) -> keras.Model:
    from rnnapp.backpropagation import TruncatedBackpropagation

    return TruncatedBackpropagation(model, spec, train)


def _loss(spec: TrainSpec) -> keras.losses.Loss:
    from rnnapp.token_losses import TokenCrossentropy

    return TokenCrossentropy(spec.label_smoothing)


def _metrics() -> list[keras.metrics.Metric]:
    return []  # the loss says it all, in nats


def _answers(
    model: keras.Model,
    pipeline: CorpusPipeline,
    split: str,
    name: str,
    settings: GenerationSpec,
    report: Report,
) -> Evaluation:
    """The tokens of a split, and the log-probability of each after all those before it."""
    from rnnapp.backpropagation import log_probabilities

    token_ids, said = [], []
    dataset = pipeline.dataset(split, 1)  # one row: no token but the first lacks its past
    for done, (targets, logs) in enumerate(log_probabilities(model, dataset), 1):
        token_ids.append(targets[targets != 0])
        said.append(logs[targets != 0])
        report(done, int(dataset.cardinality()))
    return Evaluation(model, pipeline, name, np.concatenate(token_ids), np.concatenate(said))


def _score(evaluation: Evaluation) -> dict[str, Any]:
    split = evaluation.name if evaluation.name in SPLITS else "test"
    characters = evaluation.pipeline.characters[split]
    nats = -evaluation.logits.astype(np.float64)
    return {
        "tokens": len(nats),
        "characters": characters,
        "nats_per_token": float(nats.mean()),
        "perplexity": float(np.exp(nats.mean())),
        "bits_per_character": float(nats.sum() / math.log(2) / characters),
    }


def _plot(evaluation: Evaluation, folder: Path) -> list[Path]:
    """The beginning of the split, each token as surprising as it was."""
    vocabulary = evaluation.pipeline.vocabulary
    tokens = [vocabulary[token] for token in evaluation.targets[:EXCERPT]]
    gap = evaluation.pipeline.spec.tokens != "characters"
    picture = folder / f"surprise_{evaluation.name}.png"
    return [plots.surprise(tokens, -evaluation.logits[:EXCERPT], picture, gap=gap)]


def _exported(model: keras.Model) -> keras.Model:
    """A model of what follows a whole text."""
    import keras

    from rnnapp.language import head_of
    from rnnapp.layers import LastTimestep

    _, lengths = model.inputs
    # Before the head: of a large vocabulary, all timesteps' logits would fill the memory.
    last = LastTimestep(name="last")(model.get_layer("output_dropout").output, lengths)
    return keras.Model(model.inputs, head_of(model)(last), name=model.name)


def _writer(model: keras.Model, pipeline: CorpusPipeline, spec: GenerationSpec) -> Generator:
    return Generator(KerasSteps(model), pipeline.tokenizer, spec)


TASK = Task(
    name="language_model",
    summary="what comes next in running text; writes more of it",
    pipeline=CorpusPipeline,
    pipeline_spec=CorpusSpec(sequence_length=64),
    model=LanguageSpec(units=128, num_layers=1, embedding=EmbeddingSpec(dim=32)),
    train=TrainSpec(
        epochs=8, batch_size=32, learning_rate=1e-2, label_smoothing=0.0, jit_compile=True
    ),
    evaluation_spec=GenerationSpec(temperature=0.8),
    default_data=_default_data,
    build=_build,
    loss=_loss,
    metrics=_metrics,
    objective=("val_loss", "min"),
    score=_score,
    plot=_plot,
    presets=PRESETS,
    trainer=_trainer,
    answers=_answers,
    writer=_writer,
    exported=_exported,
)
