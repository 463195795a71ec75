"""Conversion: crashes become messages, and rewriting a file changes no answer."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnapp import Run
from rnnapp.device import Model, load
from rnnapp.exporting import conversion, flatbuffer, tflite
from rnnapp.exporting.quantized import IntegerStep
from rnnapp.exporting.tflite import ConversionError

from .conftest import constants, long_windows


def converter(tmp_path: Path, script: str) -> str:
    """A program in the place of Python, which gets the job as its last argument."""
    path = tmp_path / "python"
    path.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib, sys\n"
        f"job = json.loads(sys.argv[-1])\n{script}\n"
    )
    path.chmod(0o755)
    return str(path)


BEGIN = f"begin = pathlib.Path(job['folder'], '{tflite.BEGUN}').write_text\n"
# Writes its variants, until it comes to one that crashes it with the file half written.
CRASHING = (
    BEGIN
    + "for v in job['variants']:\n"
    + "    begin(v); pathlib.Path(job['folder'], v + '.tflite').write_text(str(os.getpid()))\n"
    + "    if v in ('dynamic', 'mediapipe'): os.kill(os.getpid(), 11)\n"
    + "print('[]')"
)


def failed(folder: Path, variants: list[str], timeout: float = 60) -> ConversionError:
    """What is raised of a conversion."""
    with pytest.raises(ConversionError) as raised:
        tflite.convert(
            folder / "model.keras",
            folder / "device",
            variants,
            time=2400,
            streams=True,
            calibration=folder / "calibration.npz",
            timeout_seconds=timeout,
        )
    return raised.value


def test_a_crash_costs_one_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantizing converters kill whole processes; the other files need not be lost."""
    monkeypatch.setattr(sys, "executable", converter(tmp_path, CRASHING))
    error = failed(tmp_path, ["float", "dynamic", "float16", "step_int8", "mediapipe"])
    files = {path.name: path.read_text() for path in (tmp_path / "device").iterdir()}
    assert set(files) == {"float.tflite", "float16.tflite", "step_int8.tflite"}
    assert files["float.tflite"] != files["float16.tflite"] == files["step_int8.tflite"]
    said = "The converter failed at variant '{}': it ended with signal 11. Its last words: "
    assert error.reasons == {name: said.format(name) for name in ("dynamic", "mediapipe")}
    assert re.search(r"model\.keras failed at dynamic, mediapipe\. Leave out", str(error))
    assert all(reason in str(error) for reason in error.reasons.values())


@pytest.mark.parametrize(
    ("script", "timeout", "reason"),
    [
        (
            "sys.stderr.buffer.write(b'no memory \\xff left'); sys.exit(3)",
            60,
            "it ended with code 3. Its last words: no memory \ufffd left",
        ),
        ("import time; time.sleep(60)", 0.5, "it took more than 0.5 s."),
    ],
    ids=["crash", "time"],
)
def test_a_failure_before_all_variants_is_none_of_the_first(
    script: str, timeout: float, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that cannot be loaded has nothing to do with what would have been converted."""
    monkeypatch.setattr(sys, "executable", converter(tmp_path, script))
    error = failed(tmp_path, ["float", "dynamic"], timeout)
    said = f"The converter failed before the first variant: {reason}"
    assert error.reasons == {"float": said, "dynamic": said}
    assert str(error).count(said) == 1


def test_time_is_given_to_each_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that are made in time take longer than one may."""
    script = (
        BEGIN
        + "import time\nseconds = dict(float=1, dynamic=1, float16=60, mediapipe=0)\n"
        + "for v in job['variants']: begin(v); time.sleep(seconds[v])\n"
        + "print('[]')"
    )
    monkeypatch.setattr(sys, "executable", converter(tmp_path, script))
    error = failed(tmp_path, ["float", "dynamic", "float16", "mediapipe"], 1.5)
    assert set(error.reasons) == {"float16"}


def test_the_converter_sees_no_accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels would go into the file, for which no TFLite runtime has any."""
    script = (
        "print('[]')\n"
        "sys.exit(os.environ['CUDA_VISIBLE_DEVICES'] != '' or os.environ['KEPT'] != 'yes')"
    )
    monkeypatch.setattr(sys, "executable", converter(tmp_path, script))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("KEPT", "yes")
    tflite.convert(
        tmp_path / "model.keras",
        tmp_path,
        ["float"],
        time=2400,
        streams=True,
        calibration=tmp_path / "calibration.npz",
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with an untrained model."""
    return long_windows(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def raw(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model as the converter writes it, with float and with quantized weights."""
    folder = tmp_path_factory.mktemp("raw")
    job = {
        "model": str(run.model_path),
        "folder": str(folder),
        "variants": ["float", "dynamic"],
        "time": 2400,
        "streams": True,
        "calibration": str(run.folder / "calibration.npz"),
        "rows": 1,
        "float_parts": [],
        "rank": False,
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


def test_half_precision_is_for_weights_alone(run: Run, raw: dict[str, bytes]) -> None:
    """A front end of 11 bits hears otherwise: windows, filters and decays stay exact."""
    layers = run.load_model().layers
    content, half = raw["float"], flatbuffer.halved(raw["float"], layers)
    stored = differing(content, half, lambda data: np.frombuffer(data, np.float16))
    sizes = {weight.size for layer in layers for weight in layer.get_weights()}
    assert {values.size for values in stored} == {size for size in sizes if size > 1024}
    exact = set(constants(IntegerStep(run.load_model(), np.zeros((1, 1))).front_step))
    large = {data for data in exact & set(constants(content)) if len(data) > 4 * 1024}
    assert len(large) > 1, "a window and a cosine transform are large"
    assert large <= set(constants(half))
    differences = [
        np.abs(answers(half)[name] - value).max()
        for name, value in answers(content).items()
        if "logits" in name
    ]
    assert 0 < max(differences) < 1e-2  # weights rounded by 2**-11, through a GRU
    for name, value in answers(flatbuffer.halved(content, layers[:1])).items():
        np.testing.assert_array_equal(value, answers(content)[name], err_msg=name)


def differing(
    content: bytes, other: bytes, read: Callable[[bytes], np.ndarray]
) -> list[np.ndarray]:
    """The constants of `other` that `content` does not have."""
    known = set(constants(content))
    return [read(data) for data in constants(other) if data not in known]


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
