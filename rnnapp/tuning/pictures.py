"""Pictures of a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rnnapp.tuning.importance import Importance, columns
from rnnapp.tuning.records import Record
from rnnapp.tuning.space import Choice, Space, Tunable


def trade_offs(found: list[Record], front: list[Record], metric: str, picture: Path) -> Path:
    """Draws quality against size, with the time of a step as colour and the front as a line.

    Args:
        found: Measured trials.
        front: Those that none beats.
        metric: What quality is called.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    sizes, qualities, times = (
        [getattr(record, name) for record in found] for name in ("bytes", "quality", "us")
    )
    kilobytes = np.array(sizes) / 1000
    points = axes.scatter(kilobytes, qualities, c=times, cmap="viridis_r", zorder=3)
    figure.colorbar(points, ax=axes, label="a step (µs)")
    ends = sorted(front, key=lambda record: record.bytes or 0)
    places = [(record.bytes or 0) / 1000 for record in ends]
    axes.plot(places, [each.quality or 0.0 for each in ends], color="grey", label="front", zorder=2)
    for x, record in zip(places, ends, strict=True):
        axes.annotate(
            str(record.number), (x, record.quality or 0.0), (4, 4), textcoords="offset points"
        )
    axes.set(xlabel="size (kB)", ylabel=metric, title="trials")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=120)
    return picture


def parallel(found: list[Record], space: Space, metric: str, picture: Path) -> Path:
    """Draws each trial as a line through its values, coloured by its quality.

    Args:
        found: Trials that have a quality.
        space: What was tuned.
        metric: What quality is called.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = Figure(figsize=(2 + 1.1 * len(space), 5), layout="constrained")
    axes = figure.subplots()
    costs = np.array([record.cost for record in found], float)
    qualities = np.array([record.quality for record in found], float)
    shades = ScalarMappable(Normalize(qualities.min(), qualities.max()), "viridis")
    # The best are drawn last, over the others.
    for row in np.argsort(-costs, kind="stable"):
        values = columns([found[row]], space)[0]
        axes.plot(values, color=shades.to_rgba(qualities[row]), alpha=0.8)
    for x, tunable in enumerate(space.values()):
        for y, text in _ends(tunable):
            axes.annotate(text, (x, y), (3, 0), textcoords="offset points", fontsize=7, va="center")
    names = [path.rpartition(".")[2].replace("_", "\n") for path in space]
    axes.set_xticks(range(len(space)), names, fontsize=8)
    axes.set_yticks([])
    axes.grid(axis="x", color="black", alpha=0.5)
    figure.colorbar(shades, ax=axes, label=metric)
    figure.savefig(picture, dpi=120)
    return picture


def _ends(tunable: Tunable) -> list[tuple[float, str]]:
    """Where values stand on an axis."""
    if isinstance(tunable, Choice):
        last = max(len(tunable.values) - 1, 1)
        return [(place / last, str(value)) for place, value in enumerate(tunable.values)]
    return [(0.0, f"{tunable.low:g}"), (1.0, f"{tunable.high:g}")]


def importance(found: Importance, picture: Path) -> Path:
    """Draws what is lost of a forest's insight by shuffling each field.

    Args:
        found: What it made of the trials.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = Figure(figsize=(7, 1.2 + 0.3 * len(found.drops)), layout="constrained")
    axes = figure.subplots()
    names = [path.rpartition(".")[2] for path in found.drops][::-1]
    means, deviations = np.array([*found.drops.values()])[::-1].T
    axes.barh(names, means, xerr=deviations, color="tab:blue", alpha=0.7)
    axes.set(xlabel="R² lost when shuffled", title=f"importance, from {found.trials} trials")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(picture, dpi=120)
    return picture


def learning_curves(
    curves: Sequence[tuple[Record, list[float]]], best: Record | None, metric: str, picture: Path
) -> Path:
    """Draws how trials learnt, the best one over all others.

    Args:
        curves: Trials, and the metric after each epoch.
        best: The one to see.
        metric: What it is called.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    of_best: dict[str, Any] = {"color": "tab:orange", "lw": 2, "zorder": 3}
    for record, values in curves:
        epochs = range(1, len(values) + 1)
        if best is not None and record.number == best.number:
            axes.plot(epochs, values, label=f"best: trial {record.number}", **of_best)
            axes.legend()
        else:
            colour = "tab:blue" if record.state == "completed" else "grey"
            axes.plot(epochs, values, color=colour, alpha=0.4)
    axes.set(xlabel="epoch", ylabel=metric, title="learning curves; pruned and failed ones in grey")
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    return picture
