"""Pictures, drawn without a display."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _figure(width: float, height: float) -> Figure:
    # Not through pyplot: its global state and choice of a window system are for interactive use.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def history(table: Path, picture: Path) -> Path:
    """Draws a run's `history.csv`: each measure, in training and validation.

    Args:
        table: The CSV file.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) for row in rows]
    names = [n for n in rows[0] if n not in ("epoch", "seconds", "learning_rate")]
    measures = [name for name in names if not name.startswith("val_")]
    figure = _figure(5 * len(measures), 3.5)
    for axes, name in zip(
        figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True
    ):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in names:
                axes.plot(epochs, [float(row[key]) for row in rows], marker=".", label=label)
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(picture, dpi=120)
    return picture


def confusion(matrix: np.ndarray, labels: Sequence[str], picture: Path) -> Path:
    """Draws a confusion matrix; colours are shares of the true label, numbers are counts.

    Args:
        matrix: Counts, (true, predicted).
        labels: Names of both axes.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    size = max(4.0, 0.6 * len(labels))
    figure = _figure(size + 1, size)
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the true label", shrink=0.8)
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=f"{np.trace(matrix)} of {matrix.sum()} right")
    for true, predicted in zip(*np.nonzero(matrix), strict=True):
        colour = "white" if share[true, predicted] > 0.5 else "black"
        axes.text(
            predicted,
            true,
            matrix[true, predicted],
            ha="center",
            va="center",
            color=colour,
            fontsize=8,
        )
    figure.savefig(picture, dpi=120)
    return picture


def reliability(
    rows: Sequence[Mapping[str, float]], calibration_error: float, picture: Path
) -> Path:
    """Draws how often answers are right against how sure they are.

    Args:
        rows: Ranges of confidence, as `metrics.calibration` gives them.
        calibration_error: Their mean distance.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = _figure(4.5, 4.5)
    axes = figure.subplots()
    confidence, accuracy, examples = (
        [row[name] for row in rows] for name in ("confidence", "accuracy", "examples")
    )
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="as sure as right")
    axes.plot(confidence, accuracy, marker="o", label="the model")
    for x, y, count in zip(confidence, accuracy, examples, strict=True):
        axes.annotate(f"{count:g}", (x, y), (4, -10), textcoords="offset points", fontsize=7)
    axes.set(
        xlabel="probability of the answer",
        ylabel="share that is right",
        title=f"calibration error {calibration_error:.1%}",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(picture, dpi=120)
    return picture


def detection_curve(
    false_accepts: np.ndarray, misses: np.ndarray, chosen: tuple[float, float], picture: Path
) -> Path:
    """Draws misses against false accepts an hour, with the chosen working point.

    Args:
        false_accepts: False accepts an hour, a number for each threshold, the lowest first.
        misses: Share of commands missed, likewise.
        chosen: The point (false accepts an hour, share missed) at the chosen threshold.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = _figure(5.5, 4)
    axes = figure.subplots()
    # Below the threshold that misses least, wrong events only drown right ones.
    useful = slice(int(np.argmin(misses)), None)
    axes.step(false_accepts[useful], 100 * misses[useful], where="post")
    axes.plot(chosen[0], 100 * chosen[1], "o", label="threshold chosen on validation")
    axes.set(xlabel="false accepts an hour", ylabel="misses (%)", ylim=(0, 100))
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=120)
    return picture


def drift(places: Sequence[int], differences: Mapping[str, Sequence[float]], picture: Path) -> Path:
    """Draws how far streams are from their model, as they go on.

    Args:
        places: Steps since the start.
        differences: By name, the largest difference of a probability at each place.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = _figure(7, 4)
    axes = figure.subplots()
    for name, values in differences.items():
        # Equality is drawn at the bottom: a logarithm has no place for it.
        axes.plot(places, np.maximum(values, 1e-9), marker=".", label=name)
    axes.set(xlabel="steps", ylabel="difference of a probability", xscale="log", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(picture, dpi=120)
    return picture


def surprise(
    tokens: Sequence[str], nats: np.ndarray, picture: Path, gap: bool = False, columns: int = 80
) -> Path:
    """Draws a text with its tokens coloured by how little a model expected them.

    Args:
        tokens: The text.
        nats: Negative log-probability of each, (tokens,).
        picture: The PNG file to write.
        gap: Put a space between tokens.
        columns: Characters in a row.

    Returns:
        `picture`.
    """
    places = _places(tokens, gap, columns)
    rows = 1 + max(row for row, _ in places)
    grid = np.full((rows, columns), np.nan)
    figure = _figure(columns * 0.11 + 1.2, rows * 0.24 + 0.5)
    axes = figure.subplots()
    for token, (row, column), value in zip(tokens, places, nats, strict=True):
        shown = token.replace("\n", "\u21b5")  # a sign for the end of a line
        grid[row, column : column + len(shown)] = value
        for place, character in enumerate(shown[: columns - column], column):
            axes.text(place, row, character, ha="center", va="center", family="monospace", size=8)
    image = axes.imshow(grid, cmap="OrRd", vmin=0, vmax=8, alpha=0.7, aspect="auto")
    figure.colorbar(image, ax=axes, label="nats", pad=0.01)
    axes.set_title(f"{np.mean(nats):.2f} nats a token", fontsize=9)
    axes.set_axis_off()
    figure.savefig(picture, dpi=120)
    return picture


def _places(tokens: Sequence[str], gap: bool, columns: int) -> list[tuple[int, int]]:
    """The row and column that each token begins at, as it is written from left to right."""
    row = column = 0
    places = []
    for token in tokens:
        if column and column + len(token) > columns:
            row, column = row + 1, 0
        places.append((row, column))
        row, column = (row + 1, 0) if token == "\n" else (row, column + len(token) + gap)
    return places


def attention(
    weights: np.ndarray, source: Sequence[str], target: Sequence[str], picture: Path
) -> Path:
    """Draws which words of a source each word of its translation attended to.

    Args:
        weights: Shares, (target words, source words).
        source: Words of the source.
        target: Words of the translation.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = _figure(2.5 + 0.45 * len(source), 1.8 + 0.35 * len(target))
    axes = figure.subplots()
    image = axes.imshow(weights, vmin=0, vmax=1, cmap="Greys", aspect="auto")
    figure.colorbar(image, ax=axes, label="share of attention", shrink=0.8)
    # Words are written as they are: a dollar sign begins no formula.
    plain = {"parse_math": False}
    axes.set_xticks(range(len(source)), map(_word, source), rotation=60, ha="left", **plain)
    axes.set_yticks(range(len(target)), map(_word, target), **plain)
    axes.xaxis.tick_top()
    with warnings.catch_warnings():
        # Of a script that no font at hand can write, boxes are drawn.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(picture, dpi=120)
    return picture


def _word(token: str) -> str:
    """A token that can be seen, and leaves room for a picture."""
    shown = "".join("\u2423" if character.isspace() else character for character in token)
    return shown if len(shown) <= 20 else f"{shown[:19]}\u2026"
