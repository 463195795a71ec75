"""How much memory a model needs in TensorFlow Lite Micro."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from rnnapp.exporting.micro.interpreter import UnsupportedModelError

_TIMEOUT_SECONDS = 120


def measured(path: Path) -> int:
    """The smallest arena that a file runs in, found by trying.

    Args:
        path: A TFLite file, which may be one that crashes the runtime.

    Returns:
        Bytes, a multiple of `trial.GRAIN`.

    Raises:
        ImportError: If TensorFlow Lite Micro is not installed.
        UnsupportedModelError: If it cannot run the file in any; the message has its last words.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        raise ImportError(
            "TensorFlow Lite Micro must be installed to write for it: "
            "`pip install --pre tflite-micro`"
        )
    command = [sys.executable, "-m", "rnnapp.exporting.micro.trial", str(path)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise UnsupportedModelError(_refusal(f"took more than {_TIMEOUT_SECONDS} s")) from None
    if done.returncode:
        said = " ".join(done.stderr.split())[-500:]
        raise UnsupportedModelError(
            _refusal(f"ended with {done.returncode}. Its last words: {said}")
        )
    return int(done.stdout.splitlines()[-1])


def _refusal(how: str) -> str:
    return f"TensorFlow Lite Micro cannot run the model: leave its formats out. It {how}"
