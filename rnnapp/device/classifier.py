"""Classify whole clips of audio: samples in, a probability for each class out."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from rnnapp.device import description
from rnnapp.device.audio import to_float
from rnnapp.device.description import PROBABILITIES, require
from rnnapp.device.interpreter import Model, load
from rnnapp.device.resampling import resampler


class Classifier:
    """Answers a clip at a time by the signature `predict`, which models without a step have too.

    Args:
        model: a .tflite file with the signature `predict`, or its bytes, or a loaded model.
        labels: name of each class; from `labels.txt` in the file or beside it by default.
        sample_rate: rate that the model hears, in hertz; 16,000 if the file is silent on it.
        num_threads: threads of the interpreter, unless the model is loaded already.

    Attributes:
        labels: name of each class, in the order of the probabilities.
        sample_rate: rate of the samples that the model hears, in hertz.

    Raises:
        OSError: the file is absent or cannot be read.
        ValueError: it classifies no audio, or its labels are unknown or do not match.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Model,
        *,
        labels: Sequence[str] | None = None,
        sample_rate: int | None = None,
        num_threads: int = 1,
    ) -> None:
        self.model = model if isinstance(model, Model) else load(model, num_threads)
        inputs, outputs = self.model.inputs("predict"), self.model.outputs("predict")
        require(self.model, len(inputs) == 1, "one input in `predict`", sorted(inputs))
        found = sorted(outputs)
        require(
            self.model, PROBABILITIES in found, f"the output `{PROBABILITIES}` in `predict`", found
        )
        self._clip, self._answer = next(iter(inputs.values())), outputs[PROBABILITIES]
        self.labels = description.labels(self.model, labels, self._answer.shape[-1])
        said = description.settings(self.model)
        self.sample_rate = sample_rate or said.get("sample_rate") or 16_000

    def predict(self, samples: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        """Classify a clip.

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
            ValueError: more than one channel, or NaN.
        """
        resample = resampler(sample_rate or self.sample_rate, self.sample_rate)
        clip = fit(resample(to_float(samples), last=True), self._clip.shape[-1])
        stored = self.model.run("predict", **{self._clip.name: self._clip.quantize(clip[None])})
        return self._answer.dequantize(stored[PROBABILITIES])[0]


def fit(samples: np.ndarray, length: int) -> np.ndarray:
    """Pad with zeros on the right, or keep the stretch with the most energy.

    Args:
        samples: (samples,) of one channel.
        length: how many there shall be.

    Returns:
        (length,).
    """
    if len(samples) <= length:
        return np.pad(samples, (0, length - len(samples)))
    energy = np.cumsum(np.square(samples, dtype=np.float64))
    start = int(np.argmax(energy[length - 1 :] - np.append(0, energy[:-length])))
    return samples[start : start + length]
