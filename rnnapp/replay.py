"""Sequences that go along with a run: some to make its exports from, others to prove them with."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnapp.device.sequences import LENGTHS

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
        token_ids, lengths = pipeline.tokens_of(raw)
        return cls(np.array(raw, object), token_ids, lengths)

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
        targets: Labels, int32 (examples,); or of pairs the token ids that follow a begin token,
            (examples, target timesteps), padded with zeros.
        texts: What validation sequences of tokens say, to be asked raw; None of others.
        of_tokens: Whether targets are tokens of a text, by which models are judged as such.
    """

    sequences: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    texts: Texts | None = None
    of_tokens: bool = False

    @classmethod
    def draw(
        cls, pipeline: Pipeline, split: str, count: int, seed: int, window: int | None = None
    ) -> Replay:
        """Draws sequences; where they have labels, as many of each as there may be, by turns.

        Args:
            pipeline: A pipeline with data.
            split: "validation" for those that judge, "train" for those that integers learn from.
            count: How many there are at most.
            seed: Draws them.
            window: What they are padded to, and cut at; `window_of(pipeline)` by default.

        Returns:
            The sequences.

        Raises:
            ValueError: If the split has none.
        """
        window = window or window_of(pipeline)
        _, declared = pipeline.element_spec
        of_tokens = declared.shape.rank > 1 and declared.dtype.is_integer
        labels = np.array([0 if of_tokens else y for *_, y in _examples(pipeline, split)])
        chosen = by_turns(labels, count, seed)
        place = {number: row for row, number in enumerate(chosen)}
        drawn: list[Any] = [None] * len(chosen)
        for number, (sequence, length, target) in enumerate(_examples(pipeline, split)):
            if number in place:
                size = min(length, window)
                drawn[place[number]] = _padded(sequence[:size], window), size, target
        if not drawn:
            raise ValueError(f"The {split} split must have a sequence to keep. Received: none.")
        sequences, lengths, targets = zip(*drawn, strict=True)
        longest = max(np.size(target) for target in targets)
        padded = [_padded(y, longest) if np.ndim(y) else y for y in targets]
        asked = split == "validation" and hasattr(pipeline, "texts")  # the others judge nothing
        texts = Texts.of(pipeline, split, chosen) if asked else None
        return cls(
            np.stack(sequences),
            np.array(lengths, np.int32),
            np.array(padded, np.int32),
            texts,
            of_tokens,
        )

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
                of_tokens = "of_tokens" in arrays
            except Exception as error:  # of many kinds: zipfile's, zlib's, NumPy's
                raise ValueError(
                    f"{path} must hold {', '.join(ARRAYS)}, as `rnnapp train` writes them. "
                    f"Received: {error!r}"
                ) from error
        exact = sequences.astype(np.float32) if sequences.dtype.kind == "f" else sequences
        return cls(exact, lengths, targets, texts, of_tokens)

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
        if self.of_tokens:
            arrays["of_tokens"] = np.True_
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


def window_of(pipeline: Pipeline) -> int:
    """Timesteps of a pipeline's window; without one, of its longest training sequence."""
    inputs, _ = pipeline.element_spec
    sequences = next(x for name, x in inputs.items() if not name.endswith(LENGTHS))
    return sequences.shape[1] or max(int(size) for _, size, _ in _examples(pipeline, "train"))


def _examples(pipeline: Pipeline, split: str) -> Iterator[tuple[np.ndarray, int, Any]]:
    """Each sequence of a split with its length and target, in an order that never changes.

    The target of a sequence alone is what follows it, that of a pair all of its other side.
    """
    for inputs, targets in pipeline.dataset(split, BATCH).as_numpy_iterator():
        sequences, *others = (x for name, x in inputs.items() if not name.endswith(LENGTHS))
        (lengths,) = (x for name, x in inputs.items() if name.endswith(LENGTHS))
        if targets.ndim > 1 and not others:
            targets = np.take_along_axis(targets, np.maximum(lengths[:, None] - 1, 0), 1)[:, 0]
        for sequence, length, target in zip(sequences, lengths, targets, strict=True):
            if length:
                yield sequence, length, target


def _padded(sequence: np.ndarray, time: int) -> np.ndarray:
    """(length, ...) -> (time, ...)."""
    return np.pad(sequence, [(0, time - len(sequence)), *[(0, 0)] * (sequence.ndim - 1)])
