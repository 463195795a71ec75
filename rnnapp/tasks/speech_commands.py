"""Speech commands: which of a few words is said in a second of sound.

`rnnapp quickstart` makes 2,600 clips in espeak-ng's voices, trains the default model on them and
exports it, in 3 min 27 s on two cores, with 87.8 % right on voices that were not in training.
`rnnapp evaluate quickstart/run --data DATA` then gave 67.9 % of 12 classes on 3,787 recordings of
488 people (a part of the Speech Commands v2 test set, Warden 2018, arXiv:1804.03209).

The preset `crnn`, still on synthetic voices alone, understands 86.3 % of these recordings after 41
minutes of training on two cores; `benchmarks/speech_commands.py` says which voices it heard:
`python benchmarks/speech_commands.py synthetic --voices many,kokoro,more --real DATA --noise NOISE
--rooms ROOMS`. Taught 80 % of the recordings' speakers for another 5 minutes, by the same with
`mixed --start benchmark/run --out mixed`, it understands 96.3 % of the 376 clips of the speakers
kept for the test.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.audio import AudioPipeline
from pipelines.audio_spec import AudioSpec
from rnnapp import decoding, metrics, plots
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
        "dropout=0.1",
        "pooling=mean_max",
        'convolutions=[{"filters": 32, "kernel_time": 5, "kernel_frequency": 5, "stride_time": 2, '
        '"stride_frequency": 2}, {"filters": 64, "kernel_time": 5, "kernel_frequency": 3, '
        '"stride_time": 2, "stride_frequency": 2}]',
        "mean_seconds=1",
        "prelude_share=0.25",
        "time_masks=2",
        "frequency_masks=2",
        "epochs=32",
        "learning_rate=0.002",
        # Enough steps to learn from harder clips; pitch goes with speed here, which is cheaper.
        "speed_probability=1",
        "pitch_probability=0",
        "equalizer_probability=0.8",
        "room_probability=0.7",
    ),
}


def _default_data(folder: Path, report: Report) -> None:
    """The ten commands in synthetic voices, made once."""
    from pipelines.synthesis import synthesize

    synthesize(
        WORDS, folder, clips_per_word=DEFAULT_CLIPS_PER_WORD, engines=("espeak",), progress=report
    )


def _build(spec: RNNSpec, pipeline: AudioPipeline) -> keras.Model:
    from rnnapp import builders

    return builders.many_to_one(
        spec,
        len(pipeline.labels),
        sample_rate=pipeline.spec.sample_rate,
        window=pipeline.spec.clip_seconds,
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
) -> dict[str, dict[str, Any]]:
    """Chooses the threshold on the validation recording and tries it on the test recording."""
    if not _has_commands(pipeline):
        return {}
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


def _has_commands(pipeline: AudioPipeline) -> bool:
    """Whether a threshold can be chosen and tried; a warning says so if not."""
    spoken = {clip.split for clip in pipeline.clips if clip.label not in listening.BACKGROUND}
    if {"validation", "test"} <= spoken:
        return True
    warnings.warn(
        "Not judged as a listener, so that exports carry no threshold: there must be commands in "
        f"the validation and the test split. Received: {pipeline.splits}",
        stacklevel=2,
    )
    return False


def _decode(pipeline: AudioPipeline, logits: np.ndarray) -> list[dict[str, Any]]:
    return [decoding.classification(row, pipeline.labels) for row in metrics.softmax(logits)]


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
    decode=_decode,
    listen=_listen,
    presets=PRESETS,
)
