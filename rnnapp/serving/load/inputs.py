"""What a load test asks: requests from files, or drawn by what a signature takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rnnapp.device.sequences import LENGTHS
from rnnapp.serving.errors import ServingError, invalid
from rnnapp.serving.server import json_tensors
from rnnapp.serving.signatures import DEFAULT, Arrays, Signature, TensorSpec
from rnnapp.serving.tensors import STRING, dtype_of
from rnnapp.specs import require

DRAWN = 64  # different requests, which are sent in turn
COMMON = (25, 50)  # steps of a model that sequences often have
Lengths = tuple[int, int]


def read(paths: Iterable[Path], signature: Signature) -> list[Arrays]:
    """Requests in files of JSON as REST's `:predict` takes it; a `.jsonl` has one a line.

    Args:
        paths: The files; an export has some in `serving/examples`.
        signature: What is asked.

    Raises:
        ValueError: If one is none; the message names it.
    """
    found = []
    for path in paths:
        content = path.read_bytes()
        for number, line in enumerate(
            content.splitlines() if path.suffix == ".jsonl" else [content], 1
        ):
            if not line.strip():
                continue
            try:
                found.append(_request(line, signature))
            except ServingError as error:
                raise ValueError(f"{path}:{number}: {error.message}") from error
    require(bool(found), "inputs", "files that hold a request", [str(path) for path in paths])
    return found


def _request(content: bytes, signature: Signature) -> Arrays:
    document = json_tensors.parse(content)
    name = document.get("signature_name") or DEFAULT
    if name != signature.name:
        raise invalid(f"it must ask the signature `{signature.name}`. Received: `{name}`")
    return signature.checked(json_tensors.arrays(document, signature))


def drawn(signature: Signature, lengths: Lengths | None, seed: int = 0) -> list[Arrays]:
    """Requests of one row of noise, or of words of noise; `DRAWN` of them.

    Args:
        signature: What is asked.
        lengths: The fewest and the most timesteps, or words of a text; drawn evenly between.
        seed: Another seed draws others.

    Raises:
        ValueError: If the signature takes what nothing here can draw.
    """
    names = [n for n in signature.inputs if not (signature.sequences and n == LENGTHS)]
    for name in names:
        spec = signature.inputs[name]
        if spec.shape is None:
            raise ValueError(f"`inputs` must be given: `{name}` of `{signature.name}` is {spec}")
        require(
            lengths is not None or not _varies(spec),
            "lengths",
            f"given, as in 8000..16000 timesteps or words, since `{name}` may be of any length",
            lengths,
        )
    generator, rows = np.random.default_rng(seed), list[Arrays]()
    for _ in range(DRAWN):
        time = int(generator.integers(*lengths, endpoint=True)) if lengths else 0
        rows.append({n: _noise(signature.inputs[n], time, generator) for n in names})
    return rows


def common_lengths(signature: Signature, unit: int) -> Lengths:
    """Lengths as they often are; one alone where different ones could share no batch.

    Args:
        signature: What is asked.
        unit: Timesteps in a step of the model.
    """
    texts = any(dtype_of(spec.dtype) == STRING for spec in signature.inputs.values())
    fewest, most = (steps * unit for steps in COMMON)
    return (fewest if signature.pads or texts else most, most)


def _varies(spec: TensorSpec) -> bool:
    return dtype_of(spec.dtype) == STRING or -1 in (spec.shape or ())[1:]


def _noise(spec: TensorSpec, time: int, generator: np.random.Generator) -> np.ndarray:
    dtype, sizes = dtype_of(spec.dtype), (spec.shape or ())
    shape = [size if size >= 0 else (time if axis else 1) for axis, size in enumerate(sizes)]
    if dtype == STRING:
        return np.full(shape, _words(time, generator), dtype)
    if dtype.kind == "f":
        return generator.uniform(0, 0.1, shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)  # ids that each vocabulary has


def _words(count: int, generator: np.random.Generator) -> bytes:
    """Words of five letters."""
    letters = generator.integers(ord("a"), ord("z") + 1, (count, 5)).astype(np.uint8)
    return b" ".join(word.tobytes() for word in letters)
