"""The local server against the model alone: what it costs, and what batching gains.

    python benchmarks/serving.py EXPORT

prints the median time of a call of the model in this process and of a request to it over gRPC, by
turns; and the requests a second of many clients, with batches and without, by turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.serving import AsyncClient, Client
from rnnapp.serving.signatures import DEFAULT, Signature
from rnnapp.serving.tensors import STRING, dtype_of

ROUNDS = 5  # by turns, so that what else the machine does falls on both
WARM = 100  # calls that do not count


@contextlib.contextmanager
def served(export: Path, *options: str) -> Iterator[tuple[str, str]]:
    """A server in a process of its own: gRPC's address, and the model's name."""
    code = "from rnnapp.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", str(export), "--port", "0", "--rest-port", "0"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        address, url = (process.stdout.readline().split()[1] for _ in range(2))
        try:
            yield address, url.rpartition("/")[2]
        finally:
            process.terminate()


def example(signature: Signature, timesteps: int) -> dict[str, np.ndarray]:
    """One row of noise for a signature, or a text."""
    generator = np.random.default_rng(0)
    inputs = {}
    for name, spec in signature.inputs.items():
        dtype, sizes = dtype_of(spec.dtype), (spec.shape or ())[1:]
        shape = [1, *(timesteps if size == -1 else size for size in sizes)]
        if dtype == STRING:
            inputs[name] = np.full(shape, b"what a long and lovely film " * 4, object)
        else:
            inputs[name] = generator.uniform(0, 0.1, shape).astype(dtype)
    return inputs


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def overhead(export: Path, timesteps: int, calls: int) -> None:
    """One client, one request at a time; a call of the model before each."""
    from rnnapp.serving.server.saved_model import SavedModel

    model = SavedModel(export / "serving" / "1")
    inputs = example(model.signatures[DEFAULT], timesteps)
    with served(export) as (address, name), Client(address, name) as client:
        pairs = [
            (seconds(lambda: model.run(DEFAULT, inputs)), seconds(lambda: client.predict(inputs)))
            for _ in range(calls + WARM)
        ]
    print("                p10      p50      p90  milliseconds")
    alone, asked = zip(*pairs[WARM:], strict=True)
    for title, times in (("model alone", alone), ("over gRPC", asked)):
        p10, p50, p90 = 1e3 * np.percentile(times, [10, 50, 90])
        print(f"{title:12}{p10:8.2f} {p50:8.2f} {p90:8.2f}")
    added = 1e3 * statistics.median(np.subtract(asked, alone))
    print(f"server and client together add {added:.2f} ms at p50")


async def rate(
    client: AsyncClient, inputs: dict[str, np.ndarray], clients: int, for_: float
) -> float:
    """Answers a second to clients that each ask again as soon as they are answered."""
    ends, answers = time.perf_counter() + for_, 0

    async def ask() -> None:
        nonlocal answers
        while time.perf_counter() < ends:
            await client.predict(inputs)
            answers += 1

    begun = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(clients)))
    return answers / (time.perf_counter() - begun)


async def throughput(export: Path, timesteps: int, clients: int, for_: float) -> None:
    """Many clients, with batches and without."""
    rates: dict[str, list[float]] = {"1": [], str(clients): []}
    with contextlib.ExitStack() as stack:
        servers = {
            size: stack.enter_context(served(export, "--max-batch-size", size)) for size in rates
        }
        for run in range(ROUNDS + 1):
            for size, (address, name) in servers.items():
                async with AsyncClient(address, name) as client:
                    inputs = example((await client.signatures())[DEFAULT], timesteps)
                    found = await rate(client, inputs, clients, for_)
                    if run:
                        rates[size].append(found)
    medians = {size: statistics.median(found) for size, found in rates.items()}
    for size, median in medians.items():
        print(f"{clients} clients, batches of at most {size:>2}: {median:7.1f} requests/s")
    print(f"batches answer {medians[str(clients)] / medians['1']:.2f} times as many")


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("--timesteps", type=int, default=16_000, help="of the noise that is sent")
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    chosen = parser.parse_args()
    overhead(chosen.export, chosen.timesteps, chosen.calls)
    asyncio.run(throughput(chosen.export, chosen.timesteps, chosen.clients, chosen.seconds))


if __name__ == "__main__":
    main()
