"""Writing artefacts and proving them: what does not agree with its model is not let out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnapp import progress
from rnnapp.exporting import c99
from rnnapp.exporting.certificate import certify, failures, lossy, without
from rnnapp.exporting.formats import FORMATS, Format, LeftOutError, Source
from rnnapp.exporting.reference import Reference, reference_of
from rnnapp.exporting.runtimes import RUNTIMES
from rnnapp.exporting.tflite import ConversionError
from rnnapp.exporting.translators import TranslatorReference
from rnnapp.replay import Replay


class ExportError(RuntimeError):
    """An artefact does not agree with its model; nothing was written."""


@dataclass(frozen=True)
class Proof:
    """What was written, and that it agrees.

    Args:
        formats: Names in `FORMATS`.
        refused: Why others were left out, by name.
        float_parts: What stayed floats among integers, by format.
        certificate: As `certify` returns it.
    """

    formats: list[str]
    refused: dict[str, str]
    float_parts: dict[str, list[str]]
    certificate: dict[str, Any]


def prove(source: Source, folder: Path, names: list[str], max_quality_loss: float) -> Proof:
    """Writes formats into an export folder, and certifies them.

    Args:
        source: What they are made from.
        folder: Where they go.
        names: Names in `FORMATS`; or "all" alone, of which those of less precision are left out
            where they lose too much.
        max_quality_loss: By what share of the model's quality an artefact may be worse.

    Returns:
        What is there now, and what is not, with the certificate.

    Raises:
        ValueError: If the model has no such format, or nothing here can prove it.
        ConversionError: If a converter fails.
        ExportError: If an artefact differs from the model by more than its bound.
    """
    everything = names == ["all"]
    possible, refused = possible_formats(names, source)
    with progress.bar("Exporting") as told:
        missing = _write_formats(source, folder, possible, told)
    if missing and not everything:
        raise next(iter(missing.values()))
    names = [name for name in possible if name not in missing]
    refused |= {name: str(error) for name, error in missing.items()}
    replay, streams = Replay.load(source.replay_path), source.stepper is not None
    reference = reference_of(source.model, replay, source.unit, streams)
    with progress.bar("Certifying") as told:
        certificate = certify(folder, names, reference, told, max_quality_loss=max_quality_loss)
    certificate, float_parts = _mixed(source, folder, reference, certificate)
    broken = failures(certificate)
    if broken and not (everything and all(FORMATS[name].rounds for name in broken)):
        raise ExportError(_refusal(names, broken))
    for name, lines in broken.items():
        _remove(folder / FORMATS[name].path)
        float_parts.pop(name, None)
        refused[name] = "; ".join(lines)
    names = [name for name in names if name not in broken]
    return Proof(names, refused, float_parts, without(certificate, list(broken)))


def _write_formats(
    source: Source, folder: Path, names: list[str], told: progress.Report
) -> dict[str, Exception]:
    """Writes formats, those of one kind together; returns why some could not be written."""
    done, missing = 0, dict[str, Exception]()
    for write, own in _by_writer(names).items():
        told(done, len(names))
        try:
            write(source, folder, own)
        except LeftOutError as error:
            missing |= error.reasons
        except (ConnectionError, c99.UnsupportedLayerError) as error:
            # What it is made with is not to be had; or C has no kernel of a layer.
            missing |= dict.fromkeys(own, error)
        done += len(own)
    told(len(names), len(names))
    return missing


def _mixed(
    source: Source,
    folder: Path,
    reference: Reference | TranslatorReference,
    certificate: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Writes integers that lose too much again, with more and more of them in floats.

    Returns:
        The new certificate, and the names of what stayed floats, by format.
    """
    float_parts: dict[str, list[str]] = {}
    for kept in _rungs(source, _mixing(certificate)):
        worse = _mixing(certificate)
        if not worse:
            break
        (write,) = _by_writer(worse)  # what mixes is written by one
        try:
            write(dataclasses.replace(source, float_parts=tuple(kept)), folder, worse)
        except LeftOutError:
            break  # they keep the fault that they had
        float_parts |= dict.fromkeys(worse, kept)
        with progress.bar(f"Certifying again, floats in {', '.join(kept)}") as told:
            certificate = certify(
                folder,
                worse,
                reference,
                told,
                max_quality_loss=certificate["max_quality_loss"],
                known=certificate,
            )
    return certificate, float_parts


def _mixing(certificate: dict[str, Any]) -> list[str]:
    """Formats that lose too much, and may have parts of floats."""
    return [name for name in lossy(certificate) if FORMATS[name].sensitive_parts]


def _rungs(source: Source, names: list[str]) -> Iterator[list[str]]:
    """What to leave in floats, more and more of it; something stays an integer."""
    rank = FORMATS[names[0]].sensitive_parts if names else None
    try:
        ranked = rank(source) if rank else []
    except ConversionError:
        return
    yield from (ranked[:count] for count in range(1, len(ranked)))


def _remove(artefact: Path) -> None:
    shutil.rmtree(artefact) if artefact.is_dir() else artefact.unlink()


def _by_writer(names: list[str]) -> dict[Callable[..., None], list[str]]:
    """Formats by what writes them, in order."""
    writers: dict[Callable[..., None], list[str]] = {}
    for name in names:
        writers.setdefault(FORMATS[name].write, []).append(name)
    return writers


def possible_formats(names: list[str], source: Source) -> tuple[list[str], dict[str, str]]:
    """The formats to write; of all, those that the model has and a runtime can prove.

    Args:
        names: Names in `FORMATS`, or "all" alone.
        source: What they are made from.

    Returns:
        Names, and why others are left out.

    Raises:
        ValueError: If one is named that the model does not have, or that nothing here can prove.
    """
    if names == ["all"]:
        refused = {name: form.refusal(source) or _unproved(form) for name, form in FORMATS.items()}
        refused = {name: reason for name, reason in refused.items() if reason}
        return [name for name in FORMATS if name not in refused], refused
    for name in names:
        if reason := FORMATS[name].refusal(source):
            raise ValueError(f"The model has no format {name!r}: {reason}")
        if reason := _unproved(FORMATS[name]):
            raise ValueError(f"{name!r} cannot be exported here: {reason}")
    return names, {}


def _unproved(form: Format) -> str:
    """Why a format cannot be proved on this machine; "" if it can."""
    absent = {name: RUNTIMES[name].absence for name in form.runtimes}
    if not all(absent.values()):
        return ""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
    return f"no runtime is at hand to prove it. {reasons}"


def _refusal(names: list[str], broken: dict[str, list[str]]) -> str:
    """What is wrong with an export, and what to do."""
    good = [name for name in names if name not in broken]
    way_out = (
        f"Leave out what fails: --formats {','.join(good)}"
        if good
        else "Not one of them agrees: look at the model first, by `rnnapp evaluate RUN`"
    )
    lines = [line for found in broken.values() for line in found]
    return "\n".join(
        ["The export does not agree with its model, so nothing was written:", *lines, way_out]
    )
