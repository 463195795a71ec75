"""A server under load for minutes, while new versions of its model come and old ones go.

    python benchmarks/serving_soak.py EXPORT --minutes 10

serves a copy of the export by `rnnapp serve`, finds the peak of 32 clients over gRPC, and sends
70 % of it at random times. After a third of the time and after two thirds, the model is rolled out
once more, as the next version. Each answer is held against that of the SavedModel alone, in this
process.

It fails if a request failed or could not be sent, an answer was wrong, a version never answered, or
memory grew by 5 %. Memory is the resident set of the server's process, each second. Its growth is
judged between medians of two windows, of a tenth of the time each: right after `--settle` seconds,
and the last in which the last version stood alone. So what a rollout leaves behind counts, and that
two models take more while both are loaded does not. The peak with both is printed beside it, and so
is the most that memory grew while one version stood alone, which requests cause.

One run on two cores, of the GRU that `rnnapp quickstart` exports, with `--signature padded`: a peak
of 797 requests a second; at 558, for ten minutes, all 334,816 requests were answered, none wrongly,
by three versions. Memory grew by 1.2 %, by 0.8 % while a version stood alone, and by 5.9 % while
two did.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from matplotlib.figure import Figure

from rnnapp.manifests import read_manifest
from rnnapp.serving import AsyncClient, Prediction
from rnnapp.serving.load.loops import Outcome, opened, poisson, run
from rnnapp.serving.load.measuring import LoadSpec, peak, requests_of
from rnnapp.serving.load.processes import Served, served
from rnnapp.serving.load.report import Load, load_of, percentiles, table
from rnnapp.serving.signatures import Arrays

SHARE = 0.7  # of the peak
MAX_GROWTH = 0.05
VERSIONS = (1, 2, 3)  # the export's own, and two rollouts
WINDOW = 0.1  # of the time that is judged
# Of a logit: sums of float32 in another order, as batches of other shapes have.
EQUAL = 1e-5
# More than the server lets in: if one fills up, the server says so.
MAX_IN_FLIGHT = 5000


@dataclass(frozen=True)
class Sample:
    """A server at a moment.

    Args:
        seconds: Since the start.
        megabytes: Its resident set.
        versions: The versions that are there, being loaded and unloaded ones among them.
    """

    seconds: float
    megabytes: float
    versions: tuple[int, ...]


@dataclass
class Seen:
    """What was seen of a server.

    Args:
        samples: Of memory, each second.
        versions: Answers by the version that gave them.
        wrong: Answers that differ from the model's.
    """

    samples: list[Sample] = field(default_factory=list)
    versions: Counter[int | None] = field(default_factory=Counter)
    wrong: int = 0

    def check(self, answer: Prediction, expected: Arrays) -> None:
        """Holds an answer against the expected one."""
        self.versions[answer.version] += 1
        self.wrong += answer.outputs.keys() != expected.keys() or not all(
            _equal(answer.outputs[name], array) for name, array in expected.items()
        )


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == object:
        return np.array_equal(one, other)
    return one.shape == other.shape and np.allclose(one, other, rtol=EQUAL, atol=EQUAL)


def answers(export: Path, requests: Sequence[Arrays], signature: str) -> list[Arrays]:
    """What the SavedModel alone says."""
    from rnnapp.serving.server.saved_model import SavedModel

    model = SavedModel(export / "serving" / "1")
    known = model.signatures[signature]
    return [model.run(signature, known.checked(request)) for request in requests]


def roll_out(export: Path, version: int) -> None:
    """Brings the first version once more, as README says."""
    serving = export / "serving"
    shutil.copy(export / "manifest.json", serving / f"{version}.manifest.json")
    shutil.copytree(serving / "1", serving / f"{version}.partial")
    (serving / f"{version}.partial").rename(serving / str(version))


async def rollouts(export: Path, seconds: float) -> None:
    """Brings two versions, at a third of the time and at two thirds."""
    for version in VERSIONS[1:]:
        await asyncio.sleep(seconds / 3)
        await asyncio.to_thread(roll_out, export, version)


async def watch(client: AsyncClient, pid: int, samples: list[Sample]) -> None:
    """Samples a server each second, for ever."""
    clock, process = asyncio.get_running_loop().time, psutil.Process(pid)
    begun = clock()
    while True:
        megabytes = process.memory_info().rss / 2**20
        there = [each.version for each in await client.status() if each.state != "END"]
        samples.append(Sample(clock() - begun, megabytes, tuple(sorted(there))))
        await asyncio.sleep(1.0)


async def soak(
    server: Served, export: Path, spec: LoadSpec, seconds: float
) -> tuple[Load, list[Outcome], Seen]:
    """Loads a server: the peak, what became of each request at a share of it, and what was seen."""
    seen, unit = Seen(), int(read_manifest(export)["unit"])
    async with AsyncClient(server.address, server.name, retries=0) as client:
        requests = await requests_of(client, spec, unit)
        expected = answers(export, requests, spec.signature)

        async def send(number: int) -> None:
            which = number % len(requests)
            answer = await client.predict(requests[which], signature=spec.signature)
            seen.check(answer, expected[which])

        top = await peak(send, spec)
        due = poisson(SHARE * top.reached, seconds, np.random.default_rng(spec.seed))
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch(client, server.pid, seen.samples))
            group.create_task(rollouts(export, seconds))
            outcomes = await opened(send, due, MAX_IN_FLIGHT)
            watching.cancel()
    return top, outcomes, seen


def growths(samples: Sequence[Sample], settle: float) -> dict[str, float]:
    """How memory grew after it had settled: over all, with one version, and at its peak.

    NaN where the last version never stood alone, so that nothing can be said.
    """
    judged = [each for each in samples if each.seconds >= settle]
    size = max(1, round(WINDOW * len(judged)))
    stretches: dict[int, list[Sample]] = {version: [] for version in VERSIONS}
    for each in judged:
        if len(each.versions) == 1:
            stretches[each.versions[0]].append(each)
    before = _median(stretches[VERSIONS[0]][:size])
    thirds = [(s[: len(s) // 3], s[-(len(s) // 3) :]) for s in stretches.values() if len(s) >= 3]
    return {
        "over all": _median(stretches[VERSIONS[-1]][-size:]) / before - 1,
        "with one version": max(
            (_median(end) / _median(begin) - 1 for begin, end in thirds), default=math.nan
        ),
        "peak": max(each.megabytes for each in judged) / before - 1,
    }


def _median(samples: Sequence[Sample]) -> float:
    return statistics.median(each.megabytes for each in samples) if samples else math.nan


def checks(load: Load, seen: Seen, due: int, growth: float) -> dict[str, bool]:
    """What must hold, in words, and whether it does."""
    return {
        f"{load.requests - sum(load.errors.values())} of {due} requests were answered": (
            load.requests == due and not load.errors
        ),
        f"{seen.wrong} answers were wrong": not seen.wrong,
        f"versions answered: {dict(seen.versions)}": set(seen.versions) == set(VERSIONS),
        f"memory grew by {growth:.1%}": growth < MAX_GROWTH,
    }


def draw(outcomes: Sequence[Outcome], samples: Sequence[Sample], picture: Path) -> None:
    """Draws latency and memory over time; where two versions were there, grey."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    due = np.array([each.due for each in outcomes])
    due -= due.min()
    latency = np.array([each.ended - each.due for each in outcomes])
    each_second = [latency[due.astype(int) == second] for second in np.unique(due.astype(int))]
    figures = np.array([percentiles(times, [50, 99, 100]) for times in each_second]).T
    for name, values in zip(("p50", "p99", "max"), figures, strict=True):
        above.plot(np.unique(due.astype(int)), values, label=name)
    above.set(ylabel="latency of each second (ms)", yscale="log")
    above.legend()
    below.plot([each.seconds for each in samples], [each.megabytes for each in samples])
    below.set(xlabel="seconds", ylabel="resident set (MiB)")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        for one, after in zip(samples, samples[1:], strict=False):
            if len(one.versions) > 1:
                axes.axvspan(one.seconds, after.seconds, color="grey", alpha=0.3, lw=0)
    figure.savefig(picture, dpi=120)


