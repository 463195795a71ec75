"""Every kind of model, in every format, runtime and signature."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ai_edge_litert import schema_py_generated as schema

from rnnapp import CELLS, FORMATS, Run, export, predict
from rnnapp.device import load
from rnnapp.exporting.folder import source_of
from rnnapp.exporting.formats import Source
from rnnapp.exporting.proof import possible_formats
from rnnapp.exporting.runtimes import RUNTIMES
from rnnapp.manifests import read_manifest

from .conftest import LABELS, untrained

CONVOLUTION = (
    'convolutions=[{"filters": 2, "kernel_time": 3, "kernel_frequency": 3, "stride_time": 2}]'
)
# The forms of a recurrent model, each with other poolings and fronts than the next.
FORMS = {
    "one layer": ("num_layers=1", "pooling=mean_max"),
    "stacked": ("num_layers=2", "layer_norm=true", "mean_seconds=0.1"),
    "bidirectional": ("bidirectional=true", "num_layers=2"),
    "crnn": (CONVOLUTION, "pooling=max", "num_mfcc=6", "kind=mfcc"),
    "attention": ("pooling=attention", "mean_seconds=0.1"),
}
MODELS = list(itertools.product(CELLS, FORMS))
# With the shared export, every cell in seconds; one that joins is covered at once.
_FORMS = itertools.cycle(["attention", "stacked"])
QUICK = [(cell, next(_FORMS)) for cell in CELLS if cell != "gru"]

# What integers cost is judged on trained models: drawn weights have no quality to lose, and layer
# normalisation makes differences of theirs large. These are half as much again as the worst of the
# matrix, 0.157 and 0.021.
DRAWN = {"step_int8": 0.25, "micro_int8": 0.25, "step_int16x8": 0.03, "micro_int16x8": 0.03}

HERE = {name for name, runtime in RUNTIMES.items() if not runtime.absence} - {"chromium"}
SIGNATURES = {
    "saved_model": ("serving_default", "padded", "step"),
    "mediapipe": ("predict",),
    **{
        name: ("step",) if name.startswith(("step_", "micro_", "c99_")) else ("predict", "step")
        for name in FORMATS
        if name not in ("saved_model", "mediapipe", "web")
    },
}
STEPS_ALONE = {name for name, signatures in SIGNATURES.items() if signatures == ("step",)}


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


def expected(streams: bool = True) -> set[tuple[str, str, str]]:
    """What must have been replayed: all signatures that a model has, in all runtimes at hand."""
    return {
        (name, runtime, signature)
        for name, signatures in SIGNATURES.items()
        for runtime in HERE & set(FORMATS[name].runtimes)
        for signature in signatures
        if streams or signature != "step"
    }


@pytest.mark.parametrize(
    ("cell", "form"),
    [pytest.param(*model, marks=[] if model in QUICK else [pytest.mark.slow]) for model in MODELS],
)
@pytest.mark.usefixtures("at_home")
def test_every_model_agrees_everywhere(
    cell: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masked and not, whole and by steps: every form of every cell passes, or is refused."""
    for name, bound in DRAWN.items():
        monkeypatch.setitem(FORMATS, name, dataclasses.replace(FORMATS[name], bound=bound))
    run = untrained(tmp_path / "run", f"cell={cell}", *FORMS[form])
    streams = form != "bidirectional"
    names = [name for name in SIGNATURES if streams or name not in STEPS_ALONE]
    folder = export(run, tmp_path / "export", formats=names, max_quality_loss=0.99)
    check(folder, LABELS, streams)


def test_a_trained_model_agrees_everywhere(exported: Path, evaluated: Run) -> None:
    """As the untrained ones do, converted in a process of its own, as everybody's are."""
    check(exported, evaluated.load_pipeline().labels, streams=True)


def check(folder: Path, labels: Sequence[str], streams: bool) -> None:
    """Everything that all exports have in common."""
    assert replayed(folder) == expected(streams)
    for path in (folder / "device").glob("*.tflite"):
        assert "CUSTOM" not in operators(path)
        model = load(path)
        name = next(name for name, form in FORMATS.items() if form.path == f"device/{path.name}")
        assert set(model.signatures) == {s for s in SIGNATURES[name] if streams or s != "step"}
        assert model.files["labels.txt"].decode().splitlines() == list(labels)


@pytest.mark.usefixtures("at_home")
def test_a_model_that_reads_backwards_has_no_step(tmp_path: Path) -> None:
    """Asked for by name, a step is refused; of all formats it is left out; both say why."""
    run = untrained(tmp_path / "run", "bidirectional=true")
    reason = "`bidirectional_1` reads the sequence backwards"
    with pytest.raises(ValueError, match=f"no format 'step_int8': {reason}"):
        export(run, tmp_path / "export", formats=["tflite_float", "step_int8"])
    refused = possible_formats(["all"], _source_of(run, tmp_path / "scratch"))[1]
    assert set(refused) == STEPS_ALONE
    assert all(why.startswith(reason) for why in refused.values())
    folder = export(run, tmp_path / "export", formats=["tflite_float"])
    assert not (folder / "serving").exists()  # nor is there a page about what was not written
    assert read_manifest(folder)["streaming"].startswith(reason)
    assert f"It does not stream: {reason}" in (folder / "MODEL_CARD.md").read_text()
    soundfile.write(tmp_path / "clip.wav", np.zeros(800), 8000)
    (answer,) = predict(folder, [tmp_path / "clip.wav"])
    assert set(answer["probabilities"]) == set(LABELS)


def _source_of(run: Run, folder: Path) -> Source:
    """What an export would be made from."""
    shutil.copytree(run.folder, folder / "source")
    return source_of(run, run.load_model(), folder)
