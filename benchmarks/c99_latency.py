"""How long a step of the C99 program takes, beside the TFLite float step in ai-edge-litert.

    python benchmarks/c99_latency.py [key=value ...]

The model is the default one of speech commands, with its audio front end and drawn weights; the
settings are those of `rnnapp train --set`. All artefacts hear the same noise on one thread and take
turns, so that a busy machine slows them alike. TFLite is the base of the ratios, by its bare
`invoke`. `CC="gcc -Os"` compiles as for a small flash, `CC="gcc -march=native"` for this machine.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from rnnapp import TASKS, builders
from rnnapp.exporting import signatures
from rnnapp.exporting.c99 import library, writer
from rnnapp.layers.streaming import StepModel

STEPS, CLASSES, SAMPLE_RATE = 1000, 12, 16_000


class LiteRt:
    """The step as a TFLite file of its own, which `invoke` runs without a signature."""

    def __init__(self, stepper: StepModel, scratch: Path) -> None:
        holder = tf.Module()
        holder.weights = stepper.weights
        specs = signatures.step_specs(stepper, 1)
        function = signatures.renamed(signatures.step(stepper), [next(iter(specs))])
        traced = tf.function(function, autograph=False).get_concrete_function(**specs)
        tf.saved_model.save(holder, str(scratch), signatures={"step": traced})
        content = tf.lite.TFLiteConverter.from_saved_model(str(scratch)).convert()
        self.memory = f"{len(content) / 1000:8.1f} {'':>8}"
        self.interpreter = Interpreter(model_content=content, num_threads=1)
        self.interpreter.allocate_tensors()
        runner = self.interpreter.get_signature_runner("step")
        self.inputs = {n: info["index"] for n, info in runner.get_input_details().items()}
        self.outputs = {n: info["index"] for n, info in runner.get_output_details().items()}
        self.states = {n: np.zeros(specs[n].shape, np.float32) for n in list(specs)[1:]}

    def __call__(self, samples: np.ndarray) -> tuple[float, np.ndarray]:
        """One step: its seconds and its probabilities."""
        for name, value in {"samples": samples, **self.states}.items():
            self.interpreter.set_tensor(self.inputs[name], value)
        begun = time.perf_counter()
        self.interpreter.invoke()
        seconds = time.perf_counter() - begun
        outputs = {n: self.interpreter.get_tensor(index) for n, index in self.outputs.items()}
        self.states = {name: outputs[f"next_{name}"] for name in self.states}
        return seconds, outputs["probabilities"][0]


class C99:
    """The program of a variant, whose struct keeps the states."""

    def __init__(self, stepper: StepModel, variant: str, scratch: Path) -> None:
        writer.write(stepper.model, ["label"] * CLASSES, scratch, variant)
        interface = json.loads((scratch / library.INTERFACE).read_text())
        (flash,) = re.findall(r"and (\d+) bytes of flash", (scratch / "model.h").read_text())
        self.memory = f"{int(flash) / 1000:8.1f} {interface['state_bytes'] / 1000:8.1f}"
        library._compile([scratch / "model.c", scratch / "rnn.c"], scratch / "model.so")
        self.step = ctypes.CDLL(str(scratch / "model.so")).rnnapp_step
        self.struct = np.zeros(interface["state_bytes"] // 4, np.float32)
        self.probabilities = np.zeros(CLASSES, np.float32)

    def __call__(self, samples: np.ndarray) -> tuple[float, np.ndarray]:
        """One step: its seconds and its probabilities."""
        arrays = (self.struct, samples, self.probabilities)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        begun = time.perf_counter()
        self.step(*pointers)
        return time.perf_counter() - begun, self.probabilities.copy()


def measure(*settings: str) -> None:
    """Prints a row for each artefact."""
    spec = TASKS["speech_commands"].spec(None, settings).model
    model = builders.many_to_one(spec, CLASSES, sample_rate=SAMPLE_RATE, window=1.0)
    stepper = StepModel(model)
    (size,) = stepper.input_shape
    noise = np.random.default_rng(0).normal(0, 0.05, (STEPS, 1, size)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        artefacts = {"tflite float": LiteRt(stepper, Path(scratch, "tflite"))} | {
            f"c99 {variant}": C99(stepper, variant, Path(scratch, variant))
            for variant in writer.VARIANTS
        }
        heard = [[artefact(samples) for artefact in artefacts.values()] for samples in noise]
    seconds = 1e6 * np.array([[took for took, _ in row] for row in heard])
    answers = np.array([[probabilities for _, probabilities in row] for row in heard])
    print(f"a step is {1000 * size / SAMPLE_RATE:g} ms of sound")
    print(f"{'':13} {'flash kB':>8} {'RAM kB':>8} {'median µs':>9} {'p99 µs':>8} {'ratio':>6} diff")
    for i, (name, artefact) in enumerate(artefacts.items()):
        median, p99 = np.median(seconds[:, i]), np.quantile(seconds[:, i], 0.99)
        ratio = median / np.median(seconds[:, 0])
        difference = np.abs(answers[:, i] - answers[:, 0]).max()
        print(f"{name:13} {artefact.memory} {median:9.1f} {p99:8.1f} {ratio:6.2f} {difference:.1e}")


if __name__ == "__main__":
    measure(*sys.argv[1:])
