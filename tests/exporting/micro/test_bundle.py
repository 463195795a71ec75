"""A bundle's array is the file, its front end hears what Keras' does, and both are one step."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from rnnapp import layers
from rnnapp.device import Stepper
from rnnapp.device import load as load_litert
from rnnapp.exporting import c99, flatbuffer, micro, proof
from rnnapp.exporting.c99 import emitters, library
from rnnapp.exporting.folder import source_of
from rnnapp.exporting.micro.bundle import operators
from rnnapp.exporting.micro.interpreter import positions
from rnnapp.exporting.runtimes import RUNTIMES
from rnnapp.layers.streaming import StepModel

from ...layers.conftest import sequences
from ..c99.conftest import EXACT, FRONTS, LABELS, SAMPLES_A_FRAME, waveform
from ..c99.test_writer import STRICT
from ..conftest import untrained
from .conftest import NO_FRONT, TOKENS, VOCABULARY, body, integers


@pytest.fixture(scope="module", params=["log_mel", "mfcc", NO_FRONT, TOKENS])
def front(request: pytest.FixtureRequest) -> str:
    """A kind of front end, or none."""
    return request.param


@pytest.fixture(scope="module")
def bundle(front: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's bundle, of integers of eight bits."""
    folder = tmp_path_factory.mktemp("bundle")
    step, path = integers(front), folder / "step.tflite"
    path.write_bytes(body(step, 8))
    micro.write(step.body.model, LABELS, path, folder / "int8")
    return folder / "int8"


def built(folder: Path, scratch: Path) -> ctypes.CDLL:
    """The model's array as a program sees it, compiled without a warning."""
    # The attribute that aligns the array is none of ISO C's, but of every compiler's.
    flags = [flag for flag in STRICT if flag != "-Wpedantic"]
    target = scratch / "model.so"
    compile_c(*flags, "-shared", "-fPIC", folder / "model.c", "-o", target)
    return ctypes.CDLL(str(target))


