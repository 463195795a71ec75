"""Pictures of a load test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rnnapp.serving.load.report import PERCENTILES, Load


def throughput_against_latency(loads: Sequence[Load], title: str, picture: Path) -> Path:
    """Draws the latency at each rate; the rate of clients that wait is a line.

    Args:
        loads: What was measured.
        title: What was asked.
        picture: The PNG file to write.

    Returns:
        `picture`.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    arrivals = sorted(
        (load for load in loads if load.asked is not None and load.latency_ms),
        key=lambda load: load.reached,
    )
    for name in PERCENTILES:
        times = [load.latency_ms[name] for load in arrivals]
        axes.plot([load.reached for load in arrivals], times, marker=".", label=name)
    for load in loads:
        if load.asked is None:
            axes.axvline(load.reached, color="grey", linestyle="--", label="closed loop")
    axes.set(xlabel="answers a second", ylabel="latency (ms)", title=title)
    axes.set_xlim(left=0)
    if arrivals:
        axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(picture, dpi=120)
    return picture
