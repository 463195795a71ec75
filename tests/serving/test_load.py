"""Load tests count right: against servers of known delays, on a clock that does not tick by itself.

The last ones ask real servers, and look at everything but times.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnapp.serving import AsyncClient, Code, ServingError
from rnnapp.serving.load import inputs
from rnnapp.serving.load.loops import NOT_SENT, Outcome, Send, closed, opened, poisson, run
from rnnapp.serving.load.measuring import LoadSpec, measured, peak, requests_of, sender
from rnnapp.serving.load.pictures import throughput_against_latency
from rnnapp.serving.load.processes import served
from rnnapp.serving.load.report import PERCENTILES, Load, load_of, table
from rnnapp.serving.server.app import Server
from rnnapp.serving.signatures import Signature
from tests.serving.conftest import FLOAT, INT32, STRING, SUMMING, signature

DELAY = 0.01  # seconds
STALL = (5.0, 6.0)  # what comes within is answered after it
EXACT = 1e-9  # sums of seconds in float64


class Clock(selectors.SelectSelector):
    """Waits by moving its time on, so that seconds of a loop take none."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """What is ready; if nothing is, the time is later."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing would ever happen"
            self.now += max(timeout, 0)
        return ready


class Simulated(asyncio.SelectorEventLoop):
    """A loop in the time of a `Clock`."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        """The clock's."""
        return self.clock.now