def compile_c(*arguments: object) -> None:
    """Runs the C compiler, which must have nothing to say."""
    command = [*(library._compiler() or []), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode and not done.stderr, done.stderr


class Place(ctypes.Structure):
    """A state, as `model.h` has it."""

    _fields_ = [("input", ctypes.c_int), ("output", ctypes.c_int), ("floats", ctypes.c_size_t)]


def constants(header: Path) -> dict[str, int]:
    """What a header defines as numbers."""
    found = re.findall(r"(?:#define |    )RNNAPP_(\w+)(?: =)? (\d+)", header.read_text())
    return {name: int(value) for name, value in found}


def test_the_array_is_the_file(bundle: Path, tmp_path: Path) -> None:
    """To the byte, as long as the header says, and where the interpreter wants it."""
    code, content = built(bundle, tmp_path), (bundle / "model.tflite").read_bytes()
    length = constants(bundle / "model.h")["MODEL_BYTES"]
    stored = (ctypes.c_ubyte * length).in_dll(code, "rnnapp_model")
    assert bytes(stored) == content
    assert ctypes.addressof(stored) % 16 == 0
    labels = (ctypes.c_char_p * len(LABELS)).in_dll(code, "rnnapp_labels")
    assert tuple(label.decode() for label in labels) == LABELS


def test_what_the_header_says_is_where_things_are(bundle: Path, tmp_path: Path) -> None:
    """A program has no names to go by: a wrong position is a wrong model."""
    content = (bundle / "model.tflite").read_bytes()
    _, inputs, outputs = positions(content, "the model")
    said, loaded = constants(bundle / "model.h"), load_litert(content)
    assert said["INPUT_FEATURES"] == inputs.pop("features")
    assert said["OUTPUT_LOGITS"] == outputs["logits"]
    assert said["OUTPUT_PROBABILITIES"] == outputs["probabilities"]
    states = (Place * said["NUM_STATES"]).in_dll(built(bundle, tmp_path), "rnnapp_states")
    sizes = {name: np.prod(info.shape) for name, info in loaded.inputs("step").items()}
    assert said["NUM_FEATURES"] == sizes["features"]
    assert {(state.input, state.output, state.floats) for state in states} == {
        (place, outputs[f"next_{name}"], sizes[name]) for name, place in inputs.items()
    }
    assert said["STATE_FLOATS"] == sum(sizes[name] for name in inputs)
    ends = [*loaded.inputs("step").values(), *loaded.outputs("step").values()]
    kinds = {info.dtype.name for info in ends if info.name != "features"}
    assert kinds == {"float32"}


def test_weights_lie_where_processors_want_them(bundle: Path) -> None:
    """On multiples of 16 bytes, as the format asks: biases of 64 bits, wide loads."""
    content = (bundle / "model.tflite").read_bytes()
    model, start = schema.Model.GetRootAs(content, 0), np.frombuffer(content, np.uint8).ctypes.data
    found = [model.Buffers(number).DataAsNumpy() for number in range(model.BuffersLength())]
    stored = [data for data in found if isinstance(data, np.ndarray)]
    assert len(stored) > 10
    assert {(data.ctypes.data - start) % 16 for data in stored} == {0}


HEADERS = ("micro_interpreter.h", "micro_mutable_op_resolver.h")
MICRO = """
#include <cstdint>
#include <cstddef>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
struct TfLiteTensor { union { float *f; int32_t *i32; } data; };
namespace tflite {
struct Model {};
const Model *GetModel(const void *file);
struct MicroOpResolver {};
template <unsigned int count> struct MicroMutableOpResolver : MicroOpResolver {
%s
};
struct MicroInterpreter {
    MicroInterpreter(const Model *, const MicroOpResolver &, uint8_t *arena, size_t size);
    TfLiteStatus AllocateTensors();
    TfLiteStatus Invoke();
    TfLiteTensor *input(size_t place);
    TfLiteTensor *output(size_t place);
};
}
"""


def test_the_example_compiles_with_the_operators_of_the_file(bundle: Path, tmp_path: Path) -> None:
    """All of them, no other one, and every name that it takes from the headers is there."""
    readme = (bundle / "README.md").read_text()
    added = re.findall(r"resolver\.Add(\w+)\(\);", readme)
    assert added == operators((bundle / "model.tflite").read_bytes())
    assert len(added) == constants(bundle / "model.h")["NUM_OPERATORS"]
    tensorflow = tmp_path / "tensorflow" / "lite"
    (tensorflow / "schema").mkdir(parents=True)
    (tensorflow / "micro").mkdir()
    (tensorflow / "schema" / "schema_generated.h").touch()
    for name in HEADERS:
        (tensorflow / "micro" / name).write_text("#pragma once\n#include <tflite_micro.h>\n")
    methods = "\n".join(f"TfLiteStatus Add{name}();" for name in added)
    (tmp_path / "tflite_micro.h").write_text(f"#pragma once\n{MICRO % methods}")
    (example,) = re.findall(r"```cpp\n(.*?)```", readme, flags=re.DOTALL)
    (tmp_path / "main.cpp").write_text(example)
    flags = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", "-fsyntax-only")
    compile_c(*flags, "-I", bundle, "-I", tmp_path, tmp_path / "main.cpp")


def test_operators_are_spelled_as_the_resolver_spells_them() -> None:
    """Names in capitals do not tell where a word begins."""
    codes = schema.BuiltinOperator
    names = {
        codes.BATCH_MATMUL: "BatchMatMul",
        codes.CONV_2D: "Conv2D",
        codes.CUMSUM: "CumSum",
        codes.MAX_POOL_2D: "MaxPool2D",
        codes.PADV2: "PadV2",
        codes.SELECT_V2: "SelectV2",
        codes.UNIDIRECTIONAL_SEQUENCE_LSTM: "UnidirectionalSequenceLSTM",
    }
    model = schema.ModelT(
        operatorCodes=[schema.OperatorCodeT(builtinCode=code) for code in names], subgraphs=[]
    )
    assert operators(flatbuffer.pack(model, 256)) == sorted(names.values())


@pytest.mark.parametrize("kind", FRONTS)
def test_the_front_end_in_c_is_that_of_keras(kind: str, tmp_path: Path) -> None:
    """The same features and states at every step of a stream, compiled without a warning."""
    model = integers(kind).front.model
    c99.write_front(model, tmp_path)
    compile_c(*STRICT, "-c", tmp_path / "front.c", "-o", tmp_path / "front.o")
    reference, x = StepModel(model, "front"), waveform(40)
    states, size = reference.initial_states(), reference.input_shape[0]
    with library.load(tmp_path, "front") as loaded:
        stepper = Stepper(loaded)
        for start in range(0, 20 * SAMPLES_A_FRAME, size):
            samples = x[:, start : start + size]
            features, states = reference(tf.constant(samples), states)
            mine = stepper(samples=samples)["features"]
            np.testing.assert_allclose(mine, features, **EXACT)
            for name, value in states.items():
                np.testing.assert_allclose(stepper.states[name], value, **EXACT)


def test_a_bundle_is_one_step(bundle: Path, front: str) -> None:
    """With the inputs and outputs, and nearly the answers, of the same integers in LiteRT."""
    step = integers(front)
    litert, x = load_litert(step.step(8)), _heard(front)
    with RUNTIMES["tflite_micro"].load(bundle) as loaded:
        assert loaded.signatures == ["step"]
        assert loaded.inputs("step") == litert.inputs("step")
        assert loaded.outputs("step") == litert.outputs("step")
        mine, theirs = Stepper(loaded), Stepper(litert)
        ((name, info),) = mine.inputs.items()
        size = info.shape[1]
        steps = [{name: x[:, start : start + size]} for start in range(0, x.shape[1], size)]
        ours, others = (
            np.array([stepper(**new)["probabilities"] for new in steps])
            for stepper in (mine, theirs)
        )
    # Their kernels round differently, by some units of an activation, of which a class hears less.
    np.testing.assert_allclose(ours, others, rtol=0, atol=1 / 2**8)
    assert np.ptp(others, axis=0).max() > 10 / 2**8


def _heard(front: str) -> np.ndarray:
    """What a model hears, (1, time, ...)."""
    if front == TOKENS:
        return np.random.default_rng(0).integers(0, VOCABULARY, (1, 60), np.int32)
    return 2 * sequences(1, 60) if front == NO_FRONT else waveform(80)


def test_a_machine_without_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not run is not passed: neither without the package nor without a compiler for fronts."""
    runtime = RUNTIMES["tflite_micro"]
    assert runtime.absence is None
    assert re.fullmatch(r"\d+\.dev\d+", runtime.version)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no C compiler" in str(runtime.absence)
    assert dataclasses.replace(runtime, package="no_such_package").absence == "not installed"
    step, path = integers(NO_FRONT), tmp_path / "step.tflite"
    path.write_bytes(body(step, 8))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --pre tflite-micro"):
        micro.write(step.body.model, LABELS, path, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


@pytest.mark.usefixtures("at_home")
def test_what_has_no_kernel_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One front end that C cannot have costs the bundle, and no other file of the same kind."""
    run = untrained(tmp_path / "run")
    shutil.copytree(run.folder, tmp_path / "export" / "source")
    source = source_of(run, run.load_model(), tmp_path / "export")
    monkeypatch.delitem(emitters.EMITTERS, layers.LogMel)
    names = ["step_int8", "micro_int8"]
    missing = proof._write_formats(source, tmp_path / "export", names, lambda done, total: None)
    assert list(missing) == ["micro_int8"]
    assert "must be of a type that has a C kernel" in str(missing["micro_int8"])
    device = tmp_path / "export" / "device"
    assert [path.name for path in device.iterdir()] == ["step_int8.tflite"]
