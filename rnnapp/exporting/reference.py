"""The sequences that prove an export, and what the Keras model says to them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from rnnapp.exporting import translators
from rnnapp.exporting.cases import POINTS, Case, Measure, filled
from rnnapp.exporting.translators import TranslatorReference
from rnnapp.replay import Replay

if TYPE_CHECKING:
    import keras

STREAM_WINDOWS = 10  # joined into the long run of a stream
SURE = 0.75  # a probability that no ordinary rounding takes below a half


def reference_of(
    model: keras.Model, replay: Replay, unit: int, streams: bool
) -> Reference | TranslatorReference:
    """What an export is held against.

    Args:
        model: The Keras model.
        replay: The run's validation sequences.
        unit: Input samples in one step; the grain of lengths that a stream can hear.
        streams: Whether the model has a step, which its artefacts must have then.
    """
    if translators.translates(model):
        return translators.TranslatorReference(model, replay)
    return Reference(model, replay, unit, streams)


class Reference:
    """The Keras model that an export is held against.

    Its cases, `windows()`, `padded()`, `stream()` and `texts()`, are computed once. Sequences are
    judged by accuracy, those of tokens by the perplexity of what follows.

    Args:
        model: The model.
        replay: The run's validation sequences.
        unit: Input samples in one step; the grain of lengths that a stream can hear.
        streams: Whether the model has a step, which its artefacts must have then.
    """

    def __init__(self, model: keras.Model, replay: Replay, unit: int, streams: bool = True) -> None:
        import tensorflow as tf

        from rnnapp.exporting import signatures

        self.replay, self.unit, self.streams = replay, unit, streams
        self._measure: Measure = "perplexity" if replay.of_tokens else "accuracy"
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

    @property
    def places(self) -> list[int]:
        """Where the stream is compared, in steps."""
        return (self.stream().lengths // self.unit).tolist()

    def cases(self) -> dict[str, Case]:
        """What signatures are held against, by name."""
        cases = {"windows": self.windows(), "padded": self.padded(), "stream": self.stream()}
        texts = self.texts()
        return cases | ({"texts": texts} if texts else {})

    def wanted(self, signatures: Iterable[str]) -> set[str]:
        """The signatures that an artefact must have, of those of its format."""
        return {each for each in signatures if self.streams or each != "step"}

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
            self._measure,
        )

    def _padded(self) -> Case:
        """Lengths from nothing to the window, padded with each sequence's first element."""
        replay = self.replay
        short = [0, self.unit // 2]  # not one whole step
        lengths = np.linspace(self.unit, replay.time, POINTS).astype(np.int32)
        lengths = np.unique(np.append(lengths, np.array(short, np.int32)))
        sequences = np.resize(replay.sequences, (len(lengths), *replay.sequences.shape[1:])).copy()
        expected = self.probabilities(filled(sequences, lengths, 0.0), lengths)
        first = sequences[:, :1]
        return Case("lengths 0..T, padded", filled(sequences, lengths, first), lengths, expected)

    def _texts(self) -> Case | None:
        """Raw texts of all lengths in one batch; None of a model of others."""
        texts = self.replay.texts
        if texts is None:
            return None
        expected = self.probabilities(texts.token_ids, texts.lengths)
        targets = self.replay.targets
        return Case("raw texts", texts.raw, texts.lengths, expected, targets, self._measure)

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
        expected = self.probabilities(filled(repeated, lengths, 0.0), lengths)
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
