"""The C program of a model gives the answers of Keras, and is fit for a small machine."""

from __future__ import annotations

import ctypes
import itertools
import json
import math
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rnnapp import Run, builders
from rnnapp.device import Stepper
from rnnapp.exporting.c99 import library, writer
from rnnapp.exporting.c99.emitters import EMITTERS
from rnnapp.exporting.c99.program import Program, UnsupportedLayerError, quantized
from rnnapp.exporting.signatures import step_specs
from rnnapp.layers import CELLS, CausalConv, RunningMean
from rnnapp.layers.pooling import KINDS
from rnnapp.layers.streaming import NotCausalError, StepModel
from rnnapp.replay import Replay
from rnnapp.specs import ConvSpec, FrontSpec, RNNSpec

from ..layers.conftest import CONVOLUTIONS, FEATURES, feature_model, sequences, shuffled
from ..layers.test_streaming import streamed, whole

LABELS = ("_silence_", "yes", "no")
STEPS = 100
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-O2")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")

# The same float32 sums in another order, over a hundred steps.
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-5}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities."""
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


def written(model: keras.Model, folder: Path, variant: str = "float") -> Path:
    """The folder of a model's C program."""
    writer.write(model, LABELS, folder, variant)
    return folder


def answers(folder: Path, x: np.ndarray) -> np.ndarray:
    """The probabilities after every step of (1, timesteps, ...), (steps, classes)."""
    with library.load(folder) as step:
        stepper = Stepper(step)
        ((name, info),) = stepper.inputs.items()
        size = info.shape[1]
        return np.concatenate(
            [
                stepper(**{name: x[:, start : start + size]})["probabilities"]
                for start in range(0, x.shape[1] - size + 1, size)
            ]
        )


def check(model: keras.Model, x: np.ndarray, folder: Path) -> None:
    """The program equals the whole model at the end of every step."""
    (size, *_) = StepModel(model).input_shape
    expected = softmax(whole(model, x, size)[:, 0])
    assert len(expected) >= STEPS // 2 and np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(answers(written(model, folder), x), expected, **EXACT)


FRONTS: dict[str, dict[str, Any]] = {
    "log_mel": {"kind": "log_mel", "frame_length_ms": 10.0, "mean_seconds": 0.05},
    "mfcc": {"kind": "mfcc", "frame_length_ms": 8.0, "num_mfcc": 6},
    # Frames that share no sample, and no running mean.
    "frames": {"kind": "log_mel", "frame_length_ms": 4.0},
}
RATE, SAMPLES_A_FRAME = 8000, 32


def waveform_model(
    front: str, cell: str, pooling: str, convolutions: tuple[ConvSpec, ...] = ()
) -> keras.Model:
    """A small model of waveforms at 8 kHz."""
    spec = RNNSpec(
        cell,
        units=4,
        num_layers=2,
        pooling=pooling,  # type: ignore[arg-type]
        num_heads=2,
        convolutions=convolutions,
        front=FrontSpec(num_mel_bins=FEATURES, frame_step_ms=4.0, time_masks=1, **FRONTS[front]),
    )
    return shuffled(builders.many_to_one(spec, len(LABELS), sample_rate=RATE, window=0.03))


