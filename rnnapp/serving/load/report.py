"""What a load test found: rates, percentiles of latency, errors by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnnapp.serving.load.loops import Outcome

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
WIDTH = 110  # columns of a table where no terminal says how many


@dataclass(frozen=True)
class Load:
    """What a server did under a load.

    Args:
        asked: Requests a second that were due; None of clients that wait for their answers.
        reached: Answers a second.
        requests: How many were due.
        latency_ms: Milliseconds from when a request was due to its answer, by the names of
            `PERCENTILES`, each a time that was seen; of answers alone, empty where there are none.
        late_ms: Milliseconds from when a request was due to when it was sent, the 99th percentile:
            what this machine adds to each latency by being busy.
        errors: Requests without an answer by what became of them.
    """

    asked: float | None
    reached: float
    requests: int
    latency_ms: dict[str, float]
    late_ms: float
    errors: dict[str, int]


def load_of(outcomes: Sequence[Outcome], asked: float | None = None) -> Load:
    """What became of requests, in figures.

    Args:
        outcomes: Of each, at least one.
        asked: As `Load.asked`.
    """
    due, sent, ended = np.array([each[:3] for each in outcomes]).T
    answered = np.array([not each.error for each in outcomes])
    latency = dict[str, float]()
    if answered.any():
        times = percentiles(ended[answered] - due[answered], list(PERCENTILES.values()))
        latency = dict(zip(PERCENTILES, times, strict=True))
    (late,) = percentiles(sent - due, [99.0])
    errors = Counter(each.error for each in outcomes if each.error)
    reached = answered.sum() / max(ended.max() - due.min(), 1e-9)
    return Load(asked, float(reached), len(outcomes), latency, late, dict(errors.most_common()))


def percentiles(seconds: np.ndarray, ranks: Sequence[float]) -> list[float]:
    """Percentiles in milliseconds by the nearest rank, so that each is one of the times."""
    ordered = np.sort(seconds)
    # A hair less, since 99.9 is no exact float: of a thousand, it is the 999th.
    places = np.ceil(len(ordered) * np.array(ranks) / 100 - 1e-9).astype(int) - 1
    return [float(ms) for ms in 1e3 * ordered[np.maximum(places, 0)]]


def told(errors: Mapping[str, int]) -> str:
    """Errors by kind, for people."""
    return ", ".join(f"{count} {kind}" for kind, count in errors.items()) or "0"


def table(loads: Sequence[Load], clients: int) -> str:
    """Loads as a table.

    Args:
        loads: What was measured.
        clients: How many asked in the closed loop.
    """
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, title="latency in milliseconds", title_justify="left")
    for column in ("load", "asked/s", "reached/s", *PERCENTILES, "sent late"):
        grid.add_column(column, justify="right", no_wrap=True)
    grid.add_column("errors")
    for load in loads:
        grid.add_row(
            f"{clients} clients" if load.asked is None else "arrivals",
            "" if load.asked is None else f"{load.asked:.1f}",
            f"{load.reached:.1f}",
            *(f"{load.latency_ms[n]:.2f}" if load.latency_ms else "-" for n in PERCENTILES),
            f"{load.late_ms:.2f}",
            told(load.errors),
        )
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    with console.capture() as captured:
        console.print(grid)
    return captured.get().rstrip("\n")
