"""Sequences that go along with a run: some to make its exports from, others to prove them with."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pipelines.base import Pipeline

BATCH = 64
ARRAYS = ("sequences", "lengths", "targets")


@dataclass(frozen=True)
class Replay:
    """Sequences kept with a run.

    Args:
        sequences: Float32 (examples, time, ...), or int32 (examples, time) of tokens, padded with
            zeros on the right.
        lengths: True lengths, int32 (examples,).
        targets: Labels, int32 (examples,).
        texts: What the sequences are the tokens of, objects (examples,); None of other sequences.
    """

    sequences: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    texts: np.ndarray | None = None

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
        texts = None
        if hasattr(pipeline, "texts"):
            every = list(pipeline.texts(split, BATCH))
            texts = np.array([every[number] for number in chosen], object)
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
                texts = _unpacked(arrays["texts"]) if "texts" in arrays else None
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
        if self.texts is not None:
            arrays["texts"] = _packed(self.texts)
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
        yield from zip(inputs[_sequence(inputs)], inputs["lengths"], targets, strict=True)


def _packed(texts: np.ndarray) -> np.ndarray:
    """Texts as bytes, uint8, which NumPy stores without pickling."""
    return np.frombuffer(json.dumps(texts.tolist()).encode(), np.uint8)


def _unpacked(packed: np.ndarray) -> np.ndarray:
    return np.array(json.loads(packed.tobytes()), object)


def _sequence(inputs: Any) -> str:
    """The name of the input that is the sequence."""
    return next(name for name in inputs if name != "lengths")


def _padded(sequence: np.ndarray, time: int) -> np.ndarray:
    """(length, ...) -> (time, ...)."""
    return np.pad(sequence, [(0, time - len(sequence)), *[(0, 0)] * (sequence.ndim - 1)])
