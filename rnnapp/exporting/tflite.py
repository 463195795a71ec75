"""TFLite files: converted in a process of their own, described, with labels at their end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnapp.exporting import metadata

TIMEOUT_SECONDS = 300.0
BEGUN = "begun"  # the file in which the converting process says at which variant it is


class ConversionError(RuntimeError):
    """The converter failed at some variants; the files of the others are there.

    Args:
        model: What was converted.
        reasons: How it failed, by variant.
    """

    def __init__(self, model: Path, reasons: dict[str, str]) -> None:
        said = dict.fromkeys(reasons.values())
        super().__init__(
            f"TFLite conversion of {model} failed at {', '.join(reasons)}. "
            f"Leave out what fails: name the other formats by --formats. {' '.join(said)}"
        )
        self.reasons = reasons


def convert(
    model: Path,
    folder: Path,
    variants: Sequence[str],
    *,
    time: int,
    streams: bool,
    calibration: Path,
    rows: int = 1,
    float_parts: Sequence[str] = (),
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Converts a Keras model in a process of its own, since converters crash whole processes.

    After a failure another process goes on with the next variant.

    Args:
        model: A `.keras` file.
        folder: Where the files `VARIANT.tflite` go.
        variants: Names in `conversion.VARIANTS`.
        time: Length of the sequence that `predict` takes (samples or timesteps).
        streams: Whether the model is causal, and gets the signature `step`.
        calibration: A file of sequences, from which integers learn their ranges.
        rows: Hypotheses in an encoder-decoder's step.
        float_parts: What stays floats among integers of eight bits, as `sensitive_parts` names it.
        timeout_seconds: For each variant; one that is just being made may take twice as long.

    Raises:
        ConversionError: If the converter fails, crashes or takes too long at any of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job = _job(model, folder, calibration, time, streams)
    job |= {"rows": rows, "float_parts": list(float_parts)}
    reasons = _in_turn(job, folder, list(variants), timeout_seconds)
    (folder / BEGUN).unlink(missing_ok=True)
    if reasons:
        raise ConversionError(model, reasons)


def sensitive_parts(
    model: Path, *, time: int, calibration: Path, timeout_seconds: float = TIMEOUT_SECONDS
) -> list[str]:
    """What to keep in floats, first what integers of eight bits hurt most.

    Args:
        model: A `.keras` file of a causal model.
        time: Length of its window (samples or timesteps).
        calibration: A file of sequences, from which integers learn their ranges.
        timeout_seconds: For all of it.

    Returns:
        Names for `float_parts`, in this order.

    Raises:
        ConversionError: If the converter fails, crashes or takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = _job(model, Path(folder), calibration, time, streams=True)
        try:
            return _converted({**job, "variants": [], "rank": True}, timeout_seconds)
        except RuntimeError as failure:
            raise ConversionError(model, {"step_int8": f"Ranking its parts {failure}"}) from failure


def _job(model: Path, folder: Path, calibration: Path, time: int, streams: bool) -> dict[str, Any]:
    """What the converting process is told."""
    paths = {"model": str(model), "folder": str(folder), "calibration": str(calibration)}
    form = {"time": time, "rows": 1, "streams": streams, "float_parts": []}
    return {**paths, **form, "rank": False}


def _in_turn(
    job: dict[str, Any], folder: Path, left: list[str], timeout_seconds: float
) -> dict[str, str]:
    """How the converter failed, by variant."""
    reasons: dict[str, str] = {}
    while left:
        (folder / BEGUN).unlink(missing_ok=True)  # of another process
        try:
            _converted({**job, "variants": left}, timeout_seconds)
            break
        except RuntimeError as failure:
            if begun := _begun(folder):
                reasons[begun] = f"The converter failed at variant {begun!r}: it {failure}"
                (folder / f"{begun}.tflite").unlink(missing_ok=True)  # it may be there in part
                left = left[left.index(begun) + 1 :]
            else:
                reason = f"The converter failed before the first variant: it {failure}"
                return reasons | dict.fromkeys(left, reason)
    return reasons


def _begun(folder: Path) -> str:
    """The variant that the converting process is at; "" before the first."""
    path = folder / BEGUN
    return path.read_text() if path.exists() else ""


def _converted(job: dict[str, Any], timeout_seconds: float) -> list[str]:
    """Runs the conversion; what it returns, or how it failed."""
    with subprocess.Popen(
        [sys.executable, "-m", "rnnapp.exporting.conversion", json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # Keras would choose an accelerator's kernels, which no TFLite runtime has.
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    ) as process:
        try:
            said, complained = _heard(process, Path(job["folder"]), timeout_seconds)
        finally:
            process.kill()  # one that has ended is left alone
    if process.returncode:
        code = process.returncode
        how = f"signal {-code}" if code < 0 else f"code {code}"
        raise RuntimeError(f"ended with {how}. Its last words: {complained.strip()[-1500:]}")
    return json.loads(said.splitlines()[-1])


def _heard(process: subprocess.Popen[str], folder: Path, timeout_seconds: float) -> tuple[str, str]:
    """What a process says until its end, for which every variant gives it more time."""
    last = ""
    while True:
        try:
            return process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            if (begun := _begun(folder)) == last:
                raise RuntimeError(f"took more than {timeout_seconds:g} s.") from None
            last = begun


def describe(path: Path, name: str, sample_rate: int | None, files: Mapping[str, str]) -> None:
    """Adds metadata, and associated files.

    Args:
        path: A TFLite file.
        name: What the model is called.
        sample_rate: Of its waveforms, in hertz; None if it hears none.
        files: Texts by file name, `labels.txt` among them.
    """
    content = path.read_bytes()
    description = metadata.of_signatures(content, name=name, sample_rate=sample_rate)
    path.write_bytes(metadata.described(content, description))
    attach(path, files)


def attach(path: Path, files: Mapping[str, str]) -> None:
    """Appends associated files: an uncompressed zip after the model.

    Args:
        path: A TFLite file.
        files: Texts by file name.
    """
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for file_name, text in files.items():
            # A fixed date: the same model makes the same bytes.
            archive.writestr(zipfile.ZipInfo(file_name, (1980, 1, 1, 0, 0, 0)), text)
