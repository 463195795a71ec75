"""A command model as a listener: misses against false accepts over a long recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnapp.device import Detector, Event, fire, smooth, thresholds_for
from rnnapp.metrics import softmax
from rnnapp.progress import Report
from rnnapp.specs import ListeningSpec, require

if TYPE_CHECKING:
    import keras

STREAMS = 30  # recordings that are heard side by side, as one batch
THRESHOLDS = np.round(np.arange(0.02, 1.0, 0.01), 2)
SILENCE, BACKGROUND = "_silence_", ("_silence_", "_unknown_")


@dataclass(frozen=True)
class Truth:
    """A command in a recording.

    Args:
        label: The command.
        start: Where its clip begins, in seconds.
        end: Where its clip ends, in seconds.
    """

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Clips:
    """Labelled clips of one split.

    Args:
        waveforms: Float32 (clips, samples), padded with zeros on the right.
        lengths: True lengths in samples, (clips,).
        targets: Labels, (clips,).
        labels: The names of the labels.
        sample_rate: In hertz.
    """

    waveforms: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    labels: list[str]
    sample_rate: int

    @classmethod
    def of(cls, pipeline: Any, split: str) -> Clips:
        """The clips of a pipeline's split."""
        waveforms, lengths, targets = [], [], []
        for inputs, labels in pipeline.dataset(split, 64).as_numpy_iterator():
            for waveform, length, label in zip(
                inputs["waveform"], inputs["lengths"], labels, strict=True
            ):
                waveforms.append(waveform[:length])
                lengths.append(length)
                targets.append(label)
        padded = np.zeros((len(waveforms), max(lengths)), np.float32)
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = waveform
        return cls(
            padded,
            np.array(lengths),
            np.array(targets),
            list(pipeline.labels),
            pipeline.spec.sample_rate,
        )


def compose(
    clips: Clips, seconds: float, generator: np.random.Generator
) -> tuple[np.ndarray, list[Truth]]:
    """A recording of commands and other words, in about equal number, over background noise.

    Args:
        clips: What it is made of; the background is made of `_silence_` clips, if there are any.
        seconds: Its length.
        generator: Draws clips and pauses.

    Returns:
        Samples, float32 (samples,), and the commands in it.

    Raises:
        ValueError: If no clip is of a command.
    """
    rate, size = clips.sample_rate, round(seconds * clips.sample_rate)
    samples = _bed(clips, size, generator)
    others = [i for i, name in enumerate(clips.labels) if name in BACKGROUND and name != SILENCE]
    other = np.flatnonzero(np.isin(clips.targets, others))
    commands = np.flatnonzero(
        ~np.isin(clips.targets, [i for i, n in enumerate(clips.labels) if n in BACKGROUND])
    )
    require(len(commands) > 0, "clips", "of commands, some at least", set(clips.labels))
    truths: list[Truth] = []
    position = rate
    while True:
        pool = other if len(other) and generator.random() < 0.5 else commands
        index = generator.choice(pool)
        end = position + int(clips.lengths[index])
        if end > size - rate:
            return samples, truths
        samples[position:end] += clips.waveforms[index, : end - position]
        if pool is commands:
            label = clips.labels[clips.targets[index]]
            truths.append(Truth(label, position / rate, end / rate))
        position = end + int(generator.uniform(0.3, 2.5) * rate)