def arguments() -> Any:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--settle", type=float, default=60.0, help="seconds before memory is judged"
    )
    parser.add_argument("--signature", default=LoadSpec.signature, help="`padded` mixes lengths")
    parser.add_argument("--clients", type=int, default=32, help="of the peak")
    parser.add_argument("--out", type=Path, default=Path("soak.png"))
    chosen = parser.parse_args()
    if not 0 <= 3 * chosen.settle < 60 * chosen.minutes:
        parser.error("`--settle` must end before the first rollout, at a third of `--minutes`")
    return chosen


def main() -> None:
    """Soaks, prints and draws."""
    chosen = arguments()
    spec, seconds = (
        LoadSpec(clients=chosen.clients, signature=chosen.signature),
        60 * chosen.minutes,
    )
    with tempfile.TemporaryDirectory() as folder:
        export = Path(shutil.copytree(chosen.export, Path(folder) / chosen.export.resolve().name))
        with served(export) as server:
            top, outcomes, seen = run(soak(server, export, spec, seconds))
    rate = SHARE * top.reached
    load = load_of(outcomes, rate)
    draw(outcomes, seen.samples, chosen.out)
    print(table([top, load], spec.clients))
    growth = growths(seen.samples, chosen.settle)
    print(f"memory after {chosen.settle:g} s grew", *(f"{n}: {g:.1%}" for n, g in growth.items()))
    results = checks(load, seen, round(rate * seconds), growth["over all"])
    for told, holds in results.items():
        print("passed" if holds else "FAILED", told)
    print(f"see {chosen.out}")
    sys.exit(not all(results.values()))


if __name__ == "__main__":
    main()
