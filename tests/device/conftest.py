"""Tiny step models, made once: one that hears four tones, one that reads token ids."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE, STEP = 16_000, 160
TONES = {"low": 400, "mid": 1200, "high": 3000, "top": 5000}  # hertz; whole periods in a step
LABELS = ["_silence_", *TONES]


def tone(label: str, seconds: float, rate: int = RATE, amplitude: float = 0.3) -> np.ndarray:
    """A sine that the tone model knows, float32 (samples,)."""
    times = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * TONES[label] * times)).astype(np.float32)


def silence(seconds: float, rate: int = RATE) -> np.ndarray:
    """Zeros, float32 (samples,)."""
    return np.zeros(round(seconds * rate), np.float32)


def melody(rate: int = RATE) -> np.ndarray:
    """Three tones, at 0.5, 2.0 and 3.5 seconds of five."""
    parts = [silence(0.5, rate)]
    for label in ("mid", "low", "top"):
        parts += [tone(label, 0.6, rate), silence(0.9, rate)]
    return np.concatenate(parts)


def with_files(content: bytes, files: dict[str, str]) -> bytes:
    """The model with associated files appended as an uncompressed zip."""
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


def exported(content: bytes) -> bytes:
    """The model with the files that the exporter gives a listener."""
    detector = {"threshold": 0.8, "smoothing_ms": 50, "refractory_ms": 300}
    settings = {
        "sample_rate": RATE,
        "frames_per_step": 1,
        "detector": detector,
        "background_labels": ["_silence_", "_unknown_"],
    }
    return with_files(
        content, {"labels.txt": "\n".join(LABELS) + "\n", "rnnapp.json": json.dumps(settings)}
    )


def gru_cell(units: int) -> Any:
    """A GRU that is a leaky integrator: z is 0.8 always, the candidate tanh of 20 times the input.

    The weights are set by hand, so that what the model must hear is known without training.
    """
    import keras

    cell = keras.layers.GRUCell(units)
    cell.build((1, units))
    kernel, recurrent, bias = (np.zeros(w.shape, np.float32) for w in cell.weights)
    kernel[:, 2 * units :] = 20 * np.eye(units)
    bias[0, :units] = np.log(0.8 / 0.2)
    cell.set_weights([kernel, recurrent, bias])
    return cell


def tone_model() -> Any:
    """A module with `predict` and `step` that tells which tone sounds, by its power."""
    import keras
    import tensorflow as tf

    phases = 2 * np.pi * np.arange(STEP)[:, None] / RATE * np.array(list(TONES.values()))
    basis = np.concatenate([np.cos(phases), np.sin(phases)], axis=1) / (STEP / 2)  # (160, 8)
    head = np.concatenate([np.zeros((4, 1)), 10 * np.eye(4)], axis=1)  # (4, 5)

    class Tones(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = gru_cell(len(TONES))
            self.rnn = keras.layers.RNN(self.cell)
            self.tracked = [weight.value for weight in self.cell.weights]

        def power(self, frames: Any) -> Any:  # (frames, 160) -> (frames, 4)
            pairs = tf.square(frames @ tf.constant(basis, tf.float32))
            return pairs[:, :4] + pairs[:, 4:]

        def probabilities(self, hidden: Any) -> Any:  # (1, 4) -> (1, 5)
            logits = hidden @ tf.constant(head, tf.float32)
            return tf.nn.softmax(logits + tf.constant([4.0, 0, 0, 0, 0]))

        @tf.function(
            input_signature=[
                tf.TensorSpec((1, STEP), name="samples"),
                tf.TensorSpec((1, 4), name="hidden"),
            ],
            autograph=False,
        )
        def step(self, samples: Any, hidden: Any) -> dict[str, Any]:
            hidden, _ = self.cell(self.power(samples), [hidden])
            return {"probabilities": self.probabilities(hidden), "next_hidden": hidden}

        @tf.function(input_signature=[tf.TensorSpec((1, RATE), name="waveform")], autograph=False)
        def predict(self, waveform: Any) -> dict[str, Any]:
            frames = self.power(tf.reshape(waveform, (RATE // STEP, STEP)))
            return {"probabilities": self.probabilities(self.rnn(frames[None]))}

    return Tones()


@pytest.fixture(scope="session")
def convert_tones(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Converts some signatures of the tone model, weights in float or in dynamic range."""
    import tensorflow as tf

    model, folder = tone_model(), str(tmp_path_factory.mktemp("tones"))
    signatures = {"predict": model.predict, "step": model.step}
    tf.saved_model.save(model, folder, signatures=signatures)

    def convert(keys: tuple[str, ...] = ("predict", "step"), dynamic_range: bool = False) -> bytes:
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(keys))
        if dynamic_range:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            # tflite-runtime 2.14 does not know the per-channel version of the operator
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        return bytes(converter.convert())

    return convert


@pytest.fixture(scope="session")
def tones(convert_tones: Callable[..., bytes]) -> bytes:
    """The tone model in float, without associated files."""
    return convert_tones()


@pytest.fixture(scope="session")
def tones_path(tones: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tone model as the exporter would write it."""
    path = tmp_path_factory.mktemp("exported") / "tones.tflite"
    path.write_bytes(exported(tones))
    return path


@pytest.fixture(scope="session")
def dynamic_path(
    convert_tones: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tone model in dynamic range, as the exporter would write it."""
    path = tmp_path_factory.mktemp("exported") / "dynamic.tflite"
    path.write_bytes(exported(convert_tones(dynamic_range=True)))
    return path
