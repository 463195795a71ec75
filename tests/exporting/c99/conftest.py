"""Small models as C programs, and what these answer."""

from __future__ import annotations

import ctypes
import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from rnnapp import builders
from rnnapp.device import Stepper
from rnnapp.exporting.c99 import library, writer
from rnnapp.specs import ConvSpec, FrontSpec, RNNSpec

from ...layers.conftest import CONVOLUTIONS, FEATURES, shuffled

LABELS = ("_silence_", "yes", "no")

# The same float32 sums in another order, over a hundred steps.
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-5}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities."""
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


def written(model: keras.Model, folder: Path, variant: str = "float") -> Path:
    """The folder of a model's C program."""
    writer.write(model, LABELS, folder, variant)
    return folder


def answers(folder: Path, x: np.ndarray) -> np.ndarray:
    """The probabilities after every step of (1, timesteps, ...), (steps, classes)."""
    with library.load(folder) as step:
        stepper = Stepper(step)
        ((name, info),) = stepper.inputs.items()
        size = info.shape[1]
        return np.concatenate(
            [
                stepper(**{name: x[:, start : start + size]})["probabilities"]
                for start in range(0, x.shape[1] - size + 1, size)
            ]
        )


FRONTS: dict[str, dict[str, Any]] = {
    "log_mel": {"kind": "log_mel", "frame_length_ms": 10.0, "mean_seconds": 0.05},
    "mfcc": {"kind": "mfcc", "frame_length_ms": 8.0, "num_mfcc": 6},
    # Frames that share no sample, and no running mean.
    "frames": {"kind": "log_mel", "frame_length_ms": 4.0},
}
RATE, SAMPLES_A_FRAME = 8000, 32


def waveform_model(
    front: str, cell: str, pooling: str, convolutions: tuple[ConvSpec, ...] = ()
) -> keras.Model:
    """A small model of waveforms at 8 kHz."""
    spec = RNNSpec(
        cell,
        units=4,
        num_layers=2,
        pooling=pooling,  # type: ignore[arg-type]
        num_heads=2,
        convolutions=convolutions,
        front=FrontSpec(num_mel_bins=FEATURES, frame_step_ms=4.0, time_masks=1, **FRONTS[front]),
    )
    return shuffled(builders.many_to_one(spec, len(LABELS), sample_rate=RATE, window=0.03))


def waveform(frames: int, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades, float32 (1, samples)."""
    generator = np.random.default_rng(seed)
    size = frames * SAMPLES_A_FRAME
    return (generator.uniform(-1, 1, (1, size)) * np.sin(np.linspace(0, 9, size)) ** 4).astype(
        np.float32
    )


def chain(*layers: keras.layers.Layer, dtype: str = "float32") -> keras.Model:
    """A functional model of features, some layers after each other."""
    source = x = keras.Input((None, FEATURES), dtype=dtype)
    for layer in layers:
        x = layer(x)
    return shuffled(keras.Model(source, x))


@pytest.fixture(scope="module", params=writer.VARIANTS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with every kind of state and scratch, in each variant."""
    model = waveform_model("mfcc", "lstm", "attention", CONVOLUTIONS)
    return written(model, tmp_path_factory.mktemp("program"), request.param)


class Streams:
    """A program as C code sees it: structs that belong to the caller."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        library._compile([folder / "model.c", folder / "rnn.c"], scratch / "model.so")
        self.code = ctypes.CDLL(str(scratch / "model.so"))
        interface = json.loads((folder / library.INTERFACE).read_text())
        self.size = interface["state_bytes"]
        self.kept = sum(math.prod(shape) for shape in list(interface["inputs"].values())[1:])

    def new(self) -> np.ndarray:
        """A struct full of what was in memory before, then reset."""
        state = np.full(self.size // 4, np.nan, np.float32)
        self.code.rnnapp_reset(ctypes.c_void_p(state.ctypes.data))
        return state

    def step(self, state: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """One step of a stream."""
        probabilities = np.zeros(len(LABELS), np.float32)
        arrays = (state, np.ascontiguousarray(samples), probabilities)
        self.code.rnnapp_step(*(ctypes.c_void_p(array.ctypes.data) for array in arrays))
        return probabilities
