"""Try a model in TensorFlow Lite Micro, which ends its process on some, and where memory is short.

    python -m rnnapp.exporting.micro.trial FILE.tflite

It prints the bytes of the smallest arena that a step runs in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from rnnapp.exporting.micro.interpreter import MicroModel, UnsupportedModelError, plenty

GRAIN = 1024  # bytes


def smallest(content: bytes) -> int:
    """The smallest arena that a file runs in; the process must have no threads, for it forks.

    Args:
        content: The bytes of a TFLite file.

    Returns:
        Bytes, a multiple of `GRAIN`.
    """
    short, enough = 0, -(-plenty(content) // GRAIN)
    while enough - short > 1:
        middle = (short + enough) // 2
        if _suffices(content, middle * GRAIN):
            enough = middle
        else:
            short = middle
    return enough * GRAIN


def _suffices(content: bytes, arena_bytes: int) -> bool:
    """Whether a step runs in an arena, tried in a process that may crash."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        step(content, arena_bytes)
    except UnsupportedModelError:
        os._exit(1)
    os._exit(0)


def step(content: bytes, arena_bytes: int) -> None:
    """Runs one step from zeros.

    Args:
        content: The bytes of a TFLite file.
        arena_bytes: The memory that it works in.

    Raises:
        UnsupportedModelError: If it cannot.
    """
    model = MicroModel(content, "the model", arena_bytes)
    (signature,) = model.signatures
    inputs = model.inputs(signature).items()
    model.run(signature, **{name: np.zeros(info.shape, info.dtype) for name, info in inputs})


if __name__ == "__main__":
    file = Path(sys.argv[1]).read_bytes()
    try:
        step(file, plenty(file))  # here, where its complaints are heard
    except UnsupportedModelError as error:
        sys.exit(str(error.__cause__))
    print(smallest(file))
