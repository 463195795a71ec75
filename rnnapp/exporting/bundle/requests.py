"""Real requests for the signatures of a SavedModel, made of the sequences that prove an export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.text.tokenization import BEGIN
from rnnapp.device.sequences import LENGTHS
from rnnapp.device.stepper import NEXT
from rnnapp.exporting.doctor.saved_model_file import SavedModelFile
from rnnapp.replay import Replay

BATCHES = (1, 8)
QUANTILES = (0.0, 0.5, 1.0)  # of the lengths seen: the common ones

TOKEN_IDS = "token_ids"

Request = dict[str, np.ndarray]


@dataclass(frozen=True)
class Tensor:
    """What a signature takes or gives.

    Args:
        dtype: TensorFlow's name of its type.
        shape: Its shape, None for what varies; the batch first.
    """

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Signature:
    """A signature of a SavedModel.

    Args:
        name: Its name.
        inputs: What it takes, by name.
        outputs: What it gives, by name.
    """

    name: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    @property
    def states(self) -> list[str]:
        """Names of inputs whose next value is among the outputs."""
        return [name for name in self.inputs if NEXT + name in self.outputs]

    @property
    def reads_texts(self) -> bool:
        """Whether it takes raw texts."""
        return any(tensor.dtype == "string" for tensor in self.inputs.values())

    @property
    def needs_padding(self) -> bool:
        """Whether requests that are not equally long share a batch by padding alone."""
        return any(None in tensor.shape[1:] for tensor in self.inputs.values())


def signatures(folder: Path) -> list[Signature]:
    """The signatures of a SavedModel, read from its file; nothing of it is run.

    Args:
        folder: The SavedModel.

    Raises:
        BadFileError: If it is damaged.
    """
    return [
        Signature(name, _tensors(definition.inputs), _tensors(definition.outputs))
        for name, definition in sorted(SavedModelFile(folder).signatures.items())
    ]


def requests(signature: Signature, replay: Replay) -> list[Request]:
    """Batches of `BATCHES` sequences, each of common lengths.

    Args:
        signature: The signature that is asked.
        replay: Sequences of the model's own kind.

    Returns:
        Values by the names of its inputs; no request where an input is of another kind, which
        nothing here can fill.
    """
    texts = replay.texts if signature.reads_texts else None
    lengths = texts.lengths if texts else replay.lengths
    varies = signature.reads_texts or signature.needs_padding
    made = [_request(signature, replay, rows) for rows in _batches(lengths, varies)]
    return [request for request in made if request is not None]


def continued(
    signature: Signature,
    asked: Mapping[Signature, list[Request]],
    run: Callable[..., Request],
) -> list[Request]:
    """What a decoder's first step is asked: what an encoder answers, and the begin token.

    Args:
        signature: The signature that is asked.
        asked: The requests of others.
        run: Answers one, of a signature's name and its inputs by name.

    Returns:
        A request for each of the signature's that it goes on from; none where there is none.
    """
    source = goes_on_from(signature, asked)
    if source is None:
        return []
    answers = (run(source.name, **request) for request in asked[source])
    return [_first_step(signature, answer) for answer in answers]


def _first_step(signature: Signature, answer: Request) -> Request:
    rows = len(next(iter(answer.values())))
    given = {**answer, TOKEN_IDS: np.full(rows, BEGIN, np.int32)}
    return {name: given[name] for name in signature.inputs}


def goes_on_from(signature: Signature, others: Iterable[Signature]) -> Signature | None:
    """The signature whose answers are all that a decoder's step takes, but for the last tokens."""
    needed = signature.inputs.keys() - {TOKEN_IDS}
    return next((each for each in others if needed and needed <= each.outputs.keys()), None)


def _batches(lengths: np.ndarray, varies: bool) -> Iterator[np.ndarray]:
    """Rows of sequences that are about as long as each other, at each common length."""
    common = np.unique(np.quantile(lengths, QUANTILES if varies else QUANTILES[-1:]))
    for length in common:
        nearest = np.argsort(np.abs(lengths - length), kind="stable")
        yield from (nearest[:size] for size in BATCHES)


def _request(signature: Signature, replay: Replay, rows: np.ndarray) -> Request | None:
    """One request of some rows; None where an input cannot be filled."""
    values = {name: _value(signature, name, replay, rows) for name in signature.inputs}
    filled = {name: value for name, value in values.items() if value is not None}
    return filled if len(filled) == len(values) else None


def _value(signature: Signature, name: str, replay: Replay, rows: np.ndarray) -> np.ndarray | None:
    """What an input takes of some rows: texts, lengths, states of zeros or sequences; or None."""
    tensor, sequences = signature.inputs[name], replay.sequences
    batch, rest = tensor.shape[:1], tensor.shape[1:]
    if batch != (None,):
        return None
    if tensor.dtype == "string":
        return replay.texts.raw[rows] if replay.texts and not rest else None
    if name.endswith(LENGTHS) and not rest:
        return replay.lengths[rows].astype(tensor.dtype)
    if name in signature.states:  # a stream begins with zeros
        sizes = [size for size in rest if size is not None]
        return np.zeros((len(rows), *sizes), tensor.dtype) if len(sizes) == len(rest) else None
    if tensor.dtype != sequences.dtype.name or rest[1:] != sequences.shape[2:] or not rest:
        return None
    time = rest[0] or int(replay.lengths[rows].max())
    return sequences[rows, :time] if time <= replay.time else None


def rows_of(request: Request) -> list[dict[str, Any]]:
    """A request as the `instances` of TensorFlow Serving's REST interface.

    Args:
        request: Values by name.

    Returns:
        The inputs of each row; floats with as many digits as float32 has.
    """
    lists = {name: _exact(value).tolist() for name, value in request.items()}
    size = len(next(iter(lists.values())))
    return [{name: values[row] for name, values in lists.items()} for row in range(size)]


def _exact(value: np.ndarray) -> np.ndarray:
    """Float32 as the shortest decimals that are read as the same; others as they are."""
    return value.astype(str).astype(float) if value.dtype == np.float32 else value


def _tensors(infos: Any) -> dict[str, Tensor]:
    """In the order of their names, which a map of a protocol buffer does not keep."""
    import tensorflow as tf

    return {
        name: Tensor(
            tf.as_dtype(info.dtype).name,
            tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim),
        )
        for name, info in sorted(infos.items())
    }