def simulate(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns, in simulated time."""
    with asyncio.Runner(loop_factory=Simulated) as runner:
        return runner.run(coroutine)


async def stalling(number: int) -> None:
    """A server that answers at once, but for one stall."""
    now = asyncio.get_running_loop().time()
    stalled = STALL[1] - now if STALL[0] <= now < STALL[1] else 0.0
    await asyncio.sleep(stalled + DELAY)


def one_at_a_time(seconds: float) -> Send:
    """A server that works on a request for so long, and on no other meanwhile."""
    busy = asyncio.Lock()

    async def send(number: int) -> None:
        async with busy:
            await asyncio.sleep(seconds)

    return send


def test_a_stall_shows_in_the_open_loop_alone() -> None:
    """Coordinated omission: clients that wait ask nothing while a server stalls."""
    waiting = load_of(simulate(closed(stalling, 1, 10)))
    arrivals = np.arange(0, 10, DELAY)
    coming = load_of(simulate(opened(stalling, arrivals, 1000)))
    assert waiting.latency_ms["p99"] == pytest.approx(1e3 * DELAY, rel=EXACT)
    assert waiting.latency_ms["max"] == pytest.approx(1010, rel=0.02)  # it began within the stall
    # A tenth of what is due comes in the stall, and waits for what is left of it.
    assert coming.latency_ms["p50"] == pytest.approx(1e3 * DELAY, rel=EXACT)
    assert coming.latency_ms["p99"] == pytest.approx(910, rel=0.02)
    assert coming.requests == coming.reached * 10.0 or coming.reached == pytest.approx(
        100, rel=0.01
    )


def test_time_runs_from_when_a_request_was_due() -> None:
    """A generator that is late itself must not make a server look faster."""

    async def send(number: int) -> None:
        loop = asyncio.get_running_loop()
        if number == 0:
            assert isinstance(loop, Simulated)
            loop.clock.now += 2.0  # as if the machine had done something else
        await asyncio.sleep(DELAY)

    outcomes = simulate(opened(send, [0.0, 0.5, 1.0, 3.0], 9))
    times = {round(each.due, 6): each.ended - each.due for each in outcomes}
    expected = {0.0: 2 + DELAY, 0.5: 1.5 + DELAY, 1.0: 1 + DELAY, 3.0: DELAY}
    assert times == pytest.approx(expected, abs=1e-6)
    assert load_of(outcomes).late_ms == pytest.approx(1500, rel=1e-6)


def test_the_closed_loop_finds_what_a_server_can() -> None:
    """However many ask, one at a time is answered."""
    load = simulate(peak_of_one_at_a_time(clients=4, seconds=2.0))
    assert load.reached == pytest.approx(1 / DELAY, rel=EXACT)
    assert load.latency_ms["p50"] == pytest.approx(4e3 * DELAY, rel=EXACT)
    assert load.asked is None and not load.errors and load.late_ms == 0


async def peak_of_one_at_a_time(clients: int, seconds: float) -> Load:
    """As `peak`."""
    return await peak(one_at_a_time(DELAY), LoadSpec(clients=clients, seconds=seconds))


def test_a_queue_grows_past_the_peak_and_what_cannot_be_sent_is_told() -> None:
    """Twice as many as are answered: each waits for all before it, until the bound."""

    async def ask(bound: int) -> list[Outcome]:
        return await opened(one_at_a_time(DELAY), np.arange(200) * DELAY / 2, bound)

    unbounded = load_of(simulate(ask(1000)), 2 / DELAY)
    assert unbounded.reached == pytest.approx(1 / DELAY, rel=1e-6) and not unbounded.errors
    assert unbounded.latency_ms["max"] == pytest.approx(1e3 * (200 - 199 / 2) * DELAY, rel=1e-6)
    outcomes = simulate(ask(10))
    bounded = load_of(outcomes, 2 / DELAY)
    assert len(outcomes) == bounded.requests == 200
    # The queue is full after twenty arrivals; half of those that come then find room.
    assert bounded.errors == {NOT_SENT: pytest.approx(90, abs=6)}
    assert bounded.latency_ms["max"] <= 1e3 * 10 * DELAY + 1e-6


def test_errors_are_counted_by_kind_and_are_no_latencies() -> None:
    """A server that refuses at once is not fast."""

    async def send(number: int) -> None:
        await asyncio.sleep(DELAY if number % 4 == 0 else 0)
        if number % 4:
            raise ServingError(Code.UNAVAILABLE if number % 4 < 3 else Code.INTERNAL, "told to")

    load = load_of(simulate(opened(send, np.arange(40) * 1.0, 5)))
    assert load.errors == {"UNAVAILABLE": 20, "INTERNAL": 10}
    assert load.latency_ms["p50"] == pytest.approx(1e3 * DELAY, rel=1e-6)
    assert load.reached == pytest.approx(10 / 39, rel=1e-3)


def test_nothing_but_errors_is_no_measurement() -> None:
    """Shares of a peak of nothing are nothing."""

    async def send(number: int) -> None:
        await asyncio.sleep(DELAY)
        raise ServingError(Code.INTERNAL, "told to")

    with pytest.raises(ServingError, match="None of 200 requests was answered: 200 INTERNAL"):
        simulate(peak(send, LoadSpec(clients=2, seconds=1)))
    refused = load_of([Outcome(0.0, 0.0, 1.0, "INTERNAL")])
    assert refused.reached == 0 and refused.latency_ms == {}
    assert "1 INTERNAL" in table([refused], 1)


def test_mistakes_of_ours_are_no_errors_of_the_server() -> None:
    """What is none of serving's ends the test."""

    async def send(number: int) -> None:
        raise KeyError(number)

    for loop in (closed(send, 1, 1), opened(send, [0.0], 1)):
        with pytest.raises(ExceptionGroup, match="unhandled"):
            simulate(loop)


def test_arrivals_are_a_poisson_process() -> None:
    """As many as the rate says; gaps are exponential, as wide as their mean, and independent."""
    arrivals = poisson(50.0, 400.0, np.random.default_rng(0))
    gaps = np.diff(arrivals)
    assert len(arrivals) == 20_000 and (gaps >= 0).all() and 0 <= arrivals[0] < arrivals[-1] < 400
    # Errors of 20,000 draws are below 0.01; bounds are four times that.
    assert gaps.mean() * 50 == pytest.approx(1, abs=0.04)
    assert gaps.std() * 50 == pytest.approx(1, abs=0.04)
    assert (gaps > np.log(2) / 50).mean() == pytest.approx(0.5, abs=0.04)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.04
    same = poisson(50.0, 400.0, np.random.default_rng(0))
    np.testing.assert_array_equal(arrivals, same)


def test_percentiles_are_times_that_were_seen() -> None:
    """Of a thousand latencies of 1 to 1000 ms, the nearest ranks."""
    outcomes = [Outcome(0.0, 0.0, ms / 1e3) for ms in range(1, 1001)]
    latency = load_of(outcomes[::-1]).latency_ms
    expected = {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000}
    assert latency == pytest.approx(expected)


def test_all_loads_are_measured_and_shown(tmp_path: Path) -> None:
    """Rates are shares of what the closed loop reached; the table and the picture hold them."""

    async def ask() -> list[Load]:
        spec = LoadSpec(clients=2, seconds=4, shares=(0.25, 0.5))
        return await measured(one_at_a_time(DELAY), spec, lambda *each: told.append(each))

    told: list[tuple[int, int]] = []
    loads = simulate(ask())
    assert [load.asked for load in loads] == [None, pytest.approx(25), pytest.approx(50)]
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    shown = table(loads, 2).splitlines()
    assert len(shown) == 5 and all(name in shown[1] for name in PERCENTILES)
    assert "2 clients" in shown[2] and "25.0" in shown[3] and "50.0" in shown[4]
    picture = throughput_against_latency(loads, "a server", tmp_path / "load.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


TEXTS = signature({"text": (STRING, (-1,))}, {"label": (STRING, (-1,))})
SPLIT = signature(
    {"ids": (INT32, (-1, -1)), "flag": (FLOAT, (-1, 3)), "mode": (INT32, ())}, {"y": (FLOAT, (-1,))}
)


@pytest.mark.parametrize("of", [SUMMING, TEXTS, SPLIT], ids=["padded", "texts", "others"])
def test_drawn_requests_fit_their_signature(of: Signature) -> None:
    """Of each length between, each time the same."""
    requests = inputs.drawn(of, (3, 5))
    (name,) = {"x", "text", "ids"} & of.inputs.keys()
    sizes = set()
    for request in requests:
        array = of.checked(request)[name]
        sizes.add(len(array[0].split()) if name == "text" else array.shape[1])
    assert sizes == {3, 4, 5}
    for one, again in zip(requests, inputs.drawn(of, (3, 5)), strict=True):
        np.testing.assert_array_equal(one[name], again[name])


def test_lengths_are_common_ones() -> None:
    """Different ones where they can share a batch."""
    alone = signature({"x": (FLOAT, (-1, -1))}, {"y": (FLOAT, (-1,))})
    assert inputs.common_lengths(SUMMING, 320) == inputs.common_lengths(TEXTS, 320) == (8000, 16000)
    assert inputs.common_lengths(alone, 320) == (16000, 16000)


def test_what_cannot_be_drawn_is_said() -> None:
    """A length that nobody said would measure something else."""
    for of in (SUMMING, TEXTS, SPLIT):
        with pytest.raises(ValueError, match="`lengths` must be given"):
            inputs.drawn(of, None)
    proto = signature({"x": (FLOAT, (-1, 2))}, {"y": (FLOAT, (-1,))})
    assert inputs.drawn(proto, None)[0]["x"].shape == (1, 2)


def test_requests_are_read_from_files(tmp_path: Path) -> None:
    """As REST takes them, by rows or by columns, one a file or one a line."""
    rows, columns = {"instances": [[[1, 2]]]}, {"inputs": {"x": [[[3, 4]]], "lengths": [1]}}
    (tmp_path / "one.json").write_text(json.dumps(rows, indent=2))
    (tmp_path / "more.jsonl").write_text(f"{json.dumps(columns)}\n\n{json.dumps(rows)}\n")
    read = inputs.read([tmp_path / "one.json", tmp_path / "more.jsonl"], SUMMING)
    assert [request["x"].tolist() for request in read] == [[[[1, 2]]], [[[3, 4]]], [[[1, 2]]]]
    assert all(request["lengths"].tolist() == [1] for request in read)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "bad.jsonl:1: JSON Parse error"),
        ('{"instances": [[[1, 2]]]}\n{"instances": [[["a", 2]]]}', "bad.jsonl:2: `x` must be"),
        (
            '{"signature_name": "step", "instances": [1]}',
            "must ask the signature `serving_default`",
        ),
        ("\n", "files that hold a request"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, told: str) -> None:
    """By its line as well."""
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(ValueError, match=told):
        inputs.read([tmp_path / "bad.jsonl"], SUMMING)


@pytest.mark.parametrize(
    "settings",
    [
        {"clients": 0},
        {"seconds": 0},
        {"seconds": float("inf")},
        {"max_in_flight": 0},
        {"shares": (0.5, 0.0)},
        {"rates": (-1.0,)},
        {"lengths": (5, 3)},
        {"lengths": (0, 3)},
    ],
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must be"):
        LoadSpec(**settings)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_real_server_is_measured(server: Server, protocol: str) -> None:
    """Both protocols, sequences of different lengths, no error."""
    spec = LoadSpec(clients=2, seconds=0.2, rates=(20.0,), signature="padded", lengths=(800, 2400))

    async def ask() -> list[Load]:
        url = server.address if protocol == "grpc" else server.url
        async with AsyncClient(url, server.name, retries=0) as client:
            requests = await requests_of(client, spec)
            assert len({request["waveform"].shape[1] for request in requests}) > 10
            return await measured(sender(client, requests, "padded"), spec)

    waiting, coming = run(ask())
    assert coming.asked == 20 and coming.requests == 4
    for load in (waiting, coming):
        assert not load.errors and load.latency_ms["p50"] <= load.latency_ms["max"]
        assert load.reached > 0


def test_a_request_that_is_refused_ends_the_test(server: Server) -> None:
    """Before thousands of them are sent."""

    async def ask(spec: LoadSpec) -> None:
        async with AsyncClient(server.address, server.name, retries=0) as client:
            await requests_of(client, spec)

    with pytest.raises(ServingError, match=r"has the signatures \["):
        run(ask(LoadSpec(signature="nix")))
    with pytest.raises(ValueError, match="`lengths` must be given"):
        run(ask(LoadSpec()))


@pytest.mark.slow
def test_an_export_is_served_for_the_test(words: Path, tmp_path: Path) -> None:
    """In a process of its own, which ends with the test; one that does not start says why."""
    with served(words) as server:
        assert server.name == "words" and server.pid > 0

        async def ask() -> list[str]:
            async with AsyncClient(server.url, server.name) as client:
                return [each.state for each in await client.status()]

        assert run(ask()) == ["AVAILABLE"]
    with pytest.raises(ServingError, match="UNAVAILABLE"):
        run(AsyncClient(server.url, server.name, retries=0).status())
    export = Path(shutil.copytree(words, tmp_path / "words"))
    (export / "serving/1/saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="did not start: .*changed since"), served(export):
        pass
