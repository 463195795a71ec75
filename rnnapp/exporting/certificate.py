"""The certificate: every artefact, replayed in every runtime at hand, against the Keras model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.exporting.formats import FORMATS
from rnnapp.exporting.reference import Case, Reference
from rnnapp.exporting.replays import Replayed, replays
from rnnapp.exporting.runtimes import RUNTIMES
from rnnapp.progress import Report

MAX_QUALITY_LOSS = 0.01


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
        bound: What it may be; None if quality alone decides.
        accuracy: Share of the replayed validation examples that it gets right; None without any.
        quality_loss: By what share of Keras' accuracy it is worse; negative if it is better.
        max_quality_loss: What that may be.
        repeatable: Whether the same input gave the same answer after another one.
        median_us: Median time of a call, in microseconds.
        drift: Of a stream, the largest difference at each place compared, from its start on.
    """

    format: str
    runtime: str
    signature: str
    case: str
    comparisons: int
    finite: bool
    max_difference: float | None
    bound: float | None
    accuracy: float | None
    quality_loss: float | None
    max_quality_loss: float
    repeatable: bool
    median_us: float
    drift: list[float] | None

    @property
    def passed(self) -> bool:
        """Whether the answers agree, are as good, and no state leaked."""
        agrees = self.bound is None or (self.max_difference or 0.0) <= self.bound
        as_good = (self.quality_loss or 0.0) <= self.max_quality_loss
        return self.finite and agrees and as_good and self.repeatable

    def to_dict(self) -> dict[str, Any]:
        """As `certificate.json` holds it."""
        return {**asdict(self), "passed": self.passed}


def certify(
    folder: Path,
    formats: list[str],
    reference: Reference,
    report: Report,
    *,
    max_quality_loss: float = MAX_QUALITY_LOSS,
    known: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Replays an export.

    Args:
        folder: The export folder.
        formats: Names in `FORMATS` that it holds.
        reference: The Keras model and the sequences.
        report: Told of progress.
        max_quality_loss: By what share of Keras' accuracy an artefact may be worse.
        known: Its certificate, where only `formats` have changed since.

    Returns:
        The certificate: `passed`, `checks`, `not_run`, `unproved` formats, which no runtime at
        hand could run, `max_quality_loss`, the `places` of a stream that are compared, in steps,
        and the `runtimes`' versions.
    """
    jobs = [(name, runtime) for name in formats for runtime in FORMATS[name].runtimes]
    others = without(known, formats) if known else {"checks": [], "not_run": []}
    checks, not_run = others["checks"], others["not_run"]
    cases = _cases(reference)
    for done, (name, runtime) in enumerate(jobs):
        report(done, len(jobs))
        if reason := RUNTIMES[runtime].absence:
            not_run.append({"format": name, "runtime": runtime, "reason": reason})
            continue
        with RUNTIMES[runtime].load(folder / FORMATS[name].path) as loaded:
            checks += [
                _check(name, runtime, replay, max_quality_loss).to_dict()
                for replay in replays(loaded, cases)
            ]
    report(len(jobs), len(jobs))
    proved = {check["format"] for check in checks}
    unproved = [name for name in formats if name not in proved]
    return {
        "passed": bool(checks) and not unproved and all(check["passed"] for check in checks),
        "checks": checks,
        "not_run": not_run,
        "unproved": unproved,
        "max_quality_loss": max_quality_loss,
        "places": (cases["stream"].lengths // reference.unit).tolist(),
        "runtimes": {
            name: runtime.version for name, runtime in RUNTIMES.items() if not runtime.absence
        },
    }


def without(certificate: dict[str, Any], formats: list[str]) -> dict[str, Any]:
    """What a certificate says of the other formats.

    Args:
        certificate: As `certify` returns it.
        formats: Names that are left out.
    """
    checks, not_run = (
        [entry for entry in certificate[part] if entry["format"] not in formats]
        for part in ("checks", "not_run")
    )
    unproved = [name for name in certificate["unproved"] if name not in formats]
    passed = bool(checks) and not unproved and all(check["passed"] for check in checks)
    return {
        **certificate,
        "passed": passed,
        "checks": checks,
        "not_run": not_run,
        "unproved": unproved,
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
    if check["bound"] is not None and check["max_difference"] > check["bound"]:
        return f"differs by {check['max_difference']:.2e}, allowed are {check['bound']:.0e}"
    if not check["repeatable"]:
        return "gave another answer to the same input: it keeps state between calls"
    return (
        f"gets {check['accuracy']:.1%} right, {check['quality_loss']:.1%} less than the model, "
        f"allowed are {check['max_quality_loss']:.1%} (--max-quality-loss)"
    )


def table(certificate: dict[str, Any]) -> list[list[str]]:
    """A certificate for people.

    Args:
        certificate: As `certify` returns it.

    Returns:
        A row of eight cells for each check, and for each artefact that a runtime did not run:
        verdict, format, runtime, signature, what was replayed, difference, accuracy, time of a
        call.
    """
    rows = []
    for check in certificate["checks"]:
        largest = f"{check['max_difference']:.1e}" if check["finite"] else "not finite"
        bound = "" if check["bound"] is None else f" of {check['bound']:.0e}"
        rows.append(
            [
                "ok" if check["passed"] else "BAD",
                *(check[name] for name in ("format", "runtime", "signature", "case")),
                largest + bound,
                "" if check["accuracy"] is None else f"{check['accuracy']:.1%}",
                f"{check['median_us']:.0f} µs",
            ]
        )
    for absent in certificate["not_run"]:
        rows.append(
            ["not run", absent["format"], absent["runtime"], "", absent["reason"], "", "", ""]
        )
    return rows


def _cases(reference: Reference) -> dict[str, Case]:
    """What signatures are held against."""
    return {
        "windows": reference.windows(),
        "padded": reference.padded(),
        "stream": reference.stream(),
    }


def _check(name: str, runtime: str, replay: Replayed, max_quality_loss: float) -> Check:
    case = replay.case
    answers, repeatable, seconds = replay.replayer(replay.loaded, replay.signature, case)
    accuracy, loss = _quality(answers, case)
    difference = np.abs(answers - case.expected).max(axis=-1)
    finite = bool(np.isfinite(difference).all())
    return Check(
        name,
        runtime,
        replay.signature,
        case.name,
        len(answers),
        finite,
        float(difference.max()) if finite else None,
        FORMATS[name].bound,
        accuracy,
        loss,
        max_quality_loss,
        repeatable,
        1e6 * float(np.median(seconds)),
        list(map(float, difference)) if replay.is_stream and finite else None,
    )


def _quality(answers: np.ndarray, case: Case) -> tuple[float | None, float | None]:
    """The accuracy, and what is lost of Keras'; None where there are no targets."""
    if case.targets is None:
        return None, None
    known = case.targets >= 0
    own, keras = (
        float(np.mean(probabilities[known].argmax(-1) == case.targets[known]))
        for probabilities in (answers, case.expected)
    )
    return own, (keras - own) / keras if keras else 0.0
