"""Runs with untrained models, of which exports can be made as of any other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.audio import AudioPipeline
from rnnapp import TASKS, Run
from rnnapp.exporting import conversion, flatbuffer, tflite
from rnnapp.replay import Replay

from ..conftest import RATE, SECONDS
from ..layers.conftest import shuffled

LABELS = ("_silence_", "yes", "größer")


def untrained(folder: Path, *assignments: str) -> Run:
    """A run folder as training leaves it, with drawn weights and sequences of noise."""
    task = TASKS["speech_commands"]
    spec = task.spec(
        "nothing",
        (
            f"sample_rate={RATE}",
            f"clip_seconds={SECONDS}",
            "num_mel_bins=8",
            "frequency_masks=0",
            "units=8",
            "num_layers=1",
            "num_heads=2",
            *assignments,
        ),
    )
    run = Run(folder, spec)
    pipeline = AudioPipeline(spec.pipeline)
    pipeline.labels = LABELS
    pipeline.save(folder / "pipeline")
    run.write_spec()
    shuffled(task.build(spec.model, pipeline)).save(run.model_path)
    size = round(RATE * SECONDS)
    for seed, name in enumerate(("replay.npz", "calibration.npz")):
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (9, size)).astype(np.float32)
        targets = np.arange(9, dtype=np.int32) % 3
        Replay(noise, np.full(9, size, np.int32), targets).save(folder / name)
    return run


def long_windows(folder: Path) -> Run:
    """An untrained run whose front end holds more numbers than most of its weights."""
    mfcc = ("num_mel_bins=40", "num_mfcc=40", "kind=mfcc")
    return untrained(folder, "units=24", "frame_length_ms=150", *mfcc)


def constants(content: bytes) -> list[bytes]:
    """Every constant of a TFLite model."""
    model = flatbuffer.unpack(content)
    return [
        bytes(buffer.data)
        for buffer in model.buffers
        if buffer.data is not None and len(buffer.data)
    ]


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts in this process, which spares importing TensorFlow once more."""

    def run(job: dict[str, Any], timeout_seconds: float) -> list[str]:
        return conversion.work(json.loads(json.dumps(job)))

    monkeypatch.setattr(tflite, "_converted", run)


@pytest.fixture(scope="session")
def mediapipe_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a virtual environment with MediaPipe, and without TensorFlow."""
    folder = tmp_path_factory.mktemp("mediapipe")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", "mediapipe==1.2.2"], check=True)
    return python
