"""What an exported file says of itself: its labels, its sample rate, its detector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rnnapp.device.interpreter import Model

PROBABILITIES = "probabilities"
DETECTOR_OPTIONS = ("threshold", "smoothing_ms", "refractory_ms")


def labels(model: Model, given: Sequence[str] | None, num_classes: int) -> list[str]:
    """The labels given, or those in the file or beside it.

    Args:
        model: a loaded model.
        given: name of each class; None to look for `labels.txt`.
        num_classes: how many the model tells apart.

    Returns:
        The name of each class, in the order of the probabilities.

    Raises:
        ValueError: there are none, or not as many as classes.
    """
    if given is None:
        beside = model.path.with_name("labels.txt") if model.path else None
        if "labels.txt" in model.files:
            given = _lines(model.files["labels.txt"].decode("utf-8"))
        elif beside and beside.is_file():
            given = _lines(beside.read_text("utf-8"))
        else:
            raise ValueError(
                f"{model.name} carries no labels.txt, and none lies beside it. Pass `labels`, or "
                "export or copy the file again: labels are at its end"
            )
    if len(given) != num_classes:
        raise ValueError(
            f"{model.name} has {num_classes} classes: there must be as many labels. "
            f"Received: {list(given)}"
        )
    return list(given)


def _lines(text: str) -> list[str]:
    """Lines by line feeds alone: a token of a language model may be a form feed, say."""
    return text.removesuffix("\n").split("\n")


def settings(model: Model) -> dict[str, Any]:
    """Settings from `rnnapp.json` in the file, those of the detector under `detector`.

    Args:
        model: a loaded model.

    Returns:
        The settings, with known options alone under `detector`.

    Raises:
        ValueError: `rnnapp.json` is not JSON.
    """
    try:
        said = json.loads(model.files.get("rnnapp.json", b"{}"))
    except ValueError as error:
        raise ValueError(f"{model.name}: its rnnapp.json must be JSON. {error}") from None
    detector = said.get("detector", {})
    known = {name: detector[name] for name in DETECTOR_OPTIONS if name in detector}
    if "background_labels" in said:
        known["background_labels"] = said["background_labels"]
    return {**said, "detector": known}


def require(model: Model, condition: bool, expected: str, received: object) -> None:
    """Refuse a model that is not of the kind that is needed.

    Args:
        model: a loaded model.
        condition: whether it is.
        expected: what it must have.
        received: what it has.

    Raises:
        ValueError: the condition is false.
    """
    if not condition:
        raise ValueError(f"{model.name} must have {expected}. Received: {received}")
