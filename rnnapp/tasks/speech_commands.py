"""Speech commands: which of a few words is said in a second of sound.

`rnnapp quickstart` makes 2,600 clips in espeak-ng's voices, trains the default model on them and
exports it, in 4 min 32 s on two busy cores. `rnnapp evaluate quickstart/run --data DATA` then gave
69.1 % of 12 classes on 3,787 recordings of 488 people (a part of the Speech Commands v2 test set,
Warden 2018, arXiv:1804.03209), and 87.1 % on synthetic voices that were not in training.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.audio import AudioPipeline
from pipelines.audio_spec import AudioSpec
from rnnapp import metrics, plots
from rnnapp.progress import Report
from rnnapp.specs import ConvSpec, FrontSpec, ListeningSpec, RNNSpec, TrainSpec
from rnnapp.tasks import listening
from rnnapp.tasks.base import Evaluation, Task

if TYPE_CHECKING:
    import keras

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
DEFAULT_CLIPS_PER_WORD = 200

# A convolutional recurrent network that hears 40 ms a step, and a longer training.
PRESETS = {
    "crnn": (
        "units=128",
        "num_layers=2",
        "dropout=0.3",
        "pooling=mean_max",
        'convolutions=[{"filters": 32, "kernel_time": 5, "kernel_frequency": 5, "stride_time": 2, '
        '"stride_frequency": 2}, {"filters": 64, "kernel_time": 5, "kernel_frequency": 3, '
        '"stride_time": 2, "stride_frequency": 2}]',
        "mean_seconds=1",
        "time_masks=2",
        "frequency_masks=2",
        "epochs=40",
        "learning_rate=0.002",
    ),
}


def _default_data(folder: Path, report: Report) -> Path:
    """The ten commands in synthetic voices, made once."""
    from pipelines.synthesis import synthesize

    target = folder / f"speech_commands-{DEFAULT_CLIPS_PER_WORD}"
    synthesize(
        WORDS, target, clips_per_word=DEFAULT_CLIPS_PER_WORD, engines=("espeak",), progress=report
    )
    return target


def _build(spec: RNNSpec, pipeline: AudioPipeline) -> keras.Model:
    from rnnapp import builders

    return builders.many_to_one(
        spec,
        len(pipeline.labels),
        sample_rate=pipeline.spec.sample_rate,
        window_seconds=pipeline.spec.clip_seconds,
        name="speech_commands",
    )


def _loss(spec: TrainSpec) -> keras.losses.Loss:
    from rnnapp.losses import SmoothedCrossentropy

    return SmoothedCrossentropy(spec.label_smoothing)


def _metrics() -> list[keras.metrics.Metric]:
    import keras

    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]


def _score(evaluation: Evaluation) -> dict[str, Any]:
    return metrics.classification(evaluation.targets, evaluation.logits, evaluation.pipeline.labels)


def _plot(evaluation: Evaluation, folder: Path) -> list[Path]:
    figures = _score(evaluation)
    picture = folder / f"confusion_{evaluation.name}.png"
    return [plots.confusion(np.array(figures["confusion"]), evaluation.pipeline.labels, picture)]


def _listen(
    model: keras.Model, pipeline: AudioPipeline, spec: ListeningSpec, folder: Path, report: Report
) -> dict[str, Any]:
    """Chooses the threshold on the validation recording and tries it on the test recording."""
    heard = {
        split: listening.Hearing(model, listening.Clips.of(pipeline, split), spec, report)
        for split in ("validation", "test")
    }
    threshold = listening.choose_threshold(heard["validation"].curve(), spec.false_accepts_per_hour)
    chosen, curve = heard["test"].at(threshold), heard["test"].curve()
    plots.detection_curve(curve[:, 0], curve[:, 1], chosen, folder / "listening_test.png")
    validation = heard["validation"].at(threshold)
    return {
        "detector": {
            "threshold": threshold,
            "smoothing_ms": spec.smoothing_ms,
            "refractory_ms": spec.refractory_ms,
        },
        "listening": {
            "minutes": spec.minutes,
            "validation_false_accepts_per_hour": validation[0],
            "validation_misses": validation[1],
            "test_false_accepts_per_hour": chosen[0],
            "test_misses": chosen[1],
        },
    }


def _decode(pipeline: AudioPipeline, logits: np.ndarray) -> list[dict[str, Any]]:
    answers = []
    for row in metrics.softmax(logits):
        order = np.argsort(-row)
        answers.append(
            {
                "label": pipeline.labels[order[0]],
                "probabilities": {pipeline.labels[i]: float(row[i]) for i in order},
            }
        )
    return answers


TASK = Task(
    name="speech_commands",
    summary="which of a few spoken words is heard; streams on a phone",
    pipeline=AudioPipeline,
    pipeline_spec=AudioSpec(),
    # A convolution over all bands halves the timesteps; a pool over the last second forgives where
    # in it the word was.
    model=RNNSpec(
        cell="gru",
        units=64,
        num_layers=1,
        dropout=0.1,
        pooling="mean_max",
        convolutions=(ConvSpec(64, kernel_time=5, kernel_frequency=0, stride_time=2),),
        front=FrontSpec(mean_seconds=1.0, time_masks=2, frequency_masks=2),
    ),
    train=TrainSpec(epochs=40, batch_size=64, learning_rate=3e-3),
    evaluation_spec=ListeningSpec(),
    default_data=_default_data,
    build=_build,
    loss=_loss,
    metrics=_metrics,
    objective=("val_accuracy", "max"),
    score=_score,
    plot=_plot,
    listen=_listen,
    decode=_decode,
    presets=PRESETS,
)
