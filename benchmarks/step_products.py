"""How long a step of a recurrent layer takes, beside nothing but its matrix products.

    python benchmarks/step_products.py

A layer of 64 units hears one timestep of 40 features. Its step and the two products in it, of the
inputs and of the state, are made into a TFLite file each, and into C compiled with the same flags;
all take turns on one thread, so that a busy machine slows them alike. TFLite is timed by its bare
`invoke`, with XNNPACK (the default) and without; `nothing` is a file that adds two vectors, which
is what being called costs, from Python. C is timed by its own loops, and its products are the
kernel that the step calls as well. Sizes are those of an int8 step of such a layer and twelve
classes, as `rnnapp export` writes it, and before metadata and labels join it.

On two cores of an AMD EPYC with AVX-512 (which C compiled with the default flags does not use):

                          step µs products µs  ratio nothing µs
    simple_rnn  xnnpack      1.48        1.38   1.07       0.90
    simple_rnn  tflite       2.51        2.12   1.19       1.02
    simple_rnn  c99          0.87        0.72   1.21        nan
    lstm        xnnpack      2.06        1.64   1.26       0.49
    lstm        tflite       4.36        2.90   1.51       0.56
    lstm        c99          2.66        2.17   1.22        nan
    gru         xnnpack      1.80        1.37   1.32       0.48
    gru         tflite       3.85        2.33   1.65       0.55
    gru         c99          1.65        1.30   1.27        nan

    int8 step   export kB model kB
    simple_rnn       12.7     11.6
    lstm             43.5     42.2
    gru              31.1     30.0

For some minutes of the same day XNNPACK's operators but the products were slower, about 0.06 µs
each, half of it in its thread pool (of one thread): the ratios were 1.16, 1.58 and 1.76.
"""

from __future__ import annotations

import ctypes
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from rnnapp import builders
from rnnapp.exporting import flatbuffer, lowering, tflite
from rnnapp.exporting.c99 import library, writer
from rnnapp.exporting.quantized import IntegerStep
from rnnapp.layers import CELLS, recurrence
from rnnapp.specs import RNNSpec

UNITS, FEATURES, CLASSES = 64, 40, 12
ROUNDS, CALLS = 3000, 10

RESOLVERS = {
    "xnnpack": OpResolverType.AUTO,
    "tflite": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}
PROGRAM = """
#include "model.c"

static rnnapp_state kept, *const state = &kept;

void repeat_step(size_t calls, const float *input)
{
    const rnn_scratch scratch = {state->work, NULL};
    while (calls--)
        {step}
}

void repeat_products(size_t calls, const float *input)
{
    const rnn_scratch scratch = {state->work, NULL};
    while (calls--) {
        rnn_multiply(&rnn_layer.input, input, NULL, state->work, &scratch);
        rnn_multiply(&rnn_layer.recurrent, state->rnn_state_0, NULL, state->work, &scratch);
    }
}
"""

Repeat = Callable[[], None]  # makes CALLS calls


def tflite_files(layer: keras.layers.RNN) -> dict[str, bytes]:
    """The step, its products, and a file with hardly anything in it."""
    cell, sizes = layer.cell, keras.tree.flatten(layer.cell.state_size)
    inputs = tf.TensorSpec((1, 1, FEATURES), name="inputs")
    states = {f"state_{i}": tf.TensorSpec((1, n), name=f"state_{i}") for i, n in enumerate(sizes)}

    def step(x: tf.Tensor, **states: tf.Tensor) -> dict[str, tf.Tensor]:
        return recurrence.step(layer, x, states)[1]

    def products(x: tf.Tensor, h: tf.Tensor) -> dict[str, tf.Tensor]:
        of_x = tf.matmul(tf.squeeze(x, axis=1), cell.kernel)
        return {"of_x": of_x, "of_h": tf.matmul(h, cell.recurrent_kernel)}

    def nothing(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + x}

    h = tf.TensorSpec((1, UNITS), name="h")
    files = {
        "step": lowering.traced(step, {"inputs": inputs, **states}),
        "products": lowering.traced(products, {"inputs": inputs, "h": h}),
        "nothing": lowering.traced(nothing, {"inputs": inputs}),
    }
    weights = [weight.value for weight in layer.weights]
    return {name: lowering.lowered({name: traced}, weights) for name, traced in files.items()}


