"""TFLite files: converted in a process of their own, described, with labels at their end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnapp.exporting import metadata


class ConversionError(RuntimeError):
    """The converter failed; the message says on what, and how."""


def convert(
    model: Path,
    folder: Path,
    variants: Sequence[str],
    *,
    time: int,
    streams: bool,
    replay: Path,
    float_parts: int = 0,
    timeout_seconds: float = 300.0,
) -> list[str]:
    """Converts a Keras model in a process of its own, since converters crash whole processes.

    Args:
        model: A `.keras` file.
        folder: Where the files `VARIANT.tflite` go.
        variants: Names in `conversion.VARIANTS`.
        time: Length of the sequence that `predict` takes (samples or timesteps).
        streams: Whether the model is causal, and gets the signature `step`.
        replay: A file of sequences, which the ranges of integers are learnt from.
        float_parts: How many parts stay floats among integers of eight bits.
        timeout_seconds: For all of it.

    Returns:
        The names of those parts.

    Raises:
        ConversionError: If the converter fails, crashes or takes too long.
    """
    job = {
        "model": str(model),
        "folder": str(folder),
        "variants": list(variants),
        "time": time,
        "streams": streams,
        "replay": str(replay),
        "float_parts": float_parts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _converted(job, timeout_seconds)
    except RuntimeError as failure:
        left = [variant for variant in variants if not (folder / f"{variant}.tflite").exists()]
        raise ConversionError(
            f"TFLite conversion of {model} failed at variant {(left or ['?'])[0]!r}. "
            f"Leave it out: name the other formats by --formats. The converter {failure}"
        ) from None


def _converted(job: dict[str, Any], timeout_seconds: float) -> list[str]:
    """Runs the conversion; what it returns, or how it failed."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rnnapp.exporting.conversion", json.dumps(job)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            # Keras would choose an accelerator's kernels, which no TFLite runtime has.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took more than {timeout_seconds:g} s.") from None
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        raise RuntimeError(f"ended with {how}. Its last words: {done.stderr.strip()[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


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
