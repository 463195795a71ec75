"""The certificate: every artefact, replayed in every runtime at hand, against the Keras model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.exporting.cases import Case, Measure, quality_loss
from rnnapp.exporting.formats import FORMATS
from rnnapp.exporting.reference import Reference
from rnnapp.exporting.replays import Replayed, replays
from rnnapp.exporting.runtimes import RUNTIMES
from rnnapp.exporting.translators import TranslatorReference
from rnnapp.progress import Report

MAX_QUALITY_LOSS = 0.01
Job = tuple[str, str]
"""A format and a runtime, by name."""


@dataclass(frozen=True)
class Check:
    """One signature of one artefact in one runtime.

    Args:
        format: The artefact's format.
        runtime: What ran it.
        signature: Which of its functions; "" if none could be run.
        case: What was replayed.
        bound: What a difference may be; None if quality alone decides.
        max_quality_loss: What a loss of quality may be.
        error: Why it could not be replayed; "" if it was.
        comparisons: Answers that were compared.
        finite: Whether all answers are finite numbers.
        max_difference: Largest difference of a probability to Keras; None if some are not finite.
        measure: "accuracy", the share of the replayed validation examples that it gets right, or,
            of a stream, of the places where Keras is sure; or "perplexity" of true tokens.
        quality: By that measure; None where nothing is known to be right.
        model_quality: Keras' own, of the same.
        repeatable: Whether the same input gave the same answer after another one.
        median_us: Median time of a call, in microseconds.
        drift: Of a stream, the largest difference at each place compared, from its start on.
    """

    format: str
    runtime: str
    signature: str
    case: str
    bound: float | None
    max_quality_loss: float
    error: str = ""
    comparisons: int = 0
    finite: bool = True
    max_difference: float | None = None
    measure: Measure = "accuracy"
    quality: float | None = None
    model_quality: float | None = None
    repeatable: bool = True
    median_us: float = 0.0
    drift: list[float] | None = None

    @property
    def quality_loss(self) -> float | None:
        """By what share of Keras' quality it is worse; negative if it is better."""
        return quality_loss(self.measure, self.quality, self.model_quality)

    @property
    def as_good(self) -> bool:
        """Whether no more quality is lost than may be."""
        return (self.quality_loss or 0.0) <= self.max_quality_loss

    @property
    def fault(self) -> str:
        """What is wrong with it; "" if it passes."""
        if self.error:
            return self.error
        if not self.finite:
            return "answers that are not finite numbers"
        if self.bound is not None and (self.max_difference or 0.0) > self.bound:
            return f"differs by {self.max_difference:.2e}, allowed are {self.bound:.0e}"
        if not self.repeatable:
            return "gave another answer to the same input: it keeps state between calls"
        if self.as_good:
            return ""
        own, loss = _quality(self.measure, self.quality), f"{self.quality_loss:.1%}"
        return (
            f"{own}, {loss} worse than the model, allowed are {self.max_quality_loss:.1%} "
            "(--max-quality-loss)"
        )

    def to_dict(self) -> dict[str, Any]:
        """As `certificate.json` holds it."""
        judged = {"quality_loss": self.quality_loss, "fault": self.fault, "passed": not self.fault}
        return {**asdict(self), **judged}