def waveform(frames: int, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades, float32 (1, samples)."""
    generator = np.random.default_rng(seed)
    size = frames * SAMPLES_A_FRAME
    return (generator.uniform(-1, 1, (1, size)) * np.sin(np.linspace(0, 9, size)) ** 4).astype(
        np.float32
    )


IMAGES = (*CONVOLUTIONS, ConvSpec(3, kernel_time=2, kernel_frequency=3, stride_frequency=1))
SIDES = itertools.cycle([(False, ()), (True, CONVOLUTIONS), (False, IMAGES), (True, ())])
MODELS = [(cell, pooling, *next(SIDES)) for cell in CELLS for pooling in ("last", *KINDS)]
QUICK = MODELS[::3]  # every cell, pool and side


@pytest.mark.parametrize(
    ("cell", "pooling", "layer_norm", "convolutions"),
    [pytest.param(*model, marks=[] if model in QUICK else [pytest.mark.slow]) for model in MODELS],
)
def test_features_give_the_answers_of_keras(
    cell: str, pooling: str, layer_norm: bool, convolutions: tuple[ConvSpec, ...], tmp_path: Path
) -> None:
    """Every cell and pool, two layers deep, at every step of a long stream."""
    model = feature_model(cell, pooling, convolutions, layer_norm)
    check(model, sequences(1, STEPS), tmp_path)


@pytest.mark.parametrize(
    ("front", "cell", "pooling", "convolutions"),
    [
        ("log_mel", "gru", "mean_max", CONVOLUTIONS),
        ("mfcc", "lstm", "last", ()),
        ("frames", "simple_rnn", "attention", (ConvSpec(3, 2, 0, stride_time=2),)),
    ],
)
def test_sound_gives_the_answers_of_keras(
    front: str, cell: str, pooling: str, convolutions: tuple[ConvSpec, ...], tmp_path: Path
) -> None:
    """From samples on: the Fourier transform, the filters and the means are C as well."""
    check(waveform_model(front, cell, pooling, convolutions), waveform(STEPS), tmp_path)


def made(layer: type[keras.layers.Layer], **arguments: st.SearchStrategy) -> st.SearchStrategy:
    """Draws the arguments of a layer; the layer itself is made in the test."""
    return st.builds(partial, st.just(layer), **arguments)


BOOL, UNITS, YES = st.booleans(), st.integers(1, 9), st.just(True)
SQUASHING = st.sampled_from(["tanh", "sigmoid"])  # with others, a recurrence may grow
ANY = st.sampled_from(["tanh", "sigmoid", "relu", "linear", "softmax"])
CELL = {"units": UNITS, "use_bias": BOOL, "return_sequences": YES}
LAYERS = st.one_of(
    made(keras.layers.SimpleRNN, activation=SQUASHING, **CELL),
    made(keras.layers.LSTM, recurrent_activation=SQUASHING, **CELL),
    made(keras.layers.GRU, reset_after=BOOL, **CELL),
    made(keras.layers.Dense, units=UNITS, activation=ANY, use_bias=BOOL),
    made(keras.layers.Activation, activation=ANY),
    made(keras.layers.LayerNormalization, center=BOOL, scale=BOOL),
    made(keras.layers.BatchNormalization, center=BOOL, scale=BOOL),
    made(RunningMean, frames=st.floats(1.0, 20.0)),
)


def strided(timesteps: int) -> list[Callable[[Any], Any]]:
    """Layers of which one step takes some timesteps: those before see as many at once."""
    return [
        lambda x: keras.ops.expand_dims(x, -1),
        CausalConv(2, timesteps, 0, stride_time=timesteps),
        keras.layers.Reshape((-1, 2)),
    ]


SEQUENCES = {"units": 4, "return_sequences": True}


@example([partial(keras.layers.SimpleRNN, activation="sigmoid", **SEQUENCES)], 2)
@example([partial(keras.layers.LSTM, use_bias=False, **SEQUENCES)], 1)
@example([partial(keras.layers.GRU, reset_after=False, **SEQUENCES)], 3)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.lists(LAYERS, min_size=1, max_size=4), st.integers(1, 3))
def test_any_chain_gives_the_answers_of_keras(
    tmp_path_factory: pytest.TempPathFactory, makers: list[Any], timesteps: int
) -> None:
    """Settings that the builders do not use, and layers that hear some timesteps a step."""
    source = x = keras.Input((None, FEATURES))
    head = keras.layers.GRU(4), keras.layers.Dense(len(LABELS))
    for layer in [*(make() for make in makers), *strided(timesteps), *head]:
        x = layer(x)
    model, heard = shuffled(keras.Model(source, x)), sequences(1, 18)
    expected = softmax(streamed(model, heard)[:, 0])  # which equals the whole, as its tests say
    folder = written(model, tmp_path_factory.mktemp("chain"))
    np.testing.assert_allclose(answers(folder, heard), expected, **EXACT)


@pytest.fixture(scope="module", params=writer.VARIANTS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with every kind of state and scratch, in each variant."""
    model = waveform_model("mfcc", "lstm", "attention", CONVOLUTIONS)
    return written(model, tmp_path_factory.mktemp("program"), request.param)


class Streams:
    """A program as C code sees it: structs that belong to the caller."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        library._compile([folder / "model.c", folder / "rnn.c"], scratch / "model.so")
        self.code = ctypes.CDLL(str(scratch / "model.so"))
        interface = json.loads((folder / library.INTERFACE).read_text())
        self.size = interface["state_bytes"]
        self.kept = sum(math.prod(shape) for shape in list(interface["inputs"].values())[1:])

    def new(self) -> np.ndarray:
        """A struct full of what was in memory before, then reset."""
        state = np.full(self.size // 4, np.nan, np.float32)
        self.code.rnnapp_reset(ctypes.c_void_p(state.ctypes.data))
        return state

    def step(self, state: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """One step of a stream."""
        probabilities = np.zeros(len(LABELS), np.float32)
        arrays = (state, np.ascontiguousarray(samples), probabilities)
        self.code.rnnapp_step(*(ctypes.c_void_p(array.ctypes.data) for array in arrays))
        return probabilities


@pytest.fixture
def streams(program: Path, tmp_path: Path) -> Streams:
    """The program, compiled."""
    return Streams(program, tmp_path)


def test_streams_do_not_hear_each_other(streams: Streams) -> None:
    """One model serves two microphones; a state that hid in the code would be shared."""
    size = 2 * SAMPLES_A_FRAME
    heard = [waveform(20, seed).reshape(-1, size) for seed in range(2)]
    alone = []
    for x in heard:
        state = streams.new()
        alone.append([streams.step(state, samples) for samples in x])
    states = [streams.new(), streams.new()]
    for t in range(len(heard[0])):
        for x, state, expected in zip(heard, states, alone, strict=True):
            np.testing.assert_array_equal(streams.step(state, x[t]), expected[t])
    assert np.abs(np.array(alone[0]) - alone[1]).max() > 1e-4


def test_a_reset_begins_anew(streams: Streams) -> None:
    """Whatever was heard before, or in memory before."""
    (x, other), state = waveform(40).reshape(2, -1, 2 * SAMPLES_A_FRAME), streams.new()
    first = [streams.step(state, samples) for samples in x]
    for samples in other:
        streams.step(state, samples)
    streams.code.rnnapp_reset(ctypes.c_void_p(state.ctypes.data))
    np.testing.assert_array_equal([streams.step(state, samples) for samples in x], first)


def test_nothing_is_kept_but_the_states(streams: Streams) -> None:
    """An export's states are all there is to carry along: the rest of the struct is scratch."""
    x, states = waveform(20).reshape(-1, 2 * SAMPLES_A_FRAME), [streams.new(), streams.new()]
    for samples in x:
        states[1][streams.kept :] = np.nan
        one, other = (streams.step(state, samples) for state in states)
        np.testing.assert_array_equal(one, other)


def test_int8_weights_are_near(finished: Run, tmp_path: Path) -> None:
    """On a trained model: eight bits a weight and an activation, over clips end to end."""
    model, replay = finished.load_model(), Replay.load(finished.folder / "replay.npz")
    labels = finished.load_pipeline().labels
    heard = replay.sequences[:8].reshape(1, -1)
    folders = {variant: tmp_path / variant for variant in writer.VARIANTS}
    for variant, folder in folders.items():
        writer.write(model, labels, folder, variant)
    float_answers, int8_answers = (answers(folder, heard) for folder in folders.values())
    expected = softmax(streamed(model, heard)[:, 0])
    assert np.ptp(expected, axis=0).max() > 0.5  # it does tell them apart
    np.testing.assert_allclose(float_answers, expected, **EXACT)
    np.testing.assert_allclose(int8_answers, expected, rtol=0, atol=2e-2)
    assert np.abs(int8_answers - expected).max() > 1e-5  # it is int8 indeed


def test_int8_rows_keep_their_own_scales(tmp_path: Path) -> None:
    """A soft unit beside a loud one is not rounded away, in any matrix of a model."""
    spec = RNNSpec("lstm", units=8, num_layers=1, pooling="attention", num_heads=2)
    model = builders.many_to_one(spec, len(LABELS), num_features=FEATURES, window=6)
    generator = np.random.default_rng(0)
    for weight in shuffled(model).weights:
        if len(weight.shape) == 2:
            loudness = [generator.permutation(np.geomspace(0.1, 10, n)) for n in weight.shape]
            weight.assign(weight * np.sqrt(np.outer(*loudness)))
    x = sequences(1, 30)
    expected = softmax(streamed(model, x)[:, 0])
    assert np.ptp(expected, axis=0).max() > 0.3
    heard = answers(written(model, tmp_path, "int8"), x)
    np.testing.assert_allclose(heard, expected, rtol=0, atol=1e-2)


def flash(folder: Path) -> int:
    """Bytes of constants, as the header says."""
    (found,) = re.findall(r"and (\d+) bytes of flash", (folder / "model.h").read_text())
    return int(found)


def test_int8_is_small(tmp_path: Path) -> None:
    """A quarter of the weights, and a scale for each row."""
    model = feature_model("lstm", "last")
    float_flash, int8_flash = (
        flash(written(model, tmp_path / variant, variant)) for variant in writer.VARIANTS
    )
    weights = 4 * 4 * (8 + 4) + 4 * 4 * (4 + 4) + 4 * 3
    rows = 2 * (16 + 16) + 3
    biases = 16 + 16 + 3
    assert float_flash == 4 * (weights + biases)
    assert int8_flash == weights + 4 * (rows + biases)


def test_the_ram_is_that_of_the_struct(program: Path, tmp_path: Path) -> None:
    """Said in the header, and what a loader allocates: one byte less would be overrun."""
    size = json.loads((program / library.INTERFACE).read_text())["state_bytes"]
    assert f"It needs {size} bytes of RAM" in (program / "model.h").read_text()
    source = tmp_path / "size.c"
    source.write_text(f'#include "model.h"\nchar check[sizeof(rnnapp_state) == {size} ? 1 : -1];\n')
    compiled("-I", program, "-c", source, "-o", tmp_path / "size.o")


def compiled(*arguments: object) -> None:
    """Runs the C compiler, which must have nothing to say."""
    compiler = library._compiler()
    assert compiler, library.missing()
    done = subprocess.run(
        [*compiler, *STRICT, *map(str, arguments)], capture_output=True, text=True
    )
    assert not done.returncode and not done.stderr, done.stderr


def built(folder: Path, *flags: str) -> Path:
    """The example program, built."""
    sources = (folder / name for name in ("main.c", "model.c", "rnn.c"))
    compiled(*flags, *sources, "-o", folder / "example", "-lm")
    return folder / "example"


def test_the_example_hears_pcm(program: Path) -> None:
    """Built without a warning, run without an error of memory or arithmetic, and right."""
    pcm = np.round(waveform(30) * 32767).astype("<i2")
    pcm[:, :2] = [-32768, 32767]
    done = subprocess.run(
        [built(program, *SANITIZED)], input=pcm.tobytes() + b"x", capture_output=True
    )
    assert not done.returncode and not done.stderr, done.stderr
    expected = answers(program, pcm.astype(np.float32) / 32768)
    lines = [f"{LABELS[p.argmax()]} {p.max():.4f}" for p in expected]
    assert done.stdout.decode().splitlines() == lines


def chain(*layers: keras.layers.Layer, dtype: str = "float32") -> keras.Model:
    """A functional model of features, some layers after each other."""
    source = x = keras.Input((None, FEATURES), dtype=dtype)
    for layer in layers:
        x = layer(x)
    return shuffled(keras.Model(source, x))


@pytest.mark.parametrize("variant", writer.VARIANTS)
def test_the_example_hears_features(variant: str, tmp_path: Path) -> None:
    """A model without a front end, with layers that leave parts of the struct out."""
    cell = keras.layers.GRU(len(LABELS), reset_after=False, use_bias=False)
    folder = written(chain(keras.layers.LayerNormalization(scale=False), cell), tmp_path, variant)
    x = sequences(1, 10)
    done = subprocess.run(
        [built(folder, *SANITIZED)], input=x.tobytes(), capture_output=True, check=True
    )
    lines = [f"{LABELS[p.argmax()]} {p.max():.4f}" for p in answers(folder, x)]
    assert done.stdout.decode().splitlines() == lines


NAMES = ('a "quoted" \\ name\n', "what??/is\tthis??)", "größer 大きい 🎤", "%s \\x41", "1", "")


def test_labels_survive(tmp_path: Path) -> None:
    """C has its own mind of quotes, backslashes, trigraphs and letters beyond ASCII."""
    writer.write(chain(keras.layers.GRU(len(NAMES))), NAMES, tmp_path, "float")
    code = Streams(tmp_path, tmp_path).code
    labels = (ctypes.c_char_p * len(NAMES)).in_dll(code, "rnnapp_labels")
    assert tuple(label.decode() for label in labels) == NAMES
    built(tmp_path)  # without a warning


def test_names_of_layers_become_names_in_c(tmp_path: Path) -> None:
    """Keywords, names of the kernels, spaces, and two that only differ by what C does not have."""
    names = ("int", "rnn", "rnn_layer", "größe", "gr e", "gr_e", "1st", "*", "state", "main")
    layers = [keras.layers.SimpleRNN(3, return_sequences=True, name=name) for name in names]
    model = chain(*layers, keras.layers.GRU(len(LABELS), name="model"))
    x = sequences(1, 5)
    expected = softmax(streamed(model, x)[:, 0])
    np.testing.assert_allclose(answers(written(model, tmp_path), x), expected, **EXACT)
    built(tmp_path)


def test_numbers_survive(tmp_path: Path) -> None:
    """Each float32 is read back to the bit, however small, and wherever a line ends."""
    bits = np.random.default_rng(0).integers(0, 2**32, 5000, np.uint32)
    drawn = bits.view(np.float32)
    extremes = [0.0, -0.0, 1.0, -1e10, 1e-45, 3.4028235e38, 1.1754944e-38, 16777216.0, 0.1]
    values = np.array([*extremes, *drawn[np.isfinite(drawn)]], np.float32)
    program = Program(int8=False, states={})
    program.array("drawn_values", values)
    (definition,) = program.constants.values()
    (tmp_path / "model.c").write_text(definition.removeprefix("static "))
    (tmp_path / "rnn.c").touch()
    library._compile([tmp_path / "model.c"], tmp_path / "values.so")
    code = ctypes.CDLL(str(tmp_path / "values.so"))
    read = (ctypes.c_float * len(values)).in_dll(code, "drawn_values")
    np.testing.assert_array_equal(np.array(read).view(np.uint32), values.view(np.uint32))


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e6, 1e6)))
def test_rounding_is_by_rows(weights: np.ndarray) -> None:
    """A soft row keeps its own precision beside a loud one, and zeros stay zeros."""
    values, scales = quantized(weights)
    assert values.dtype == np.int8 and values.min(initial=0) >= -127
    half_unit = np.abs(weights).max(axis=1, keepdims=True) / 254
    error = np.abs(values * scales.astype(np.float64)[:, None] - weights)
    smallest = 1e-42  # of what float32 holds, times 127
    assert (error <= half_unit * (1 + 1e-4) + smallest).all()


