"""Encoder-decoders in exports: the signatures that a search asks, and what proves them.

`encode` reads sources, `step` says one token more; a SavedModel's `serving_default` is an `encode`
of raw sentences. All three are judged by the probabilities of next tokens, given the true ones
before them.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.text.tokenization import BEGIN
from rnnapp import metrics
from rnnapp.device.fixed import FixedShapes
from rnnapp.device.interpreter import TensorInfo
from rnnapp.device.stepper import NEXT, Runnable
from rnnapp.exporting.cases import POINTS, TEXT, Case, filled
from rnnapp.replay import Replay

if TYPE_CHECKING:
    import keras

    from rnnapp.exporting.signatures import Signatures

SERVING, ENCODE, STEP = "serving_default", "encode", "step"  # signatures
TEXTS, SOURCES, PAIRS = "texts", "sources", "pairs"  # cases
NO_STREAM = "it reads a whole source first: `step` goes on from what `encode` gives"
MOST_PAIRS = 64  # that are told token by token


def translates(model: keras.Model) -> bool:
    """Whether a model is an encoder-decoder, as `rnnapp.encoder_decoder` builds it."""
    return model.inputs[0].name == "source_ids"


def signatures(
    model: keras.Model,
    timesteps: int | None,
    rows: int | None,
    read: Callable[..., Any] | None = None,
) -> Signatures:
    """The functions of an encoder-decoder, by name, with the specifications of their inputs.

    Args:
        model: The model.
        timesteps: Tokens of the sources; None for any number.
        rows: Hypotheses in a step, of one source; None for any number of both.
        read: From sentences, string (batch,), to token ids and lengths; None for no raw ones.
    """
    import tensorflow as tf

    from rnnapp.encoder_decoder import EncodeStep

    asked = EncodeStep(model)
    found: Signatures = {
        ENCODE: (asked.encode, asked.encode_specs(rows and 1, timesteps)),
        STEP: (asked.step, asked.step_specs(rows, timesteps)),
    }
    if read is not None:
        text = tf.TensorSpec((None,), tf.string, TEXT)
        found[SERVING] = (lambda texts: asked.encode(*read(texts)), {TEXT: text})
    return found


class TranslatorReference:
    """An encoder-decoder of Keras that an export is held against, as `reference.Reference`.

    Args:
        model: The model.
        replay: The run's validation pairs.
    """

    places: list[int] = []  # of a stream: there is none

    def __init__(self, model: keras.Model, replay: Replay) -> None:
        import tensorflow as tf

        self.replay = replay
        self.cases = functools.cache(self._cases)
        self._call = tf.function(
            lambda inputs: tf.nn.softmax(model(inputs, training=False)),
            input_signature=[[tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]],
        )

    def wanted(self, signatures: Iterable[str]) -> set[str]:
        """The signatures that an artefact must have, of those of its format."""
        return {SERVING} & set(signatures) | {ENCODE, STEP}

    def _cases(self) -> dict[str, Case]:
        """`sources` of all lengths and raw `texts`, by their first tokens, and `pairs` by all."""
        replay = self.replay
        few = slice(MOST_PAIRS)
        cases = {
            SOURCES: self._sources(),
            PAIRS: self._case(
                "pairs, token by token",
                replay.sequences[few],
                replay.lengths[few],
                replay.targets[few],
            ),
        }
        if replay.texts:
            ids, lengths = replay.texts.token_ids[few], replay.texts.lengths[few]
            firsts = self._case("raw sentences", ids, lengths, replay.targets[few, :1])
            cases[TEXTS] = firsts.asked(replay.texts.raw[few])
        return cases

    def _sources(self) -> Case:
        """Sources of one token to the longest, padded with each one's first token."""
        replay = self.replay
        lengths = np.unique(np.linspace(1, replay.time, POINTS).astype(np.int32))
        true = np.arange(replay.time) < replay.lengths[:, None]
        sources = np.resize(replay.sequences[true], (len(lengths), replay.time))
        none = np.zeros((len(lengths), 1), np.int32)
        case = self._case("lengths 1..T, padded", filled(sources, lengths, 0), lengths, none)
        return case.asked(filled(sources, lengths, sources[:, :1]))

    def _case(
        self, name: str, sources: np.ndarray, lengths: np.ndarray, targets: np.ndarray
    ) -> Case:
        """What Keras says of the token at each place of targets (batch, target timesteps)."""
        import tensorflow as tf

        targets = targets[:, : max(1, int((targets != 0).sum(axis=1).max()))]  # of these alone
        fed = np.pad(targets[:, :-1], [(0, 0), (1, 0)], constant_values=BEGIN)
        true = targets != 0  # (batch, target timesteps)
        true[:, 0] = True  # there is something to say to every source
        with tf.device("CPU"):
            probabilities = self._call([sources, lengths, fed]).numpy()[true]
        known = np.where(targets[true] == 0, -1, targets[true])
        told = np.where(true, fed, 0)
        return Case(name, sources, lengths, probabilities, known, "perplexity", told)


def replay_fed(
    loaded: Runnable, signature: str, case: Case
) -> tuple[np.ndarray, bool, list[float]]:
    """Tells an artefact the true tokens, twice, with other sources between.

    Args:
        loaded: The artefact in a runtime.
        signature: What is judged: `step` after `encode`, or what encodes.
        case: Sources, and what to say to them.

    Returns:
        The answers, (tokens, vocabulary); whether they were the same a second time; and the
        seconds of each call of the signature.
    """
    clocked = Clocked(loaded)
    model = FixedShapes(clocked) if _is_fixed(loaded) else clocked
    encoder = ENCODE if signature == STEP else signature
    answers = _fed(model, encoder, case)
    _fed(model, encoder, _reversed(case))
    repeatable = np.array_equal(answers, _fed(model, encoder, case))
    return answers, repeatable, clocked.seconds[signature]


def _is_fixed(loaded: Runnable) -> bool:
    """Whether an artefact takes so many tokens and no others; sizes that vary are told as 1."""
    return loaded.inputs(ENCODE)["source_ids"].shape[1] > 1


def _fed(model: Any, encoder: str, case: Case) -> np.ndarray:
    """The probabilities of what follows each true token."""
    assert case.fed is not None
    sources = {"source_ids": case.sequences, "source_lengths": case.lengths}
    carried = model.run(encoder, **({TEXT: case.sequences} if encoder == SERVING else sources))
    logits = []
    for token_ids in case.fed.T:
        outputs = model.run(STEP, token_ids=token_ids, **carried)
        logits.append(outputs["logits"])
        carried = {name: outputs.get(NEXT + name, value) for name, value in carried.items()}
    return metrics.softmax(np.stack(logits, axis=1)[case.fed != 0])


def _reversed(case: Case) -> Case:
    """The same, the last source first."""
    assert case.fed is not None
    rows = {name: getattr(case, name)[::-1] for name in ("sequences", "lengths", "fed")}
    return dataclasses.replace(case, **rows)


class Clocked:
    """An artefact in a runtime whose calls are timed.

    Args:
        loaded: The artefact.

    Attributes:
        seconds: Of each call, by signature.
    """

    def __init__(self, loaded: Runnable) -> None:
        self.name, self.signatures, self._loaded = loaded.name, loaded.signatures, loaded
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the inputs of a signature, by name."""
        return self._loaded.inputs(signature)

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes the outputs of a signature, by name."""
        return self._loaded.outputs(signature)

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature once."""
        begun = time.perf_counter()
        outputs = self._loaded.run(signature, **inputs)
        self.seconds[signature].append(time.perf_counter() - begun)
        return outputs