def _bed(clips: Clips, size: int, generator: np.random.Generator) -> np.ndarray:
    """Background noise: `_silence_` clips one after another."""
    silent = [i for i, name in enumerate(clips.labels) if name == SILENCE]
    pool = np.flatnonzero(np.isin(clips.targets, silent))
    if not len(pool):
        return np.zeros(size, np.float32)
    chosen = generator.choice(pool, 1 + size // int(clips.lengths[pool].min()))
    pieces = [clips.waveforms[i, : clips.lengths[i]] for i in chosen]
    return np.concatenate(pieces)[:size].astype(np.float32)


class Hearing:
    """A model's probabilities all along the recordings of one split.

    Args:
        model: A causal model of waveforms.
        clips: What the recordings are made of.
        spec: How long they are, and how detections are made.
        report: Told of progress.
    """

    def __init__(
        self, model: keras.Model, clips: Clips, spec: ListeningSpec, report: Report
    ) -> None:
        self.clips, self.spec = clips, spec
        generator = np.random.default_rng(spec.seed)
        recordings = [
            compose(clips, 60 * spec.minutes / STREAMS, generator) for _ in range(STREAMS)
        ]
        self.truths = [truths for _, truths in recordings]
        waveforms = np.stack([samples for samples, _ in recordings])
        probabilities, self.step_seconds = _hear(model, waveforms, clips.sample_rate, report)
        detector = Detector(
            clips.labels,
            smoothing_ms=spec.smoothing_ms,
            refractory_ms=spec.refractory_ms,
            step_ms=1000 * self.step_seconds,
            background_labels=BACKGROUND,
        )
        self.refractory = detector.refractory
        self.smoothed = [smooth(stream, detector.window) for stream in probabilities]

    def at(self, threshold: float) -> tuple[float, float]:
        """False accepts an hour, and the share of commands missed."""
        labels, spec = self.clips.labels, self.spec
        limits = thresholds_for(labels, threshold, BACKGROUND)
        wrong = missed = 0
        for smoothed, truths in zip(self.smoothed, self.truths, strict=True):
            fired = fire(smoothed, limits, self.refractory)
            events = [Event(labels[c], (s + 1) * self.step_seconds, 1.0) for s, c in fired.tolist()]
            false_accepts, misses = match(events, truths, spec.tolerance_ms / 1000)
            wrong, missed = wrong + false_accepts, missed + misses
        hours = self.spec.minutes / 60
        return wrong / hours, missed / max(1, sum(map(len, self.truths)))

    def curve(self) -> np.ndarray:
        """`at` for each of `THRESHOLDS`, (thresholds, 2)."""
        return np.array([self.at(threshold) for threshold in THRESHOLDS])


def _hear(
    model: keras.Model, waveforms: np.ndarray, sample_rate: int, report: Report
) -> tuple[np.ndarray, float]:
    """Probabilities (streams, steps, classes) as a device has them, and the seconds of a step."""
    import tensorflow as tf

    from rnnapp.layers.streaming import StepModel

    stepper = StepModel(model)
    (size,) = stepper.input_shape
    call = tf.function(stepper, autograph=False)
    states, outputs = stepper.initial_states(len(waveforms)), []
    starts = range(0, waveforms.shape[1] - size + 1, size)
    for done, start in enumerate(starts):
        logits, states = call(tf.constant(waveforms[:, start : start + size]), states)
        outputs.append(logits.numpy())
        if done % 100 == 0:
            report(done, len(starts))
    report(len(starts), len(starts))
    return softmax(np.stack(outputs, axis=1)), size / sample_rate


def match(events: list[Event], truths: list[Truth], tolerance: float) -> tuple[int, int]:
    """Counts false accepts and misses: each command is found by one event at most.

    Args:
        events: What was heard, in order.
        truths: What was said, in order.
        tolerance: Seconds after a clip's end in which its event still counts.

    Returns:
        False accepts and misses.
    """
    open_truths = list(truths)
    wrong = 0
    for event in events:
        found = next(
            (
                t
                for t in open_truths
                if t.label == event.label and t.start <= event.time_s <= t.end + tolerance
            ),
            None,
        )
        if found is None:
            wrong += 1
        else:
            open_truths.remove(found)
    return wrong, len(open_truths)


def choose_threshold(curve: np.ndarray, false_accepts_per_hour: float) -> float:
    """The threshold that misses least among those that let few enough through.

    Args:
        curve: `Hearing.curve` of validation data.
        false_accepts_per_hour: What is allowed.

    Returns:
        One of `THRESHOLDS`; the highest, if none keeps to what is allowed.
    """
    allowed = np.flatnonzero(curve[:, 0] <= false_accepts_per_hour)
    if not len(allowed):
        return float(THRESHOLDS[-1])
    return float(THRESHOLDS[allowed[curve[allowed, 1].argmin()]])
