"""The sequences that prove an export, and what the Keras model says to them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rnnapp.replay import Replay

if TYPE_CHECKING:
    import keras

STREAM_WINDOWS = 10  # joined into the long run of a stream
POINTS = 24  # places of the stream, and lengths of a padded batch, that are compared
SURE = 0.75  # a probability that no ordinary rounding takes below a half


@dataclass(frozen=True)
class Case:
    """Inputs of one call or one stream, and the probabilities that Keras answers with.

    Args:
        name: What the case protects.
        sequences: (batch, time, ...); or texts, objects (batch,).
        lengths: (batch,); what lies past them is not zero. Of texts, those of their tokens.
        expected: Probabilities, (batch, classes).
        targets: What is right, (batch,), -1 where nothing is; None where nowhere anything is.
    """

    name: str
    sequences: np.ndarray
    lengths: np.ndarray
    expected: np.ndarray
    targets: np.ndarray | None = None


class Reference:
    """The Keras model that an export is held against.

    Its cases, `windows()`, `padded()`, `stream()` and `texts()`, are computed once.

    Args:
        model: The model.
        replay: The run's validation sequences.
        unit: Input samples in one step; the grain of lengths that a stream can hear.
    """

    def __init__(self, model: keras.Model, replay: Replay, unit: int) -> None:
        import tensorflow as tf

        from rnnapp.exporting import signatures

        self.replay, self.unit = replay, unit
        # Kept by this object: a cache of the class would keep every model for ever.
        self.windows = functools.cache(self._windows)
        self.padded = functools.cache(self._padded)
        self.stream = functools.cache(self._stream)
        self.texts = functools.cache(self._texts)
        self._hears = signatures.hears(model)
        # One trace for every number and length of sequences.
        self._call = tf.function(
            lambda inputs: tf.nn.softmax(model(inputs, training=False)),
            input_signature=[[tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]],
        )

    def probabilities(self, sequences: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """What the Keras model answers, (batch, classes).

        Args:
            sequences: (batch, time, ...).
            lengths: True lengths, int32 (batch,).
        """
        import tensorflow as tf

        with tf.device("CPU"):  # the same arithmetic on a machine with an accelerator
            return self._call([sequences, lengths]).numpy()

    def _windows(self) -> Case:
        """Whole windows of sound, silence after a short one being heard; others at their length."""
        replay = self.replay
        heard = replay.lengths >= self.unit  # a stream cannot hear less than a step
        sequences = with_extremes(replay.sequences[heard])
        lengths = np.full(len(sequences), replay.time, np.int32)
        targets = np.full(len(sequences), -1, np.int32)
        targets[: heard.sum()] = replay.targets[heard]
        if not self._hears:
            lengths[: heard.sum()] = replay.lengths[heard]
        return Case(
            f"{'whole windows, silence' if self._hears else 'whole sequences, nothing'} and noise",
            sequences,
            lengths,
            self.probabilities(sequences, lengths),
            targets,
        )

    def _padded(self) -> Case:
        """Lengths from nothing to the window, padded with each sequence's first element."""
        replay = self.replay
        short = [0, self.unit // 2]  # not one whole step
        lengths = np.linspace(self.unit, replay.time, POINTS).astype(np.int32)
        lengths = np.unique(np.append(lengths, np.array(short, np.int32)))
        sequences = np.resize(replay.sequences, (len(lengths), *replay.sequences.shape[1:])).copy()
        expected = self.probabilities(_filled(sequences, lengths, 0.0), lengths)
        first = sequences[:, :1]
        return Case("lengths 0..T, padded", _filled(sequences, lengths, first), lengths, expected)

    def _texts(self) -> Case | None:
        """Raw texts of all lengths in one batch; None of a model of others."""
        texts = self.replay.texts
        if texts is None:
            return None
        expected = self.probabilities(texts.token_ids, texts.lengths)
        return Case("raw texts", texts.raw, texts.lengths, expected, self.replay.targets)

    def _stream(self) -> Case:
        """One long sequence, to be heard step by step; `lengths` are the places compared.

        No place has a label: right is what Keras says where it is sure.
        """
        replay = self.replay
        joined = np.concatenate(list(replay.sequences[:STREAM_WINDOWS]))[None]
        total = joined.shape[1] // self.unit
        steps = np.unique(np.geomspace(1, total, POINTS).astype(np.int32))
        lengths = (steps * self.unit).astype(np.int32)
        repeated = np.repeat(joined, len(lengths), axis=0)
        expected = self.probabilities(_filled(repeated, lengths, 0.0), lengths)
        sure = expected.max(axis=-1) > SURE
        targets = np.where(sure, expected.argmax(axis=-1), -1) if sure.any() else None
        return Case("a long stream", joined[:, : total * self.unit], lengths, expected, targets)


def with_extremes(sequences: np.ndarray) -> np.ndarray:
    """Sequences, and what no data set has but every device gets.

    Args:
        sequences: Float32 (examples, time, ...), to which silence, quiet and loud noise come; or
            int32 (examples, time) of tokens, to which padding alone and tokens at random come.
    """
    generator, like = np.random.default_rng(0), sequences[:1]
    noise: list[np.ndarray]
    if sequences.dtype.kind == "i":
        noise = [generator.integers(0, sequences.max() + 1, like.shape)]
    else:
        noise = [generator.uniform(-level, level, like.shape) for level in (1e-3, 1.0)]
    return np.concatenate([sequences, np.zeros_like(like), *noise]).astype(sequences.dtype)


def _filled(sequences: np.ndarray, lengths: np.ndarray, value: np.ndarray | float) -> np.ndarray:
    """`sequences` with `value` past their lengths; of tokens, an integer."""
    inside = np.arange(sequences.shape[1]) < lengths[:, None]
    inside = inside.reshape(inside.shape + (1,) * (sequences.ndim - 2))
    return np.where(inside, sequences, value).astype(sequences.dtype)