class OwnGRU(keras.layers.GRU):
    """A layer that may do anything."""


DENSE = partial(keras.layers.Dense, len(LABELS), name="logits")
KERNELS = ", ".join(sorted(kind.__name__ for kind in EMITTERS))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: chain(OwnGRU(4, name="own"), DENSE()),
            UnsupportedLayerError,
            rf"`own` must be of a type that has a C kernel: {KERNELS}\. Received: OwnGRU\. Leave",
        ),
        (
            lambda: chain(keras.layers.RNN([keras.layers.GRUCell(4)], name="cells"), DENSE()),
            UnsupportedLayerError,
            "`cells` must be of a type.*Received: RNN",
        ),
        (
            lambda: chain(keras.layers.GRU(4), DENSE(activation="gelu")),
            UnsupportedLayerError,
            "`logits` must have an activation that has a C function: linear, relu, sigmoid, tanh. "
            "Received: gelu",
        ),
        (
            lambda: chain(keras.layers.LSTM(3, activation="softmax", name="cell")),
            UnsupportedLayerError,
            "`cell` must have an activation.*Received: softmax",
        ),
        (
            lambda: chain(keras.layers.GRU(4, go_backwards=True, name="back"), DENSE()),
            NotCausalError,
            "`back` has go_backwards=True",
        ),
        (
            lambda: chain(keras.layers.GRU(4, return_sequences=True), DENSE()),
            ValueError,
            r"one vector of 3 logits, one for each label. Received: outputs of shapes \[\(1, 3\)\]",
        ),
        (
            lambda: chain(keras.layers.GRU(4)),
            ValueError,
            r"Received: outputs of shapes \[\(4,\)\]",
        ),
        (
            lambda: chain(keras.layers.Masking(), keras.layers.GRU(3), dtype="int32"),
            ValueError,
            "input must be float32. Received: int32",
        ),
    ],
)
def test_what_c_cannot_hold_is_refused(
    make: Callable[[], keras.Model], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """Before a file is written, with what there is instead."""
    with pytest.raises(error, match=message):
        written(make(), tmp_path / "c99")
    assert not (tmp_path / "c99").exists()


@pytest.mark.parametrize("variant", writer.VARIANTS)
def test_weights_that_are_no_numbers_are_named(variant: str, tmp_path: Path) -> None:
    """A training that diverged must not look like a compiler's fault."""
    model = chain(keras.layers.GRU(len(LABELS), name="gru"))
    model.layers[-1].cell.recurrent_kernel.assign(np.full((3, 9), np.nan))
    with pytest.raises(ValueError, match="`gru_recurrent` must hold finite numbers"):
        written(model, tmp_path, variant)


def test_variants_are_named(tmp_path: Path) -> None:
    """Whoever mistypes one learns which there are."""
    with pytest.raises(ValueError, match="must be one of float, int8. Received: variant='int4'"):
        written(chain(keras.layers.GRU(3)), tmp_path, "int4")


def test_the_signature_is_that_of_the_other_formats(program: Path) -> None:
    """Names, order and shapes: whoever steps one format can step this one."""
    model = waveform_model("mfcc", "lstm", "attention", CONVOLUTIONS)
    specs = {name: tuple(spec.shape) for name, spec in step_specs(StepModel(model), 1).items()}
    with library.load(program) as step:
        assert step.signatures == ["step"]
        inputs, outputs = step.inputs("step"), step.outputs("step")
        assert {name: info.shape for name, info in inputs.items()} == specs
        assert list(inputs)[0] == "samples"
        following = {f"next_{name}": specs[name] for name in list(specs)[1:]}
        classes = {"logits": (1, len(LABELS)), "probabilities": (1, len(LABELS))}
        assert {name: info.shape for name, info in outputs.items()} == classes | following
        assert {info.dtype for info in (inputs | outputs).values()} == {np.dtype(np.float32)}
        zeros = {name: np.zeros(shape, np.float32) for name, shape in specs.items()}
        answer = step.run("step", **zeros)
        assert {name: value.shape for name, value in answer.items()} == classes | following
        np.testing.assert_allclose(answer["probabilities"], softmax(answer["logits"]), atol=1e-6)
        with pytest.raises(ValueError, match="must have the signature `predict`. It has: step"):
            step.run("predict", **zeros)
        with pytest.raises(
            ValueError, match=r"The inputs must be .*Received: .*'samples': \(1, 9\)"
        ):
            step.run("step", **{**zeros, "samples": np.zeros((1, 9), np.float32)})


def test_a_machine_without_a_compiler_says_so(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate lists the runtime as not run; and CC may name a compiler, with arguments."""
    assert library.missing() is None
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    assert library.missing() == "no C compiler: install gcc or clang, or name one by CC"
    with pytest.raises(library.CompilationError, match="cannot be compiled: no C compiler"):
        library.load(program).__enter__()
    monkeypatch.setenv("CC", "cc -DRNN_H")  # which hides the kernels' header
    assert library.missing() is None
    with pytest.raises(
        library.CompilationError, match="(?s)-DRNN_H.*It said: .*rnn_log_mel_settings"
    ):
        library.load(program).__enter__()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    assert library.missing()
