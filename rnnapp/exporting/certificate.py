"""The certificate: every artefact, replayed in every runtime at hand, against the Keras model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.device import Stepper
from rnnapp.device.stepper import Runnable
from rnnapp.exporting.formats import FORMATS
from rnnapp.exporting.reference import Case, Reference
from rnnapp.exporting.runtimes import RUNTIMES
from rnnapp.progress import Report


@dataclass(frozen=True)
class Check:
    """One signature of one artefact in one runtime.

    Args:
        format: The artefact's format.
        runtime: What ran it.
        signature: Which of its functions.
        case: What was replayed.
        comparisons: Answers that were compared.
        finite: Whether all answers are finite numbers.
        max_difference: Largest difference of a probability to Keras; None if some are not finite.
        bound: What it may be.
        accuracy_difference: Accuracy on the replayed validation examples, less that of Keras.
        repeatable: Whether the same input gave the same answer after another one.
        median_us: Median time of a call, in microseconds.
    """

    format: str
    runtime: str
    signature: str
    case: str
    comparisons: int
    finite: bool
    max_difference: float | None
    bound: float
    accuracy_difference: float | None
    repeatable: bool
    median_us: float

    @property
    def passed(self) -> bool:
        """Whether the answers agree and no state leaked."""
        agrees = self.max_difference is not None and self.max_difference <= self.bound
        return agrees and self.repeatable

    def to_dict(self) -> dict[str, Any]:
        """As `certificate.json` holds it."""
        return {**asdict(self), "passed": self.passed}


def certify(
    folder: Path, formats: list[str], reference: Reference, report: Report
) -> dict[str, Any]:
    """Replays an export.

    Args:
        folder: The export folder.
        formats: Names in `FORMATS` that it holds.
        reference: The Keras model and the sequences.
        report: Told of progress.

    Returns:
        The certificate: `passed`, `checks`, `not_run`, `unproved` formats, which no runtime at
        hand could run, and the `runtimes`' versions.
    """
    jobs = [(name, runtime) for name in formats for runtime in FORMATS[name].runtimes]
    checks: list[Check] = []
    not_run = []
    cases = _cases(reference)
    for done, (name, runtime) in enumerate(jobs):
        report(done, len(jobs))
        if reason := RUNTIMES[runtime].absence:
            not_run.append({"format": name, "runtime": runtime, "reason": reason})
            continue
        with RUNTIMES[runtime].load(folder / FORMATS[name].path) as loaded:
            checks += [
                _check(name, runtime, loaded, signature, *cases[signature])
                for signature in loaded.signatures
            ]
    report(len(jobs), len(jobs))
    proved = {check.format for check in checks}
    unproved = [name for name in formats if name not in proved]
    return {
        "passed": bool(checks) and not unproved and all(check.passed for check in checks),
        "checks": [check.to_dict() for check in checks],
        "not_run": not_run,
        "unproved": unproved,
        "runtimes": {
            name: runtime.version for name, runtime in RUNTIMES.items() if not runtime.absence
        },
    }


def failures(certificate: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with each format of a certificate that has not passed, a line each."""
    broken: dict[str, list[str]] = {}
    for check in certificate["checks"]:
        if not check["passed"]:
            line = (
                f"{check['format']} in {check['runtime']}, signature "
                f"{check['signature']} ({check['case']}): {_fault(check)}"
            )
            broken.setdefault(check["format"], []).append(line)
    for name in certificate["unproved"]:
        runtimes = ", ".join(FORMATS[name].runtimes)
        broken[name] = [f"{name}: one of its runtimes must be installed: {runtimes}"]
    return broken


def _fault(check: dict[str, Any]) -> str:
    if not check["finite"]:
        return "answers that are not finite numbers"
    if check["max_difference"] > check["bound"]:
        return f"differs by {check['max_difference']:.2e}, allowed are {check['bound']:.0e}"
    return "gave another answer to the same input: it keeps state between calls"


