"""Serve a .tflite file to another process: how a runtime of other versions is asked.

    python -m rnnapp.device.worker FILE.tflite RUNTIME

RUNTIME is the module that runs it, one of `rnnapp.device.interpreter.RUNTIMES`. Each message is its
length in eight bytes, then an .npz of arrays by name. The first one out describes the file,
`description` in JSON; then, for each one in with the inputs of the signature that `signature`
names, one goes out with its outputs, or with `error`.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from typing import IO, Any

import numpy as np

from rnnapp.device.interpreter import Model, load


def send(stream: IO[bytes], arrays: dict[str, Any]) -> None:
    """Write one message.

    Args:
        stream: where to.
        arrays: what it holds, by name.
    """
    content = io.BytesIO()
    np.savez(content, **arrays)
    stream.write(struct.pack("<Q", len(content.getvalue())) + content.getvalue())
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, np.ndarray] | None:
    """Read one message.

    Args:
        stream: where from.

    Returns:
        What it holds, by name; None where the stream ends, be it within a message.
    """
    head = stream.read(8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<Q", head)
    content = stream.read(size)
    if len(content) < size:
        return None
    with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)


def describe(model: Model) -> str:
    """Say in JSON what signatures a model has: name, shape, dtype, scale and zero point of all."""
    signatures = {
        name: [
            [
                [info.name, list(info.shape), info.dtype.name, float(info.scale), info.zero_point]
                for info in infos.values()
            ]
            for infos in (model.inputs(name), model.outputs(name))
        ]
        for name in model.signatures
    }
    return json.dumps(signatures, default=int)


def serve(path: str, runtime: str, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more.

    Args:
        path: a .tflite file.
        runtime: the module that runs it.
        requests: where they come from.
        answers: where the outputs go.
    """
    model = load(path, runtime=runtime)
    send(answers, {"description": describe(model)})
    while (inputs := receive(requests)) is not None:
        try:
            signature = str(inputs.pop("signature"))
            send(answers, model.run(signature, **inputs))
        except (ValueError, RuntimeError) as error:
            send(answers, {"error": str(error)})


if __name__ == "__main__":
    # What native code prints must not stand among the answers.
    stdout = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(stdout, "wb") as out:
        serve(sys.argv[1], sys.argv[2], sys.stdin.buffer, out)
