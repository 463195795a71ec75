"""The local server against the model alone: what it costs, what batches gain, and the tail.

    python benchmarks/serving.py EXPORT

prints how long a server takes from its start to its first answer. Then the median time of a call of
the model in this process and of a request to it over gRPC, in blocks of either by turns:
TensorFlow's threads spin for a while after a call, which slows a server down that is asked at once.
Beside them stands what gRPC itself adds: a request of as many bytes to a server that only waits in
a thread for as long as the model takes; and what the server adds to the model from when gRPC brings
a request till it takes the answer, in the mean, by its metrics. Then the requests a second of many
clients, with batches and without, by turns; and the latencies of requests at random times at half
the rate that batches reached.

One run on two cores, of the GRU that `rnnapp quickstart` exports: the first answer comes 4.2 s
after the start; a call takes 3.60 ms alone and 5.14 ms over gRPC, 1.54 ms more, of which gRPC
itself is 0.91 ms, and the server itself 0.51 ms in the mean; 32 clients get 213 answers a second
without batches and 895 with them, 4.20 times as many; at half the peak, p99 is 2.31 times p50.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import multiprocessing
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from rnnapp.serving import AsyncClient, Client
from rnnapp.serving.load.inputs import drawn
from rnnapp.serving.load.loops import run
from rnnapp.serving.load.measuring import LoadSpec, arrivals, peak, requests_of, sender
from rnnapp.serving.load.processes import served
from rnnapp.serving.load.report import table

ROUNDS = 5  # by turns, so that what else the machine does falls on both
BLOCK = 50  # calls in a row
WARM = 10  # calls of a block that do not count


def block(call: Callable[[], Any]) -> list[float]:
    """How long each call of a block takes, in milliseconds."""
    times = []
    for _ in range(WARM + BLOCK):
        begun = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begun))
    return times[WARM:]


def wait_in_thread(connection: Connection, seconds: float) -> None:
    """A gRPC server that waits instead of a model, and answers for how long it did, in seconds."""

    def wait() -> bytes:
        begun = time.perf_counter()
        time.sleep(seconds)
        return str(time.perf_counter() - begun).encode()

    async def handle(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return await asyncio.to_thread(wait)

    async def serve() -> None:
        server = grpc.aio.server()
        handlers = {"Wait": grpc.unary_unary_rpc_method_handler(handle)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Bare", handlers),))
        connection.send(server.add_insecure_port("localhost:0"))
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


@contextlib.contextmanager
def bare(seconds: float, content: bytes) -> Iterator[Callable[[], float]]:
    """Asks a server that waits; returns what a request took beyond the waiting, in milliseconds."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=wait_in_thread, args=(there, seconds), daemon=True)
    process.start()
    with grpc.insecure_channel(f"localhost:{here.recv()}") as channel:
        method = channel.unary_unary("/Bare/Wait")

        def ask() -> float:
            begun = time.perf_counter()
            waited = float(method(content))
            return 1e3 * (time.perf_counter() - begun - waited)

        yield ask
    process.kill()


def beyond_model(url: str) -> tuple[float, float]:
    """Of a server's calls till now, by its metrics: seconds beyond the model, and how many."""
    with urllib.request.urlopen(url + "/monitoring/prometheus/metrics") as answer:
        text = answer.read().decode()
    totals: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("method", "Predict") == "Predict":
                totals[sample.name] += sample.value
    prefix = "rnnapp_serving_"
    seconds = totals[prefix + "request_seconds_sum"] - totals[prefix + "model_seconds_sum"]
    return seconds, int(totals[prefix + "request_seconds_count"])


def overhead(export: Path, spec: LoadSpec, blocks: int) -> None:
    """One client, one request at a time; the model alone before each block."""
    from rnnapp.serving.server.saved_model import SavedModel

    model, name = SavedModel(export / "serving" / "1"), spec.signature
    signature = model.signatures[name]
    inputs = signature.checked(drawn(signature, spec.lengths)[0])
    content = b"".join(array.tobytes() for array in inputs.values())
    times: dict[str, list[list[float]]] = {"model alone": [], "over gRPC": [], "bare gRPC": []}
    begun = time.perf_counter()
    with served(export) as server, Client(server.address, server.name) as client:
        client.predict(inputs, signature=name)
        print(f"the first answer comes {time.perf_counter() - begun:.1f} s after the start\n")
        before = beyond_model(server.url)
        waiting = statistics.median(block(lambda: model.run(name, inputs))) / 1e3
        with bare(waiting, content) as ask:
            for _ in range(blocks):
                times["model alone"].append(block(lambda: model.run(name, inputs)))
                times["over gRPC"].append(block(lambda: client.predict(inputs, signature=name)))
                times["bare gRPC"].append([ask() for _ in range(WARM + BLOCK)][WARM:])
        seconds, count = np.subtract(beyond_model(server.url), before)
    print("                p10      p50      p90  milliseconds")
    for title, each in times.items():
        p10, p50, p90 = np.percentile(each, [10, 50, 90])
        print(f"{title:12}{p10:8.2f} {p50:8.2f} {p90:8.2f}")
    alone, asked, floor = (np.median(each) for each in times.values())
    print(
        f"gRPC, server and client together add {asked - alone:.2f} ms at p50; gRPC itself, "
        f"{floor:.2f} ms; the server itself, {1e3 * seconds / count:.2f} ms in the mean\n"
    )


async def throughput(export: Path, spec: LoadSpec) -> None:
    """Many clients, with batches and without; then arrivals at half of what batches reached."""
    rates: dict[int, list[float]] = {1: [], spec.clients: []}
    async with contextlib.AsyncExitStack() as stack:
        sends = {}
        for size in rates:
            server = stack.enter_context(served(export, "--max-batch-size", str(size)))
            client = AsyncClient(server.address, server.name, retries=0)
            await stack.enter_async_context(client)
            sends[size] = sender(client, await requests_of(client, spec), spec.signature)
        for _ in range(ROUNDS):
            for size, send in sends.items():
                rates[size].append((await peak(send, spec)).reached)
        alone, together = map(statistics.median, rates.values())
        longer = dataclasses.replace(spec, seconds=ROUNDS * spec.seconds)
        half = await arrivals(sends[spec.clients], together / 2, longer)
    for size, rate in ((1, alone), (spec.clients, together)):
        print(f"{spec.clients} clients, batches of at most {size:>2}: {rate:7.1f} requests/s")
    print(f"batches answer {together / alone:.2f} times as many\n\n{table([half], spec.clients)}")
    if half.latency_ms:
        tail = half.latency_ms["p99"] / half.latency_ms["p50"]
        print(f"at half the peak, p99 is {tail:.2f} times p50")


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("--signature", default=LoadSpec.signature)
    parser.add_argument("--timesteps", type=int, default=16_000, help="of what is sent, or words")
    parser.add_argument("--blocks", type=int, default=10, help="of calls, of each")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    chosen = parser.parse_args()
    spec = LoadSpec(
        clients=chosen.clients,
        seconds=chosen.seconds,
        signature=chosen.signature,
        lengths=(chosen.timesteps, chosen.timesteps),
    )
    overhead(chosen.export, spec, chosen.blocks)
    run(throughput(chosen.export, spec))


if __name__ == "__main__":
    main()
