"""What answers inputs in a pipeline."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from rnnapp.prediction import Predictor

NAMESPACE = "rnnapp"  # of the metrics `answered` and `bad_inputs`
BAD = "bad"
# What predicting reads of an export.
_NEEDED = ("manifest.json", "labels.txt", "device/*.tflite", "tokenizer/*")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


class Answer(beam.DoFn):
    """Answers pairs of a key and an input with pairs of the key and an answer.

    Inputs are what `rnnapp.predict` takes, and URLs that a file system of Beam's opens, such as
    `gs://bucket/a.wav`. One that cannot be used becomes `(key, error)` in the output `BAD`. The
    metrics `answered` and `bad_inputs` count both.

    Args:
        source: An export folder, or a run folder; its URL, if workers cannot see it.
        settings: `key=value` assignments to the task's evaluation settings.
    """

    def __init__(self, source: str | os.PathLike, settings: Sequence[str] = ()) -> None:
        super().__init__()
        self._source, self._settings = os.fspath(source), tuple(settings)
        self._answered = Metrics.counter(NAMESPACE, "answered")
        self._bad = Metrics.counter(NAMESPACE, "bad_inputs")

    def setup(self) -> None:
        """Loads the model, once for each worker's thread."""
        with _folder(self._source) as folder:
            self._predictor = Predictor.of(folder, self._settings)

    def process(self, element: tuple[Any, str]) -> Iterator[Any]:
        """Answers one input."""
        key, raw = element
        try:
            with _file(raw) as path:
                (answer,) = self._predictor([path])
        except OSError as error:  # of Beam's file systems
            path, answer = raw, {"error": f"{raw} cannot be read: {error}"}
        if "error" in answer:
            self._bad.inc()
            yield beam.pvalue.TaggedOutput(BAD, (key, answer["error"].replace(path, raw)))
        else:
            self._answered.inc()
            yield key, {**answer, "input": raw}


@contextlib.contextmanager
def _folder(source: str) -> Iterator[Path]:
    """An export's folder on this machine."""
    if not _URL.fullmatch(source):
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for pattern in _NEEDED:
            target = Path(scratch, pattern).parent
            target.mkdir(exist_ok=True)
            (found,) = FileSystems.match([FileSystems.join(source, *pattern.split("/"))])
            for each in found.metadata_list:
                _copy(each.path, target / PurePosixPath(each.path).name)
        if not Path(scratch, _NEEDED[0]).is_file():
            raise ValueError(f"{source} must be an export folder. Received: no {_NEEDED[0]} there")
        yield Path(scratch)


@contextlib.contextmanager
def _file(raw: str) -> Iterator[str]:
    """An input as it is, or what a URL names as a file of this machine."""
    if not _URL.fullmatch(raw):
        yield raw
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, PurePosixPath(raw).name)
        _copy(raw, path)
        yield str(path)


def _copy(url: str, path: Path) -> None:
    # As it is: Beam would unpack what ends in .gz.
    compression = beam.io.filesystem.CompressionTypes.UNCOMPRESSED
    with (
        FileSystems.open(url, compression_type=compression) as source,
        path.open("wb") as target,
    ):
        shutil.copyfileobj(source, target)
