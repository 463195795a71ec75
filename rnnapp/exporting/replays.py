"""Replaying sequences in a runtime: windows alone, padded batches, streams step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rnnapp.device import Stepper
from rnnapp.device.sequences import LENGTHS
from rnnapp.device.stepper import Runnable
from rnnapp.exporting.cases import TEXT, Case
from rnnapp.exporting.translators import ENCODE, PAIRS, SERVING, SOURCES, STEP, TEXTS, replay_fed

Replayer = Callable[[Runnable, str, Case], tuple[np.ndarray, bool, list[float]]]


@dataclass(frozen=True)
class Replayed:
    """A signature of a loaded artefact, a case, and how one is held against the other.

    Args:
        loaded: The artefact in a runtime.
        signature: One of its functions.
        case: What it is held against.
        replayer: What runs one on the other: the answers, whether they were the same a second
            time, and the seconds of each call.
    """

    loaded: Runnable
    signature: str
    case: Case
    replayer: Replayer

    @property
    def is_stream(self) -> bool:
        """Whether the answers are those of one stream, at one place after another."""
        return self.replayer is _replay_stream


def replays(loaded: Runnable, cases: dict[str, Case]) -> Iterator[Replayed]:
    """What is replayed of an artefact: each signature, and of a step alone whole windows as well.

    Args:
        loaded: The artefact in a runtime.
        cases: As `Reference.cases` has them.
    """
    if PAIRS in cases:  # an encoder-decoder, each of whose signatures needs others
        whole = {ENCODE, STEP} <= set(loaded.signatures)
        for signature, case in _OF_TRANSLATORS.items() if whole else ():
            if signature in loaded.signatures and case in cases:
                yield Replayed(loaded, signature, cases[case], replay_fed)
        return
    for signature in loaded.signatures:
        case, replayer = _BY_SIGNATURE[signature]
        if TEXT in loaded.inputs(signature):
            case, replayer = "texts", _replay_padded
        yield Replayed(loaded, signature, cases[case], replayer)
    if loaded.signatures == ["step"]:
        yield Replayed(loaded, "step", cases["windows"], _replay_by_steps)


def _replay_windows(
    loaded: Runnable, signature: str, case: Case
) -> tuple[np.ndarray, bool, list[float]]:
    """Each alone; the first once more at the end, to see whether a state stayed behind."""
    answers, seconds = [], []
    for row in [*range(len(case.sequences)), 0]:
        inputs = _inputs(loaded, signature, case, slice(row, row + 1))
        begun = time.perf_counter()
        answers.append(loaded.run(signature, **inputs)["probabilities"][0])
        seconds.append(time.perf_counter() - begun)
    return np.stack(answers[:-1]), bool(np.array_equal(answers[0], answers[-1])), seconds


def _replay_by_steps(
    loaded: Runnable, signature: str, case: Case
) -> tuple[np.ndarray, bool, list[float]]:
    """Each alone, step by step from zeros; the first once more at the end."""
    stepper = Stepper(loaded, signature)
    answers = []
    seconds: list[float] = []
    for row in [*range(len(case.sequences)), 0]:
        stepper.reset()
        *_, last = _steps(stepper, case.sequences[row, None, : case.lengths[row]], seconds)
        answers.append(last["probabilities"][0])
    return np.stack(answers[:-1]), bool(np.array_equal(answers[0], answers[-1])), seconds


def _replay_padded(
    loaded: Runnable, signature: str, case: Case
) -> tuple[np.ndarray, bool, list[float]]:
    """All lengths in one batch, twice, with another batch between."""

    def run(order: slice) -> np.ndarray:
        return loaded.run(signature, **_inputs(loaded, signature, case, order))["probabilities"]

    begun = time.perf_counter()
    answers = run(slice(None))
    seconds = time.perf_counter() - begun
    run(slice(None, None, -1))
    return answers, bool(np.array_equal(answers, run(slice(None)))), [seconds]


def _inputs(loaded: Runnable, signature: str, case: Case, rows: slice) -> dict[str, np.ndarray]:
    """Some of a case's rows, with their lengths where those are asked for."""
    return {
        name: case.lengths[rows] if name == LENGTHS else case.sequences[rows]
        for name in loaded.inputs(signature)
    }


def _replay_stream(
    loaded: Runnable, signature: str, case: Case
) -> tuple[np.ndarray, bool, list[float]]:
    """Step by step, twice from the start."""
    runs = [_stream(loaded, signature, case) for _ in range(2)]
    return runs[0][0], bool(np.array_equal(runs[0][0], runs[1][0])), runs[1][1]


def _stream(loaded: Runnable, signature: str, case: Case) -> tuple[np.ndarray, list[float]]:
    stepper = Stepper(loaded, signature)
    ((_, info),) = stepper.inputs.items()
    wanted, answers = set(case.lengths.tolist()), []
    seconds: list[float] = []
    for number, outputs in enumerate(_steps(stepper, case.sequences, seconds), 1):
        if number * info.shape[1] in wanted:
            answers.append(outputs["probabilities"][0])
    return np.stack(answers), seconds


def _steps(
    stepper: Stepper, sequence: np.ndarray, seconds: list[float]
) -> Iterator[dict[str, np.ndarray]]:
    """The answers to a sequence (1, time, ...), step by step; how long each took goes along."""
    ((name, info),) = stepper.inputs.items()
    size = info.shape[1]
    for start in range(0, sequence.shape[1] - size + 1, size):
        begun = time.perf_counter()
        outputs = stepper(**{name: sequence[:, start : start + size]})
        seconds.append(time.perf_counter() - begun)
        yield outputs


# By signature: the case that it is held against, and how.
_BY_SIGNATURE: dict[str, tuple[str, Replayer]] = {
    "serving_default": ("windows", _replay_windows),
    "predict": ("windows", _replay_windows),
    "padded": ("padded", _replay_padded),
    "step": ("stream", _replay_stream),
}
_OF_TRANSLATORS = {SERVING: TEXTS, ENCODE: SOURCES, STEP: PAIRS}
