"""Hear words in audio of any length: samples in, events out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnapp.device import microphone
from rnnapp.device.audio import read_blocks, to_float
from rnnapp.device.detector import Detector, Event
from rnnapp.device.interpreter import Model, load
from rnnapp.device.resampling import resampler
from rnnapp.device.stepper import Stepper

PROBABILITIES = "probabilities"
DETECTOR_OPTIONS = ("threshold", "smoothing_ms", "refractory_ms")


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
        settings = _settings(self.model)
        self.sample_rate = sample_rate or settings.get("sample_rate") or 16_000
        self.labels = _labels(self.model, labels, _num_classes(self.model, self.stepper))
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

    def predict(self, samples: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        """Classify a whole clip by the signature `predict`; the stream is not touched.

        A clip shorter than the model's is padded with zeros on the right, as in training. Of a
        longer one the stretch with the most energy is kept: that is how the clips of Speech
        Commands were cut from their recordings (Warden 2018, arXiv:1804.03209).

        Args:
            samples: (samples,) of one channel; int16 or floats between -1 and 1.
            sample_rate: their rate, in hertz; the model's by default.

        Returns:
            float32 (classes,), in the order of `labels`.

        Raises:
            TypeError: another dtype.
            ValueError: more than one channel, NaN, or a model without the signature `predict`.
        """
        inputs = self.model.inputs("predict")
        _require(self.model, len(inputs) == 1, "one input in `predict`", sorted(inputs))
        info = next(iter(inputs.values()))
        resample = resampler(sample_rate or self.sample_rate, self.sample_rate)
        clip = _fit(resample(to_float(samples), last=True), info.shape[-1])
        stored = self.model.run("predict", **{info.name: info.quantize(clip[None])})
        return self.model.outputs("predict")[PROBABILITIES].dequantize(stored[PROBABILITIES])[0]


def _fit(samples: np.ndarray, length: int) -> np.ndarray:
    """Pad on the right, or keep the stretch with the most energy: (samples,) -> (length,)."""
    if len(samples) <= length:
        return np.pad(samples, (0, length - len(samples)))
    energy = np.cumsum(np.square(samples, dtype=np.float64))
    start = int(np.argmax(energy[length - 1 :] - np.append(0, energy[:-length])))
    return samples[start : start + length]


def _audio_input(model: Model, stepper: Stepper) -> tuple[str, int]:
    """Name of the audio input, and how many samples a step takes."""
    inputs = list(stepper.inputs.values())
    audio = (
        len(inputs) == 1
        and len(inputs[0].shape) == 2
        and inputs[0].shape[0] == 1
        and (inputs[0].scale > 0 or inputs[0].dtype.kind == "f")
    )
    _require(model, audio, "one data input of samples in `step`, float32 (1, samples)", inputs)
    return inputs[0].name, inputs[0].shape[1]


def _num_classes(model: Model, stepper: Stepper) -> int:
    names = sorted(stepper.outputs)
    _require(model, PROBABILITIES in names, f"the output `{PROBABILITIES}` in `step`", names)
    return stepper.outputs[PROBABILITIES].shape[-1]


def _labels(model: Model, labels: Sequence[str] | None, num_classes: int) -> list[str]:
    """The labels given, or those in the file or beside it."""
    if labels is None:
        beside = model.path.with_name("labels.txt") if model.path else None
        if "labels.txt" in model.files:
            labels = model.files["labels.txt"].decode("utf-8").splitlines()
        elif beside and beside.is_file():
            labels = beside.read_text("utf-8").splitlines()
        else:
            raise ValueError(
                f"{model.name} carries no labels.txt, and none lies beside it. Pass `labels`, or "
                "export or copy the file again: labels are at its end"
            )
    if len(labels) != num_classes:
        raise ValueError(
            f"{model.name} has {num_classes} classes: there must be as many labels. "
            f"Received: {list(labels)}"
        )
    return list(labels)


def _settings(model: Model) -> dict[str, Any]:
    """Settings from `rnnapp.json` in the file, those of the detector under `detector`."""
    try:
        settings = json.loads(model.files.get("rnnapp.json", b"{}"))
    except ValueError as error:
        raise ValueError(f"{model.name}: its rnnapp.json must be JSON. {error}") from None
    detector = settings.get("detector", {})
    known = {name: detector[name] for name in DETECTOR_OPTIONS if name in detector}
    if "background_labels" in settings:
        known["background_labels"] = settings["background_labels"]
    return {**settings, "detector": known}


def _require(model: Model, condition: bool, expected: str, received: object) -> None:
    if not condition:
        raise ValueError(f"{model.name} must have {expected}. Received: {received}")
