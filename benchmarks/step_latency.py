"""How long a streaming step takes, and how far the stream is from the whole clip.

    python benchmarks/step_latency.py exported/NAME/device/*.tflite

Each file is loaded with one thread and fed 10 s of noise, a step at a time; the steps of all files
take turns, so that a busy machine slows them alike. The first file is the base of the ratios.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from rnnapp.device import Model, Stepper, load

SECONDS, SAMPLE_RATE = 10, 16_000


def measure(paths: list[Path]) -> None:
    """Prints a row for each file."""
    noise = np.random.default_rng(0).normal(0, 0.05, (1, SECONDS * SAMPLE_RATE)).astype("float32")
    models = [load(path, num_threads=1) for path in paths]
    steppers = [Stepper(model) for model in models]
    sizes = [next(iter(stepper.inputs.values())).shape[1] for stepper in steppers]
    times: list[list[float]] = [[] for _ in paths]
    last: list[dict[str, np.ndarray]] = [{} for _ in paths]
    for start in range(0, noise.shape[1], max(sizes)):
        for i, (stepper, size) in enumerate(zip(steppers, sizes, strict=True)):
            for place in range(start, start + max(sizes), size):
                begun = time.perf_counter()
                last[i] = stepper(samples=noise[:, place : place + size])
                times[i].append(time.perf_counter() - begun)
    base = np.median(times[0])
    print(
        f"{'file':32} {'kB':>7} {'ms a step':>9} {'median µs':>9} {'p99 µs':>7} {'ratio':>6} "
        f"{'stream-whole':>12}"
    )
    for path, model, size, spent in zip(paths, models, sizes, times, strict=True):
        median, p99 = 1e6 * np.median(spent), 1e6 * np.quantile(spent, 0.99)
        print(
            f"{path.name:32} {path.stat().st_size / 1000:7.1f} {1000 * size / SAMPLE_RATE:9.0f} "
            f"{median:9.1f} {p99:7.1f} {np.median(spent) / base:6.2f} "
            f"{difference(model, noise):12.1e}"
        )


def difference(model: Model, noise: np.ndarray) -> float:
    """Largest difference of a logit between the clip heard at once and heard step by step."""
    (whole,) = model.inputs("predict").values()
    clip = noise[:, : whole.shape[1]]
    stepper = Stepper(model)
    size = stepper.inputs["samples"].shape[1]
    for start in range(0, clip.shape[1], size):
        streamed = stepper(samples=clip[:, start : start + size])["logits"]
    return float(np.abs(streamed - model.run("predict", waveform=clip)["logits"]).max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.tflite")
    measure(parser.parse_args().files)