def certify(
    folder: Path,
    formats: list[str],
    reference: Reference | TranslatorReference,
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
        max_quality_loss: By what share of Keras' quality an artefact may be worse.
        known: Its certificate, where only `formats` have changed since.

    Returns:
        The certificate: `passed`, `checks`, `not_run`, `unproved` formats, which no runtime at
        hand could run, `max_quality_loss`, the `places` of a stream that are compared, in steps,
        and the versions of the `runtimes` that ran.
    """
    certificate = without(known, formats) if known else {"checks": [], "not_run": []}
    checks, not_run = certificate["checks"], certificate["not_run"]
    jobs = [(name, runtime) for name in formats for runtime in FORMATS[name].runtimes]
    versions, present = dict[str, str](), list[Job]()
    for name, runtime in jobs:
        if reason := RUNTIMES[runtime].absence:
            not_run.append({"format": name, "runtime": runtime, "reason": reason})
            continue
        versions[runtime] = RUNTIMES[runtime].version
        present.append((name, runtime))
    judge = functools.partial(
        _checks, folder, reference.cases(), reference.wanted, max_quality_loss
    )
    for found in _side_by_side(judge, present, report):
        checks += [check.to_dict() for check in found]
    certificate |= {
        "checks": checks,
        "not_run": not_run,
        "max_quality_loss": max_quality_loss,
        "places": reference.places,
        "runtimes": certificate.get("runtimes", {}) | versions,
    }
    return _concluded(certificate)


def without(certificate: dict[str, Any], formats: list[str]) -> dict[str, Any]:
    """What a certificate says of the other formats.

    Args:
        certificate: As `certify` returns it.
        formats: Names that are left out.
    """
    left = {
        part: [entry for entry in certificate[part] if entry["format"] not in formats]
        for part in ("checks", "not_run")
    }
    return _concluded({**certificate, **left})


def _concluded(certificate: dict[str, Any]) -> dict[str, Any]:
    """A certificate with what follows from its checks."""
    checks = certificate["checks"]
    proved = {check["format"] for check in checks}
    absent = dict.fromkeys(entry["format"] for entry in certificate["not_run"])
    unproved = [name for name in absent if name not in proved]
    passed = bool(checks) and not unproved and all(check["passed"] for check in checks)
    return {**certificate, "passed": passed, "unproved": unproved}


def failures(certificate: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with an export.

    Args:
        certificate: As `certify` returns it.

    Returns:
        For each format that has not passed, a line for each fault.
    """
    broken: dict[str, list[str]] = {}
    for check in certificate["checks"]:
        if not check["passed"]:
            signature = f", signature {check['signature']}" if check["signature"] else ""
            case = f" ({check['case']})" if check["case"] else ""
            line = f"{check['format']} in {check['runtime']}{signature}{case}: {check['fault']}"
            broken.setdefault(check["format"], []).append(line)
    for name in certificate["unproved"]:
        reasons = (
            f"{entry['runtime']}: {entry['reason']}"
            for entry in certificate["not_run"]
            if entry["format"] == name
        )
        broken[name] = [f"{name}: no runtime is at hand to prove it. {'; '.join(reasons)}"]
    return broken


def lossy(certificate: dict[str, Any]) -> list[str]:
    """Formats that lose too much quality, and have no other fault.

    Args:
        certificate: As `certify` returns it.
    """
    failed = [check for check in certificate["checks"] if not check["passed"]]
    worse = [
        check["format"]
        for check in failed
        if (check["quality_loss"] or 0.0) > check["max_quality_loss"]
    ]
    others = {
        check["format"]
        for check in failed
        if check["error"] or not check["finite"] or not check["repeatable"]
    }
    return [name for name in dict.fromkeys(worse) if name not in others]


def table(certificate: dict[str, Any]) -> list[list[str]]:
    """A certificate for people.

    Args:
        certificate: As `certify` returns it.

    Returns:
        A row of eight cells for each check, and for each artefact that a runtime did not run:
        verdict, format, runtime, signature, what was replayed, difference, quality (and the
        model's), time of a call.
    """
    rows = []
    for check in certificate["checks"]:
        if check["max_difference"] is None:
            largest = "not finite" if not check["finite"] else "not run"
        else:
            largest = f"{check['max_difference']:.1e}"
        bound = "" if check["bound"] is None else f" of {check['bound']:.0e}"
        rows.append(
            [
                "ok" if check["passed"] else "BAD",
                *(check[name] for name in ("format", "runtime", "signature", "case")),
                largest + bound,
                _qualities(check),
                f"{check['median_us']:.0f} µs",
            ]
        )
    for absent in certificate["not_run"]:
        rows.append(
            ["not run", absent["format"], absent["runtime"], "", absent["reason"], "", "", ""]
        )
    return rows


def _side_by_side(
    judge: Callable[[Job], list[Check]], jobs: list[Job], report: Report
) -> list[list[Check]]:
    """Runs jobs in this process one after the other, and those in others beside them likewise."""
    found: dict[Job, list[Check]] = {}

    def lane(apart: bool) -> None:
        for job in jobs:
            if RUNTIMES[job[1]].apart == apart:
                found[job] = judge(job)
                report(len(found), len(jobs))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lane, (True, False)))
    return [found[job] for job in jobs]


def _checks(
    folder: Path,
    cases: dict[str, Case],
    wanted: Callable[[Iterable[str]], set[str]],
    max_quality_loss: float,
    job: Job,
) -> list[Check]:
    """An artefact in a runtime, by each of its signatures."""
    name, runtime = job
    form = FORMATS[name]
    empty = Check(name, runtime, "", "", form.bound, max_quality_loss)
    checks: list[Check] = []
    try:
        with RUNTIMES[runtime].load(folder / form.path) as loaded:
            missing = sorted(wanted(form.signatures) - set(loaded.signatures))
            checks += [_check(empty, replay) for replay in replays(loaded, cases)]
    except (RuntimeError, ValueError, OSError) as error:  # what runtimes refuse artefacts with
        return [*checks, replace(empty, error=f"could not be run: {error}")]
    return [*checks, *(replace(empty, signature=each, error="is missing") for each in missing)]


def _check(empty: Check, replay: Replayed) -> Check:
    case = replay.case
    answers, repeatable, seconds = replay.replayer(replay.loaded, replay.signature, case)
    difference = np.abs(answers - case.expected).max(axis=-1)
    finite = bool(np.isfinite(difference).all())
    return replace(
        empty,
        signature=replay.signature,
        case=case.name,
        comparisons=len(answers),
        finite=finite,
        max_difference=float(difference.max()) if finite else None,
        measure=case.measure,
        quality=case.quality(answers) if finite else None,
        model_quality=case.quality(case.expected),
        repeatable=repeatable,
        median_us=1e6 * float(np.median(seconds)),
        drift=list(map(float, difference)) if replay.is_stream and finite else None,
    )


def _quality(measure: Measure, value: float | None) -> str:
    """A quality for people; "" where there is none."""
    if value is None:
        return ""
    return f"{value:.1%} right" if measure == "accuracy" else f"perplexity {value:.4g}"


def _qualities(check: dict[str, Any]) -> str:
    own, model = (_quality(check["measure"], check[name]) for name in ("quality", "model_quality"))
    return own and f"{own} ({model.removeprefix('perplexity ').removesuffix(' right')})"
