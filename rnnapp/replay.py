"""Sequences that go along with a run: some to make its exports from, others to prove them with."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pipelines.base import Pipeline

BATCH = 64
ARRAYS = ("sequences", "lengths", "targets")


@dataclass(frozen=True)
class Texts:
    """Raw texts, and what a pipeline makes of them.

    Args:
        raw: Strings, objects (examples,).
        token_ids: Int32 (examples, time), padded with zeros on the right.
        lengths: True lengths, int32 (examples,).
    """

    raw: np.ndarray
    token_ids: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, pipeline: Any, split: str, chosen: Sequence[int]) -> Texts:
        """Those of a split that are chosen, by their numbers in the pipeline's order."""
        wanted = set(chosen)
        read = {n: text for n, text in enumerate(pipeline.texts(split, BATCH)) if n in wanted}
        raw = [read[number] for number in chosen]
        inputs = pipeline.encode(*raw)
        return cls(np.array(raw, object), inputs["token_ids"], inputs["lengths"])

    def packed(self) -> dict[str, np.ndarray]:
        """As arrays that NumPy stores without pickling."""
        raw = np.frombuffer(json.dumps(self.raw.tolist()).encode(), np.uint8)
        return {"texts": raw, "text_ids": self.token_ids, "text_lengths": self.lengths}

    @classmethod
    def unpacked(cls, arrays: Any) -> Texts:
        """What `packed` gave."""
        raw = np.array(json.loads(arrays["texts"].tobytes()), object)
        return cls(raw, arrays["text_ids"], arrays["text_lengths"])


@dataclass(frozen=True)
class Replay:
    """Sequences kept with a run.

    Args:
        sequences: Float32 (examples, time, ...), or int32 (examples, time) of tokens, padded with
            zeros on the right.
        lengths: True lengths, int32 (examples,).
        targets: Labels, int32 (examples,).
        texts: What validation sequences of tokens say, to be asked raw; None of others.
    """

    sequences: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    texts: Texts | None = None

    @classmethod
    def draw(cls, pipeline: Pipeline, split: str, count: int, seed: int) -> Replay:
        """Draws sequences, as many of each label as there may be, the labels by turns.

        Args:
            pipeline: A pipeline with data.
            split: "validation" for those that judge, "train" for those that integers learn from.
            count: How many there are at most.
            seed: Draws them.

        Returns:
            The sequences, padded to the pipeline's window; without one, to its longest training
            sequence, at which longer ones are cut.
        """
        window = _window(pipeline)
        targets = np.array([target for *_, target in _examples(pipeline, split)])
        chosen = by_turns(targets, count, seed)
        place = {number: row for row, number in enumerate(chosen)}
        sequences, lengths = [np.zeros(0)] * len(chosen), np.zeros(len(chosen), np.int32)
        for number, (sequence, length, _) in enumerate(_examples(pipeline, split)):
            if number in place:
                row = place[number]
                lengths[row] = min(length, window)
                sequences[row] = _padded(sequence[: lengths[row]], window)
        asked = split == "validation" and hasattr(pipeline, "texts")  # the others judge nothing
        texts = Texts.of(pipeline, split, chosen) if asked else None
        return cls(np.stack(sequences), lengths, targets[chosen], texts)

    @classmethod
    def load(cls, path: Path) -> Replay:
        """Reads what `save` wrote.

        Raises:
            ValueError: If the file is damaged, or another one.
        """
        with path.open("rb") as file:  # which NumPy leaves open where it fails
            try:
                arrays = np.load(file)
                sequences, lengths, targets = (arrays[name] for name in ARRAYS)
                texts = Texts.unpacked(arrays) if "texts" in arrays else None
            except Exception as error:  # of many kinds: zipfile's, zlib's, NumPy's
                raise ValueError(
                    f"{path} must hold {', '.join(ARRAYS)}, as `rnnapp train` writes them. "
                    f"Received: {error!r}"
                ) from error
        exact = sequences.astype(np.float32) if sequences.dtype.kind == "f" else sequences
        return cls(exact, lengths, targets, texts)

    def save(self, path: Path) -> None:
        """Writes floats as float16, in which a 16-bit recording keeps 11 bits, where they fit."""
        sequences = self.sequences
        if sequences.dtype.kind == "f" and np.abs(sequences).max() <= np.finfo(np.float16).max:
            sequences = sequences.astype(np.float16)
        arrays: dict[str, Any] = {
            "sequences": sequences,
            "lengths": self.lengths,
            "targets": self.targets,
        }
        if self.texts:
            arrays |= self.texts.packed()
        np.savez_compressed(path, **arrays)

    @property
    def time(self) -> int:
        """Length of the window that the sequences are padded to."""
        return self.sequences.shape[1]


def by_turns(targets: np.ndarray, count: int, seed: int) -> list[int]:
    """Draws examples, one of each label in turn for as long as the label has any.

    Args:
        targets: Labels, (examples,).
        count: How many there are at most.
        seed: Draws them.

    Returns:
        Numbers of examples.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    pools = [order[targets[order] == label].tolist() for label in np.unique(targets)]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*pools))
    return [number for number in turns if number is not None][:count]


def _window(pipeline: Pipeline) -> int:
    """Timesteps of the pipeline's window, or of its longest training sequence."""
    declared, _ = pipeline.element_spec
    window = declared[_sequence(declared)].shape[1]
    return window or max(int(length) for _, length, _ in _examples(pipeline, "train"))


def _examples(pipeline: Pipeline, split: str) -> Iterator[tuple[np.ndarray, int, int]]:
    """Each sequence of a split with its length and label, in an order that never changes."""
    for inputs, targets in pipeline.dataset(split, BATCH).as_numpy_iterator():
        sequences, lengths = inputs[_sequence(inputs)], inputs["lengths"]
        if targets.ndim > 1:  # one for each timestep: what is asked for is the last one's
            targets = np.take_along_axis(targets, np.maximum(lengths[:, None] - 1, 0), 1)[:, 0]
        for sequence, length, target in zip(sequences, lengths, targets, strict=True):
            if length:
                yield sequence, length, target


def _sequence(inputs: Any) -> str:
    """The name of the input that is the sequence."""
    return next(name for name in inputs if name != "lengths")


def _padded(sequence: np.ndarray, time: int) -> np.ndarray:
    """(length, ...) -> (time, ...)."""
    return np.pad(sequence, [(0, time - len(sequence)), *[(0, 0)] * (sequence.ndim - 1)])
