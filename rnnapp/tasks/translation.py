"""Translation: a sentence in another language, by an encoder, attention and beam search.

By default it learns an invented language, in whose grammar each word's place and endings follow
from other words; the preset `large` is for real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.text.pairs import PairPipeline
from pipelines.text.spec import PairSpec
from pipelines.text.tokenization import END
from rnnapp import plots, translation_metrics
from rnnapp.device.beam_search import Hypothesis
from rnnapp.progress import Report
from rnnapp.specs import DecodingSpec, TrainSpec, TranslationSpec
from rnnapp.tasks.base import Task
from rnnapp.translation import BATCH, Translator

if TYPE_CHECKING:
    import keras

EXAMPLES = 5  # translations that go along with the figures

# For some hundred thousand pairs of sentences, cased, of two languages that part words by spaces.
PRESETS = {
    "large": (
        "units=512",
        "embedding_dim=256",
        "dropout=0.2",
        "tokens=subwords",
        "vocabulary_size=6000",
        "batch_size=64",
        "epochs=8",
        "learning_rate=0.002",
        "validation_percent=2",
    ),
}


@dataclass(frozen=True)
class Translations:
    """What a trained translator says to sources of one split.

    Args:
        pipeline: The fitted pipeline.
        name: "train", "validation" or "test", or the name of other data.
        spec: How they were searched for, and how many.
        sources: Sentences, each once.
        references: All translations of each that the split has.
        found: The best hypotheses of each, the best first.
        teacher_forced: Measures of the next token, given the true ones before it, of all pairs.
        num_sources: How many different sources the split has.
    """

    pipeline: PairPipeline
    name: str
    spec: DecodingSpec
    sources: list[str]
    references: list[list[str]]
    found: list[list[Hypothesis]]
    teacher_forced: dict[str, float]
    num_sources: int

    @property
    def texts(self) -> list[str]:
        """The best translation of each source, as people would write it."""
        return [self.pipeline.tokenizer.spell(best.token_ids) for best, *_ in self.found]


def answers(
    model: keras.Model,
    pipeline: PairPipeline,
    split: str,
    name: str,
    spec: DecodingSpec,
    report: Report,
) -> Translations:
    """Translates sources of a split, drawn where `spec.max_sentences` is less than all of them.

    Args:
        model: The trained model.
        pipeline: The fitted pipeline, with data.
        split: "train", "validation" or "test".
        name: What the evaluation is called.
        spec: How to search, and how many.
        report: Told of sources that are translated.

    Returns:
        The translations.
    """
    references: dict[str, list[str]] = {}
    for source, target in pipeline.sentences(split):
        references.setdefault(source, []).append(target)
    every = list(references)
    count = min(spec.max_sentences or len(every), len(every))
    drawn = np.random.default_rng(spec.seed).permutation(len(every))[:count]
    sources = [every[number] for number in sorted(drawn)]
    return Translations(
        pipeline,
        name,
        spec,
        sources,
        [references[source] for source in sources],
        _writer(model, pipeline, spec).search(sources, report=report),
        _teacher_forced(model, pipeline, split),
        len(every),
    )


def _teacher_forced(model: keras.Model, pipeline: PairPipeline, split: str) -> dict[str, float]:
    metrics = _metrics()
    for inputs, targets in pipeline.dataset(split, BATCH):
        logits = model.predict_on_batch(inputs)
        for metric in metrics:
            metric.update_state(targets, logits)
    return {metric.name: float(metric.result()) for metric in metrics}


def _writer(model: keras.Model, pipeline: PairPipeline, spec: DecodingSpec) -> Translator:
    from rnnapp.encoder_decoder import EncodeStep

    return Translator(EncodeStep(model), pipeline.tokenizer, pipeline.spec, spec)


def _default_data(folder: Path, report: Report) -> None:
    """Pairs of English and an invented language, made once."""
    from pipelines.text import phrasebook

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "phrasebook.tsv").exists():
        phrasebook.write(folder / "phrasebook.tsv", progress=report)


def _build(spec: TranslationSpec, pipeline: PairPipeline) -> keras.Model:
    from rnnapp.encoder_decoder import encoder_decoder

    source, target = pipeline.source.vocabulary, pipeline.target.vocabulary
    return encoder_decoder(spec, len(source), len(target), name="translation")


def _loss(spec: TrainSpec) -> keras.losses.Loss:
    from rnnapp.token_losses import TokenCrossentropy

    return TokenCrossentropy(spec.label_smoothing)


def _metrics() -> list[keras.metrics.Metric]:
    from rnnapp.token_losses import Perplexity, TokenAccuracy

    return [TokenAccuracy(), Perplexity()]


def _score(evaluation: Any) -> dict[str, Any]:
    made: Translations = evaluation
    texts = made.texts
    shown = list(zip(made.sources, texts, made.references, strict=True))[:EXAMPLES]
    return {
        "sentences": len(texts),
        "sentences_in_split": made.num_sources,
        "references": sum(map(len, made.references)),
        "beam_size": made.spec.beam_size,
        **translation_metrics.translation(texts, made.references, made.spec.bleu_tokenizer),
        "model_score": float(np.mean([best.score for best, *_ in made.found])),
        "unended": sum(not best.ended for best, *_ in made.found),
        **made.teacher_forced,
        "examples": [
            {"source": source, "translation": text, "references": references}
            for source, text, references in shown
        ],
    }


def _plot(evaluation: Any, folder: Path) -> list[Path]:
    """Which words of a few sources the words of their translations attended to."""
    made: Translations = evaluation
    pictures: list[Path] = []
    for source, (best, *_) in zip(made.sources, made.found, strict=True):
        if best.attention is None or len(pictures) == made.spec.pictures:
            break
        pipeline = made.pipeline
        asked = [pipeline.source.vocabulary[i] for i in pipeline.source.encode(source)]
        said = [
            pipeline.target.vocabulary[i] for i in [*best.token_ids, END][: len(best.attention)]
        ]
        picture = folder / f"attention_{made.name}_{len(pictures) + 1}.png"
        pictures.append(plots.attention(best.attention, asked, said, picture))
    return pictures


TASK = Task(
    name="translation",
    summary="a sentence in another language, by attention and beam search",
    pipeline=PairPipeline,
    pipeline_spec=PairSpec(lowercase=False),
    model=TranslationSpec(units=128, embedding_dim=64, dropout=0.1),
    train=TrainSpec(epochs=6, batch_size=64, learning_rate=4e-3),
    evaluation_spec=DecodingSpec(),
    default_data=_default_data,
    build=_build,
    loss=_loss,
    metrics=_metrics,
    objective=("val_perplexity", "min"),
    score=_score,
    plot=_plot,
    presets=PRESETS,
    answers=answers,
    writer=_writer,
)
