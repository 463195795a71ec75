"""Hear words in audio of any length: samples in, events out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rnnapp.device import description, microphone
from rnnapp.device.audio import read_blocks, to_float
from rnnapp.device.description import PROBABILITIES, require
from rnnapp.device.detector import Detector, Event
from rnnapp.device.interpreter import Model, load
from rnnapp.device.stepper import Stepper


class Listener:
    """Feeds audio to a step model and reports what it hears.

    Settings are taken from the arguments, else from `rnnapp.json` in the file, else from
    `Detector`'s defaults. Chunks of any size give exactly the events of the whole: what is shorter
    than a step waits for the next chunk.

    Args:
        model: a .tflite file with the signature `step`, or its bytes, or a loaded model.
        labels: name of each class; from `labels.txt` in the file or beside it by default.
        threshold: as in `Detector`.
        smoothing_ms: as in `Detector`.
        refractory_ms: as in `Detector`.
        background_labels: as in `Detector`.
        sample_rate: rate that the model hears, in hertz; 16,000 if the file is silent on it.
        num_threads: threads of the interpreter, unless the model is loaded already.

    Attributes:
        labels: name of each class, in the order of the probabilities.
        sample_rate: rate of the samples that `feed` takes, in hertz.
        stepper: the model and its states.
        detector: what makes events of probabilities.

    Raises:
        OSError: the file is absent or cannot be read.
        ValueError: it is no step model of audio, or its labels are unknown or do not match.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Model,
        *,
        labels: Sequence[str] | None = None,
        threshold: float | Mapping[str, float] | None = None,
        smoothing_ms: float | None = None,
        refractory_ms: float | None = None,
        background_labels: Sequence[str] | None = None,
        sample_rate: int | None = None,
        num_threads: int = 1,
    ) -> None:
        self.model = model if isinstance(model, Model) else load(model, num_threads)
        self.stepper = Stepper(self.model)
        self._input, self._step_samples = _audio_input(self.model, self.stepper)
        settings = description.settings(self.model)
        self.sample_rate = sample_rate or settings.get("sample_rate") or 16_000
        self.labels = description.labels(self.model, labels, _num_classes(self.model, self.stepper))
        given = {
            "threshold": threshold,
            "smoothing_ms": smoothing_ms,
            "refractory_ms": refractory_ms,
            "background_labels": background_labels,
        }
        self.detector = Detector(
            self.labels,
            step_ms=1000 * self._step_samples / self.sample_rate,
            **{**settings["detector"], **{k: v for k, v in given.items() if v is not None}},
        )
        self.reset()

    def reset(self) -> None:
        """Forget what was heard: the states, the samples that wait, and the time."""
        self.stepper.reset()
        self.detector.reset()
        self._waiting = np.zeros(0, np.float32)

    def feed(self, samples: np.ndarray) -> list[Event]:
        """Hear the next samples of the stream.

        Args:
            samples: (samples,) of one channel at `sample_rate`, any number of them; int16 or floats
                between -1 and 1.

        Returns:
            The events that these samples fire, in order.

        Raises:
            TypeError: another dtype.
            ValueError: more than one channel, or NaN. The stream stays as it was.
        """
        return self.detector.feed(self.probabilities(samples))

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """Hear the next samples, and leave the detection to the caller, who may sweep thresholds.

        A stream is either fed or read this way: the time of the events counts fed steps alone.

        Args:
            samples: as in `feed`.

        Returns:
            float32 (steps, classes), a row for every step that the samples complete.

        Raises:
            TypeError: another dtype.
            ValueError: more than one channel, or NaN. The stream stays as it was.
        """
        samples = np.concatenate([self._waiting, to_float(samples)])
        whole = len(samples) // self._step_samples * self._step_samples
        self._waiting = samples[whole:].copy()  # a view would keep the whole chunk in memory
        steps = samples[:whole].reshape(-1, 1, self._step_samples)
        rows = [self.stepper(**{self._input: step})[PROBABILITIES][0] for step in steps]
        return np.array(rows, np.float32).reshape(-1, len(self.labels))

    def listen_file(
        self,
        path: str | os.PathLike[str],
        progress: Callable[[float, float], None] | None = None,
    ) -> list[Event]:
        """Hear a file from its start, as a new stream.

        Args:
            path: WAV, or FLAC with soundfile installed, of any sample rate and channels.
            progress: called now and then with the seconds heard so far and in all.

        Returns:
            The events, in order.

        Raises:
            OSError: the file is absent or cannot be read.
            ValueError: it is empty, not audio, cut short, or holds NaN.
            ImportError: it needs soundfile, which is not installed.
        """
        self.reset()
        blocks = read_blocks(path, self.sample_rate, progress)
        return [event for block in blocks for event in self.feed(block)]

    def listen_microphone(
        self, on_event: Callable[[Event], None], seconds: float | None = None
    ) -> None:
        """Hear the default microphone, as a new stream.

        Args:
            on_event: called with each event as it fires.
            seconds: when to stop; at an interrupt by default.

        Raises:
            ImportError: sounddevice or PortAudio is not installed.
            OSError: there is no microphone, or it cannot be opened.
        """
        self.reset()
        for block in microphone.record(self.sample_rate, seconds):
            for event in self.feed(block):
                on_event(event)


def _audio_input(model: Model, stepper: Stepper) -> tuple[str, int]:
    """Name of the audio input, and how many samples a step takes."""
    inputs = list(stepper.inputs.values())
    audio = (
        len(inputs) == 1
        and len(inputs[0].shape) == 2
        and inputs[0].shape[0] == 1
        and (inputs[0].scale > 0 or inputs[0].dtype.kind == "f")
    )
    require(model, audio, "one data input of samples in `step`, float32 (1, samples)", inputs)
    return inputs[0].name, inputs[0].shape[1]


def _num_classes(model: Model, stepper: Stepper) -> int:
    names = sorted(stepper.outputs)
    require(model, PROBABILITIES in names, f"the output `{PROBABILITIES}` in `step`", names)
    return stepper.outputs[PROBABILITIES].shape[-1]
