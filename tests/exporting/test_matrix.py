"""Every kind of model, in every format, runtime and signature."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ai_edge_litert import schema_py_generated as schema

from rnnapp import CELLS, FORMATS, Run, export, predict
from rnnapp.device import load
from rnnapp.exporting.export import read_manifest
from rnnapp.exporting.tflite import VARIANTS

from .conftest import LABELS, untrained

CONVOLUTIONS = {
    "plain": "convolutions=[]",
    "conv": 'convolutions=[{"filters": 2, "kernel_time": 3, "kernel_frequency": 3, '
    '"stride_time": 2}]',
}
MODELS = list(itertools.product(CELLS, ("last", "mean_max", "attention"), CONVOLUTIONS))
# With the shared export, every cell, every pool and both fronts in seconds; a cell that joins is
# covered at once.
SHARED = ("gru", "mean_max", "conv")
POOLS = itertools.cycle([("last", "conv"), ("attention", "plain")])
QUICK = [(cell, *next(POOLS)) for cell in CELLS if cell not in SHARED]

SIGNATURES = {
    "saved_model": {"serving_default", "padded"},
    **{f"tflite_{variant}": {"predict"} for variant in VARIANTS},
}


def operators(path: Path) -> set[str]:
    """The operators of a TFLite file, by name."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
    assert not [code.customCode for code in model.operatorCodes if code.customCode]
    return {names[code.builtinCode] for code in model.operatorCodes}


def replayed(folder: Path) -> set[tuple[str, str, str]]:
    """Format, runtime and signature of every check that passed."""
    checks = json.loads((folder / "certificate.json").read_text())["checks"]
    assert all(check["passed"] and check["comparisons"] > 10 for check in checks)
    return {(check["format"], check["runtime"], check["signature"]) for check in checks}


def expected(*more: str) -> set[tuple[str, str, str]]:
    """What must have been replayed: all signatures, and `more` ones, in all runtimes."""
    return {
        (name, runtime, signature)
        for name, form in FORMATS.items()
        for runtime in form.runtimes
        for signature in SIGNATURES[name] | set(more)
    }


@pytest.mark.parametrize(
    ("cell", "pooling", "convolutions"),
    [pytest.param(*model, marks=[] if model in QUICK else [pytest.mark.slow]) for model in MODELS],
)
@pytest.mark.usefixtures("at_home")
def test_every_model_agrees_everywhere(
    cell: str, pooling: str, convolutions: str, tmp_path: Path
) -> None:
    """Builtin operators alone, whole clips and steps in one file, equal in every runtime."""
    run = untrained(
        tmp_path / "run", f"cell={cell}", f"pooling={pooling}", CONVOLUTIONS[convolutions]
    )
    check(export(run, tmp_path / "export"), LABELS)


def test_a_trained_model_agrees_everywhere(exported: Path, evaluated: Run) -> None:
    """As the untrained ones do, converted in a process of its own, as everybody's are."""
    model = evaluated.spec.model
    front = "conv" if model.convolutions else "plain"
    assert (model.cell, model.pooling, front) == SHARED
    check(exported, evaluated.load_pipeline().labels)


def check(folder: Path, labels: Sequence[str]) -> None:
    """Everything that all streaming exports have in common."""
    assert replayed(folder) == expected("step")
    for path in (folder / "device").glob("*.tflite"):
        assert "CUSTOM" not in operators(path)
        model = load(path)
        assert set(model.signatures) == {"predict", "step"}
        assert model.files["labels.txt"].decode().splitlines() == list(labels)


@pytest.mark.usefixtures("at_home")
def test_a_model_that_reads_backwards_has_no_step(tmp_path: Path) -> None:
    """Its whole clips are exported all the same, and the manifest and the card say why."""
    formats = ["saved_model", "tflite_float"]
    folder = export(
        untrained(tmp_path / "run", "bidirectional=true"), tmp_path / "export", formats=formats
    )
    assert replayed(folder) == {check for check in expected() if check[0] in formats}
    reason = "`bidirectional_1` reads the sequence backwards"
    assert read_manifest(folder)["streaming"].startswith(reason)
    assert f"It does not stream: {reason}" in (folder / "MODEL_CARD.md").read_text()
    assert load(folder / "device" / "float.tflite").signatures == ["predict"]
    soundfile.write(tmp_path / "clip.wav", np.zeros(800), 8000)
    (answer,) = predict(folder, [tmp_path / "clip.wav"])
    assert set(answer["probabilities"]) == set(LABELS)