def invoked(content: bytes, resolver: OpResolverType) -> Repeat:
    """A TFLite file, its inputs set once."""
    interpreter = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for info in interpreter.get_input_details():
        values = generator.uniform(-1, 1, info["shape"]).astype(np.float32)
        interpreter.set_tensor(info["index"], values)

    def repeat() -> None:
        for _ in range(CALLS):
            interpreter.invoke()

    return repeat


def compiled(layer: keras.layers.RNN, folder: Path) -> dict[str, Repeat]:
    """The step and its products in C."""
    source = keras.Input((None, FEATURES))
    model = keras.Model(source, layer(source))
    writer.write(model, ["label"] * UNITS, folder, "float")
    (step,) = re.findall(r"rnn_\w+\(&rnn_layer, .*\);", (folder / "model.c").read_text())
    (folder / "bench.c").write_text(PROGRAM.replace("{step}", step))
    library._compile([folder / "bench.c", folder / "rnn.c"], folder / "bench.so")
    code = ctypes.CDLL(str(folder / "bench.so"))
    x = (ctypes.c_float * FEATURES)(*np.random.default_rng(0).uniform(-1, 1, FEATURES))

    def repeated(name: str) -> Repeat:
        function = getattr(code, f"repeat_{name}")
        return lambda: function(ctypes.c_size_t(CALLS), x)

    return {name: repeated(name) for name in ("step", "products")}


def latencies(cell: str) -> None:
    """Prints a row for each runtime."""
    layer = CELLS[cell](UNITS, name="rnn")
    layer.build((None, None, FEATURES))
    files = tflite_files(layer)
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            runtime: {name: invoked(content, resolver) for name, content in files.items()}
            for runtime, resolver in RESOLVERS.items()
        } | {"c99": compiled(layer, Path(folder))}
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for runtime, repeats in rows.items():
            for name, repeat in repeats.items():
                repeat()  # the others have just used the caches
                begun = time.perf_counter()
                repeat()
                seconds = (time.perf_counter() - begun) / CALLS
                taken.setdefault((runtime, name), []).append(seconds)
    medians = {key: 1e6 * np.median(seconds) for key, seconds in taken.items()}
    for runtime in rows:
        step, products = (medians[runtime, name] for name in ("step", "products"))
        nothing = medians.get((runtime, "nothing"), float("nan"))
        print(
            f"{cell:11} {runtime:8} {step:8.2f} {products:11.2f} {step / products:6.2f} "
            f"{nothing:10.2f}"
        )


def sizes(cell: str) -> None:
    """Prints the size of an int8 step."""
    spec = RNNSpec(cell, units=UNITS, num_layers=1, pooling="last")
    model = builders.many_to_one(spec, CLASSES, num_features=FEATURES)
    examples = np.random.default_rng(0).standard_normal((4, 50, FEATURES)).astype(np.float32)
    content = flatbuffer.compact(IntegerStep(model, examples).step(8))
    labels = {"labels.txt": "".join(f"label {i}\n" for i in range(CLASSES)), "rnnapp.json": "{}\n"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step_int8.tflite"
        path.write_bytes(content)
        tflite.describe(path, cell, None, labels)
        described = path.stat().st_size
    print(f"{cell:11} {described / 1000:9.1f} {len(content) / 1000:8.1f}")


if __name__ == "__main__":
    print(f"{'':11} {'':8} {'step µs':>8} {'products µs':>11} {'ratio':>6} {'nothing µs':>10}")
    for cell in CELLS:
        latencies(cell)
    print(f"\n{'int8 step':11} {'export kB':>9} {'model kB':>8}")
    for cell in CELLS:
        sizes(cell)