def table(certificate: dict[str, Any]) -> list[list[str]]:
    """A certificate for people.

    Args:
        certificate: As `certify` returns it.

    Returns:
        A row of seven cells for each check, and for each artefact that a runtime did not run:
        verdict, format, runtime, signature, what was replayed, difference, time of a call.
    """
    rows = []
    for check in certificate["checks"]:
        largest = f"{check['max_difference']:.1e}" if check["finite"] else "not finite"
        rows.append(
            [
                "ok" if check["passed"] else "BAD",
                *(check[name] for name in ("format", "runtime", "signature", "case")),
                f"{largest} of {check['bound']:.0e}",
                f"{check['median_us']:.0f} µs",
            ]
        )
    for absent in certificate["not_run"]:
        rows.append(["not run", absent["format"], absent["runtime"], "", absent["reason"], "", ""])
    return rows


Replayer = Callable[[Runnable, str, Case], tuple[np.ndarray, bool, list[float]]]


def _cases(reference: Reference) -> dict[str, tuple[Case, Replayer]]:
    """What each signature is held against."""
    windows = reference.windows()
    return {
        "serving_default": (windows, _replay_windows),
        "predict": (windows, _replay_windows),
        "padded": (reference.padded(), _replay_padded),
        "step": (reference.stream(), _replay_stream),
    }


def _check(
    name: str, runtime: str, loaded: Runnable, signature: str, case: Case, replayer: Replayer
) -> Check:
    answers, repeatable, seconds = replayer(loaded, signature, case)
    accuracy = None
    if case.targets is not None:
        known = case.targets >= 0
        truth = case.targets[known]
        accuracy = float(
            np.mean(answers[known].argmax(-1) == truth)
            - np.mean(case.expected[known].argmax(-1) == truth)
        )
    difference = np.abs(answers - case.expected)
    finite = bool(np.isfinite(difference).all())
    return Check(
        name,
        runtime,
        signature,
        case.name,
        len(answers),
        finite,
        float(difference.max()) if finite else None,
        FORMATS[name].bound,
        accuracy,
        repeatable,
        1e6 * float(np.median(seconds)),
    )


def _replay_windows(
    loaded: Runnable, signature: str, case: Case
) -> tuple[np.ndarray, bool, list[float]]:
    """Each window alone; the first once more at the end, to see whether a state stayed behind."""
    name = next(iter(loaded.inputs(signature)))
    answers, seconds = [], []
    for sequence in [*case.sequences, case.sequences[0]]:
        begun = time.perf_counter()
        answers.append(loaded.run(signature, **{name: sequence[None]})["probabilities"][0])
        seconds.append(time.perf_counter() - begun)
    return np.stack(answers[:-1]), bool(np.array_equal(answers[0], answers[-1])), seconds


def _replay_padded(
    loaded: Runnable, signature: str, case: Case
) -> tuple[np.ndarray, bool, list[float]]:
    """All lengths in one batch, twice, with another batch between."""
    name = next(name for name in loaded.inputs(signature) if name != "lengths")

    def run(order: slice) -> np.ndarray:
        inputs = {name: case.sequences[order], "lengths": case.lengths[order]}
        return loaded.run(signature, **inputs)["probabilities"]

    begun = time.perf_counter()
    answers = run(slice(None))
    seconds = time.perf_counter() - begun
    run(slice(None, None, -1))
    return answers, bool(np.array_equal(answers, run(slice(None)))), [seconds]


def _replay_stream(
    loaded: Runnable, signature: str, case: Case
) -> tuple[np.ndarray, bool, list[float]]:
    """Step by step, twice from the start."""
    runs = [_stream(loaded, signature, case) for _ in range(2)]
    return runs[0][0], bool(np.array_equal(runs[0][0], runs[1][0])), runs[1][1]


def _stream(loaded: Runnable, signature: str, case: Case) -> tuple[np.ndarray, list[float]]:
    stepper = Stepper(loaded, signature)
    ((name, info),) = stepper.inputs.items()
    size, wanted = info.shape[1], set(case.lengths.tolist())
    answers, seconds = [], []
    for start in range(0, int(case.lengths.max()), size):
        begun = time.perf_counter()
        outputs = stepper(**{name: case.sequences[:, start : start + size]})
        seconds.append(time.perf_counter() - begun)
        if start + size in wanted:
            answers.append(outputs["probabilities"][0])
    return np.stack(answers), seconds
