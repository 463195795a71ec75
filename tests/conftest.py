"""Tiny data that a tiny model learns in seconds, and one finished run that many tests share."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipelines.audio_spec import NO_AUGMENTATION

if TYPE_CHECKING:
    from rnnapp.runs import Run

# Before anything imports TensorFlow: its greetings would drown the tests' own output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

RATE, SECONDS = 8000, 0.3
PITCHES = {"high": 2500, "low": 400, "_unknown_": 1200}  # hertz
SPEAKERS = {"train": 16, "validation": 8, "test": 8}

# A model with everything that a resumed run must find again: dropout and recurrent dropout, masks
# of SpecAugment, statistics of a convolution, augmentation.
TINY = (
    f"sample_rate={RATE}",
    f"clip_seconds={SECONDS}",
    "num_mel_bins=12",
    "time_masks=1",
    "time_mask_ms=30",
    "frequency_masks=1",
    "frequency_mask_bins=2",
    "units=12",
    "num_layers=1",
    "recurrent_dropout=0.1",
    "pooling=mean_max",
    'convolutions=[{"filters": 4, "kernel_time": 3, "kernel_frequency": 3}]',
    "epochs=6",
    "batch_size=4",
    "learning_rate=0.02",
    "minutes=1",
    "augmentation="
    + json.dumps(
        dataclasses.asdict(
            dataclasses.replace(NO_AUGMENTATION, time_shift_probability=1.0, gain_probability=0.5)
        )
    ),
)


# Everything that a resumed run must find again: dropout of all kinds, dropped weights.
TINY_WRITER = (
    "tokens=words",
    "sequence_length=12",
    "validation_percent=10",
    "units=24",
    "dim=16",
    "projection=true",
    "token_dropout=0.05",
    "weight_drop=0.1",
    "batch_size=8",
    "jit_compile=false",
)
TINY_READER = (
    "preset=streaming",
    "cell=gru",
    "units=16",
    "dim=8",
    "model.dropout=0",
    "embedding.dropout=0",
    "token_dropout=0",
    "epochs=3",
    "batch_size=16",
    "learning_rate=0.02",
)
READER_FORMATS = [
    "saved_model",
    "tflite_float",
    "tflite_dynamic",
    "tflite_float16",
    "step_int16x8",
    "c99_int8",
]
WRITER_FORMATS = ["saved_model", "tflite_float", "c99_float"]
# What a tiny translator takes.
TINY_TRANSLATOR = (
    "units=32",
    "embedding_dim=16",
    "batch_size=16",
    "epochs=12",
    "learning_rate=0.01",
    "dropout=0",
    "label_smoothing=0",
    "max_sentences=12",
    "pictures=2",
    "beam_size=3",
)
TRANSLATOR_FORMATS = ["saved_model", "tflite_float", "tflite_dynamic", "tflite_float16"]
WORDS = {
    "one": "un",
    "two": "deux",
    "three": "trois",
    "red": "rouge",
    "blue": "bleu",
    "dog": "chien",
}


def clip(label: str, generator: np.random.Generator) -> np.ndarray:
    """Soft noise, and a tone of the label's pitch after its first third: float32 (samples,)."""
    size = round(SECONDS * RATE)
    samples = 0.003 * generator.standard_normal(size)
    if label in PITCHES:
        phase = 2 * np.pi * (PITCHES[label] * np.arange(size) / RATE + generator.random())
        loudness = generator.uniform(0.1, 0.5) * (np.arange(size) > size // 3)
        samples += loudness * np.sin(phase)
    return samples.astype(np.float32)


def write_tones(folder: Path) -> Path:
    """Recordings in the layout of Speech Commands, split by lists."""
    import soundfile

    generator = np.random.default_rng(0)
    listed: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for label in ("_silence_", *PITCHES):
        (folder / label).mkdir(parents=True)
        for split, speakers in SPEAKERS.items():
            for speaker in range(speakers):
                name = f"{label}/{split}{speaker}_nohash_0.wav"
                soundfile.write(folder / name, clip(label, generator), RATE)
                listed[split].append(name)
    (folder / "validation_list.txt").write_text("\n".join(listed["validation"]))
    (folder / "testing_list.txt").write_text("\n".join(listed["test"]))
    return folder


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of tones."""
    return write_tones(tmp_path_factory.mktemp("data") / "tones")


@pytest.fixture(scope="session")
def finished(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on the tones, never to be changed."""
    from rnnapp import train

    return train("speech_commands", tones, tmp_path_factory.mktemp("runs") / "tones", settings=TINY)


@pytest.fixture(scope="session")
def evaluated(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the finished run that was evaluated as well, never to be changed."""
    from rnnapp import Run, evaluate

    folder = shutil.copytree(finished.folder, tmp_path_factory.mktemp("runs") / "evaluated")
    evaluate(folder)
    return Run.open(folder)


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file of invented reviews."""
    from pipelines.text import reviews

    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    reviews.write(path, count=1600)
    return path


@pytest.fixture(scope="session")
def reader(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished and evaluated run on the reviews, of a model that streams; not to be changed."""
    from rnnapp import evaluate, train

    folder = tmp_path_factory.mktemp("runs") / "reviews"
    run = train("text_classification", reviews, folder, settings=TINY_READER)
    evaluate(run)
    return run


@pytest.fixture(scope="session")
def reader_exported(reader: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export in all formats of a model of texts; never to be changed."""
    from rnnapp import export

    folder = tmp_path_factory.mktemp("exported") / "reviews"
    return export(reader, folder, formats=READER_FORMATS)


@pytest.fixture(scope="session")
def tales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pages of invented tales."""
    from pipelines.text import tales

    path = tmp_path_factory.mktemp("data") / "tales.txt"
    tales.write(path, 36_000)
    return path


@pytest.fixture(scope="session")
def writer(tales: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished and evaluated run of a language model on the tales; not to be changed."""
    from rnnapp import evaluate, train

    folder = tmp_path_factory.mktemp("runs") / "tales"
    settings = [*TINY_WRITER, "epochs=5", "learning_rate=0.03"]
    run = train("language_model", tales, folder, settings=settings)
    evaluate(run)
    return run


@pytest.fixture(scope="session")
def writer_exported(writer: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export in some formats; never to be changed."""
    from rnnapp import export

    folder = tmp_path_factory.mktemp("exported") / "tales"
    return export(writer, folder, formats=WRITER_FORMATS)


@pytest.fixture(scope="session")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words told backwards in another language, a few sources with two translations."""
    draw, rows = np.random.default_rng(0), []
    sources = {" ".join(draw.choice([*WORDS], draw.integers(2, 6))) for _ in range(400)}
    for number, source in enumerate(sorted(sources)):
        said = " ".join(WORDS[word] for word in source.split()[::-1])
        rows += [f"{source}.\t{said} !", *([f"{source}.\t{said}."] if number % 5 == 0 else [])]
    path = tmp_path_factory.mktemp("data") / "phrases.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def translator(phrases: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished and evaluated run of a translator of the phrases; not to be changed."""
    from rnnapp import evaluate, train

    folder = tmp_path_factory.mktemp("runs") / "phrases"
    run = train("translation", phrases, folder, settings=TINY_TRANSLATOR)
    evaluate(run)
    return run


@pytest.fixture(scope="session")
def translator_exported(translator: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export in some formats; never to be changed."""
    from rnnapp import export

    folder = tmp_path_factory.mktemp("exported") / "phrases"
    return export(translator, folder, formats=TRANSLATOR_FORMATS)


@pytest.fixture(scope="session")
def exported(evaluated: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluated run in all formats but the page, which wants a browser; never to be changed."""
    from rnnapp import FORMATS, export

    formats = [name for name in FORMATS if name != "web"]
    return export(evaluated, tmp_path_factory.mktemp("exported") / "tones", formats=formats)
