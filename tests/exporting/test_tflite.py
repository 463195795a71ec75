"""Conversion: crashes become messages, and rewriting a file changes no answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnapp.device import Model, load
from rnnapp.exporting import conversion, flatbuffer, tflite
from rnnapp.exporting.tflite import ConversionError

from .conftest import untrained


def converter(tmp_path: Path, script: str) -> str:
    """A program in the place of Python, which gets the job as its last argument."""
    path = tmp_path / "python"
    path.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib, sys\n"
        f"job = json.loads(sys.argv[-1])\n{script}\n"
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "timeout", "message"),
    [
        (
            "pathlib.Path(job['folder'], 'float.tflite').touch(); os.kill(os.getpid(), 11)",
            60,
            r"model\.keras failed at variant 'dynamic'.*The converter ended with signal 11",
        ),
        (
            "sys.stderr.buffer.write(b'no memory \\xff left'); sys.exit(3)",
            60,
            r"at variant 'float'\. Leave it out: name the other formats by --formats\. "
            r"The converter ended with code 3\. Its last words: no memory \ufffd left",
        ),
        (
            "import time; time.sleep(60)",
            0.5,
            r"model\.keras failed.*The converter took more than 0\.5 s",
        ),
    ],
)
def test_a_crash_of_the_converter_is_a_message(
    script: str, timeout: float, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantizing converters kill whole processes; this one must live to say which model it was."""
    monkeypatch.setattr(sys, "executable", converter(tmp_path, script))
    with pytest.raises(ConversionError, match=message):
        tflite.convert(
            tmp_path / "model.keras",
            tmp_path / "device",
            ["float", "dynamic"],
            time=2400,
            streams=True,
            replay=tmp_path / "replay.npz",
            timeout_seconds=timeout,
        )


def test_the_converter_sees_no_accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels would go into the file, for which no TFLite runtime has any."""
    script = (
        "print('[]')\n"
        "sys.exit(os.environ['CUDA_VISIBLE_DEVICES'] != '' or os.environ['KEPT'] != 'yes')"
    )
    monkeypatch.setattr(sys, "executable", converter(tmp_path, script))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("KEPT", "yes")
    replay = tmp_path / "replay.npz"
    tflite.convert(
        tmp_path / "model.keras", tmp_path, ["float"], time=2400, streams=True, replay=replay
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model as the converter writes it, with float and with quantized weights."""
    folder = tmp_path_factory.mktemp("raw")
    run = untrained(folder / "run", "units=24", "pooling=mean_max")
    job = {
        "model": str(run.model_path),
        "folder": str(folder),
        "variants": ["float", "dynamic"],
        "time": 2400,
        "streams": True,
        "replay": str(run.folder / "replay.npz"),
        "float_parts": 0,
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(flatbuffer, "compact", lambda content: content)
        conversion.work(json.loads(json.dumps(job)))
    return {path.stem: path.read_bytes() for path in folder.glob("*.tflite")}


def answers(content: bytes) -> dict[str, np.ndarray]:
    """What both signatures of a model say to noise."""
    model, generator = load(content), np.random.default_rng(0)
    outputs = {}
    for signature in model.signatures:
        inputs = {
            name: generator.uniform(-1, 1, info.shape).astype(np.float32)
            for name, info in sorted(model.inputs(signature).items())
        }
        for name, value in model.run(signature, **inputs).items():
            outputs[f"{signature} {name}"] = value
    return outputs


def names(model: Model) -> dict[str, tuple[set[str], set[str]]]:
    """The names of inputs and outputs, by signature."""
    return {s: (set(model.inputs(s)), set(model.outputs(s))) for s in model.signatures}


@pytest.mark.parametrize("variant", ["float", "dynamic"])
def test_a_compact_file_answers_to_the_bit(raw: dict[str, bytes], variant: str) -> None:
    """What is dropped is what no runtime reads."""
    small = flatbuffer.compact(raw[variant])
    assert len(small) < 0.95 * len(raw[variant])
    assert names(load(small)) == names(load(raw[variant]))
    ours, theirs = answers(small), answers(raw[variant])
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_half_precision_is_for_weights_alone(
    raw: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A front end of 11 bits hears otherwise: windows, filters and decays stay exact."""
    content, half = raw["float"], flatbuffer.halved(raw["float"])
    stored = differing(content, half, lambda data: np.frombuffer(data, np.float16))
    assert stored, "the model has no weights that are large enough"
    assert all(values.size > 1024 for values in stored)
    differences = [
        np.abs(answers(half)[name] - value).max()
        for name, value in answers(content).items()
        if "logits" in name
    ]
    assert 0 < max(differences) < 1e-2  # weights rounded by 2**-11, through a GRU
    monkeypatch.setattr(flatbuffer, "_WEIGHT_ELEMENTS", 10**6)
    for name, value in answers(flatbuffer.halved(content)).items():
        np.testing.assert_array_equal(value, answers(content)[name], err_msg=name)


def differing(
    content: bytes, other: bytes, read: Callable[[bytes], np.ndarray]
) -> list[np.ndarray]:
    """The constants of `other` that `content` does not have."""
    known = set(constants(content))
    return [read(data) for data in constants(other) if data not in known]


def constants(content: bytes) -> list[bytes]:
    """Every constant of a model."""
    model = flatbuffer.unpack(content)
    return [
        bytes(buffer.data)
        for buffer in model.buffers
        if buffer.data is not None and len(buffer.data)
    ]


def test_descriptions_do_not_hide_the_model(raw: dict[str, bytes], tmp_path: Path) -> None:
    """Labels of any script travel in the file, and the same model makes the same bytes."""
    files = {"labels.txt": "ja\nnein\nпривет\n", "rnnapp.json": "{}"}
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(raw["float"])
        tflite.describe(tmp_path / name, "größer", 8000, files)
    content = (tmp_path / "one").read_bytes()
    for name, value in answers(raw["float"]).items():
        np.testing.assert_array_equal(answers(content)[name], value, err_msg=name)
    assert content == (tmp_path / "two").read_bytes()
    attached = load(content).files
    assert {name: data.decode() for name, data in attached.items()} == files
