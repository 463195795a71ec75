"""What the audio pipeline costs: each augmentation's time, and the share of a step spent waiting.

python benchmarks/input_pipeline.py                        one second of noise as clips
python benchmarks/input_pipeline.py --data DIR --noise DIR --rooms DIR
python benchmarks/input_pipeline.py --step-ms 100          a step that leaves the CPU alone
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipelines import audio_files, augmentation
from pipelines.audio import AudioPipeline, AudioSpec, AugmentationSpec


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a folder of word/*.wav")
    parser.add_argument("--noise", help="a folder of background noise")
    parser.add_argument("--rooms", help="a folder of room impulse responses")
    parser.add_argument("--split-salt", default="", help="see AudioSpec")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--step-ms", type=float, help="a step that only sleeps; else a GRU trains")
    parser.add_argument("--units", type=int, default=64, help="of the GRU")
    arguments = parser.parse_args()
    spec = AudioSpec(noise=arguments.noise, rooms=arguments.rooms, split_salt=arguments.split_salt)
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or make_clips(Path(folder))
        begun = time.perf_counter()
        pipeline = AudioPipeline(spec).fit(data)
        print(
            f"{sum(pipeline.splits.values())} clips decoded in {time.perf_counter() - begun:.1f} s"
        )
    print_costs(pipeline, arguments.batch_size)
    print_waiting(pipeline, arguments)


def make_clips(folder: Path, clips: int = 4000) -> str:
    """Clips of one second of noise: what they hold does not change what they cost."""
    draw = np.random.default_rng(0)
    for i in range(clips):
        path = folder / ("yes", "no")[i % 2] / f"{i:08x}_nohash_0.wav"
        path.parent.mkdir(exist_ok=True)
        audio_files.write(path, draw.normal(size=16000) * 0.1, 16000)
    return str(folder)


def print_costs(pipeline: AudioPipeline, batch_size: int, repeats: int = 50) -> None:
    """CPU time of each augmentation on one batch, summed over all threads."""
    inputs, _ = next(iter(pipeline.dataset("train", batch_size)))
    shares = {
        name: share
        for name, share in vars(pipeline.spec.augmentation).items()
        if name.endswith("_probability")
    }
    print(f"\nCPU time for {inputs['waveform'].shape[0]} clips, in ms")
    none = dataclasses.replace(pipeline.spec.augmentation, **dict.fromkeys(shares, 0.0))
    base = cost(pipeline, inputs, none, repeats)
    for name, share in shares.items():
        alone = cost(pipeline, inputs, dataclasses.replace(none, **{name: share}), repeats)
        print(f"{name.removesuffix('_probability'):12} {alone - base:6.1f}   on {share:.0%}")
    print(f"{'all':12} {cost(pipeline, inputs, pipeline.spec.augmentation, repeats):6.1f}")


def cost(
    pipeline: AudioPipeline, inputs: dict[str, tf.Tensor], settings: AugmentationSpec, repeats: int
) -> float:
    """Milliseconds of CPU time that augmenting a batch takes."""
    spec = dataclasses.replace(pipeline.spec, augmentation=settings)
    sources = pipeline.sources()

    @tf.function
    def augment(number: tf.Tensor) -> tf.Tensor:
        key = tf.stack([0, number])
        return augmentation.augment(inputs["waveform"], inputs["lengths"], key, spec, sources)[0]

    augment(tf.constant(0))
    times = [time.process_time()]
    for number in range(repeats):
        augment(tf.constant(number))
        times.append(time.process_time())
    return float(np.median(np.diff(times))) * 1000


def print_waiting(pipeline: AudioPipeline, arguments: argparse.Namespace) -> None:
    """The share of a training step in which nothing happens but waiting for its batch."""
    train = pipeline.dataset("train", arguments.batch_size, training=True, repeat=True)
    sleep = arguments.step_ms
    step = (
        (lambda inputs, labels: time.sleep(sleep / 1000))
        if sleep
        else gru_step(arguments.units, pipeline.num_classes)
    )
    step(*next(iter(train)))
    first, waited, worked = measure(train, step, arguments.steps)
    what = f"a sleep of {sleep:g} ms" if sleep else f"a GRU of {arguments.units} units"
    print(
        f"\nA step of {what}, batch {arguments.batch_size}: {worked:.1f} ms. "
        f"Waiting for data: {waited:.2f} ms, {waited / (waited + worked):.1%} of the step; "
        f"{first:.0f} ms once, for the first batch"
    )


def gru_step(units: int, num_classes: int) -> Callable[..., tf.Tensor]:
    """One training step of a small recurrent model on frames of 10 ms."""
    model = keras.Sequential(
        [keras.layers.Reshape((-1, 160)), keras.layers.GRU(units), keras.layers.Dense(num_classes)]
    )
    optimizer = keras.optimizers.AdamW()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.build((None, 16000))
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(inputs: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(labels, model(inputs["waveform"], training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables))
        return value

    return lambda inputs, labels: float(step(inputs, labels))


def measure(
    dataset: tf.data.Dataset, step: Callable[..., object], steps: int
) -> tuple[float, float, float]:
    """Milliseconds of waiting for the first batch, and means of waiting and working after it."""
    times = [time.perf_counter()]
    for batch in dataset.take(steps):
        times.append(time.perf_counter())
        step(*batch)
        times.append(time.perf_counter())
    waited, worked = np.diff(times)[0::2] * 1000, np.diff(times)[1::2] * 1000
    return float(waited[0]), float(waited[1:].mean()), float(worked[1:].mean())


if __name__ == "__main__":
    main()
