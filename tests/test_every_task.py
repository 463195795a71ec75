"""Whatever joins `TASKS` or `FORMATS` works from its data to its certificate."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rnnapp import FORMATS, TASKS, Run, predict, verify
from rnnapp.exporting.export import MODEL, REPLAY
from rnnapp.manifests import read_manifest

from .conftest import READER_FORMATS, TRANSLATOR_FORMATS, WRITER_FORMATS

# What the fixtures export; the page, which wants a browser, has tests of its own. Runtimes in
# environments of their own are installed by those of `test_environments.py`.
MADE = {name: form for name, form in FORMATS.items() if name != "web"}
ABSENT = {"tflite_runtime", "mediapipe"}

# For each task: the fixtures of a data folder with held-out files, a finished and evaluated run,
# and its export in those formats. A task that joins brings its own.
FIXTURES = {
    "speech_commands": ("tones", "evaluated", "exported"),
    "text_classification": ("reviews", "reader", "reader_exported"),
    "language_model": ("tales", "writer", "writer_exported"),
    "translation": ("phrases", "translator", "translator_exported"),
}
FORMATS_OF = {
    "speech_commands": list(MADE),
    "text_classification": READER_FORMATS,
    "language_model": WRITER_FORMATS,
    "translation": TRANSLATOR_FORMATS,
}
CLASSIFIERS = [name for name, task in TASKS.items() if task.writer is None]
WRITERS = [name for name in TASKS if name not in CLASSIFIERS]


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    """A task's name."""
    assert request.param in FIXTURES, f"give `{request.param}` tiny data and a run in conftest.py"
    return request.param


@pytest.fixture
def data(request: pytest.FixtureRequest, task: str) -> Path:
    """The task's tiny data."""
    return request.getfixturevalue(FIXTURES[task][0])


@pytest.fixture
def run(request: pytest.FixtureRequest, task: str) -> Run:
    """The task's finished run."""
    return request.getfixturevalue(FIXTURES[task][1])


@pytest.fixture
def folder(request: pytest.FixtureRequest, task: str, tmp_path: Path) -> Path:
    """A copy of the task's export."""
    exported = request.getfixturevalue(FIXTURES[task][2])
    return shutil.copytree(exported, tmp_path / "export")


def test_batches_are_what_the_pipeline_declares(run: Run, data: Path) -> None:
    """A task's model is built from the declaration, and fed with the batches."""
    pipeline = run.load_pipeline().open(str(data))
    dataset = pipeline.dataset("validation", 5)
    (inputs, targets), model = next(iter(dataset)), run.load_model()
    for declared, spec in zip(
        tf.nest.flatten(pipeline.element_spec), tf.nest.flatten(dataset.element_spec), strict=True
    ):
        assert declared.is_compatible_with(spec)
    assert [x.name for x in model.inputs] == list(inputs)
    logits = model(inputs)
    assert np.isfinite(run.task.loss(run.spec.train)(targets, logits))


@pytest.mark.parametrize("task", CLASSIFIERS, indirect=True)
def test_a_loaded_pipeline_encodes_as_the_fitted_one_did(run: Run, data: Path) -> None:
    """What a model hears in service is what it heard in validation."""
    pipeline = run.load_pipeline().open(str(data))
    ((inputs, _),) = pipeline.dataset("test", 10_000).as_numpy_iterator()
    for name, encoded in run.load_pipeline().encode(*held_out(run, data)).items():
        np.testing.assert_array_equal(encoded, inputs[name])


@pytest.mark.parametrize("task", CLASSIFIERS, indirect=True)
def test_answers_are_for_people(run: Run, data: Path) -> None:
    """Labels in order of probability, which sum to one."""
    files = held_out(run, data)[:3]
    for path, answer in zip(files, predict(run.folder, files), strict=True):
        assert answer["input"] == str(path)
        shares = list(answer["probabilities"].values())
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-5)
        assert answer["label"] == next(iter(answer["probabilities"]))


def held_out(run: Run, data: Path) -> list[str]:
    """What people would ask of the task's test split: files, or texts."""
    pipeline = run.load_pipeline().open(str(data))
    if hasattr(pipeline, "texts"):
        return list(pipeline.texts("test", 10_000))
    return [held.path for held in pipeline.clips if held.split == "test"]


@pytest.mark.parametrize("task", CLASSIFIERS, indirect=True)
def test_an_export_answers_like_its_run(run: Run, data: Path, folder: Path) -> None:
    """The device runner decodes, pads and names labels by itself."""
    files = held_out(run, data)[::7]
    for ours, theirs in zip(predict(run.folder, files), predict(folder, files), strict=True):
        assert theirs["label"] == ours["label"]
        for label, share in ours["probabilities"].items():
            # the bound of the certificate
            assert theirs["probabilities"][label] == pytest.approx(share, abs=1e-5)


@pytest.mark.parametrize("task", WRITERS, indirect=True)
def test_an_export_writes_like_its_run(run: Run, data: Path, folder: Path) -> None:
    """The same texts by the device runner, draws and searches being made in the same way."""
    texts = held_out(run, data)[:8]
    ours, theirs = (predict(source, texts, settings=["seed=1"]) for source in (run.folder, folder))
    assert [each["text"] for each in theirs] == [each["text"] for each in ours]
    assert all(each["text"] for each in ours)


def test_an_export_is_whole_and_verified(task: str, run: Run, folder: Path) -> None:
    """Every format, in every runtime at hand, by every signature; and again at any later time."""
    manifest = read_manifest(folder)
    assert manifest["formats"] == FORMATS_OF[task]
    made = {name: MADE[name] for name in manifest["formats"]}
    assert all((folder / form.path).exists() for form in made.values())
    listed = {folder / name for name in manifest["files"]}
    there = {path for path in folder.rglob("*") if path.is_file()}
    assert there - listed == {
        folder / name for name in ("manifest.json", "MODEL_CARD.md", "report.html")
    }
    assert manifest["metrics"] == run.metrics()
    again = verify(folder)
    assert again["passed"] and not again["changed"]
    asked = {runtime for form in made.values() for runtime in form.runtimes}
    assert {each["runtime"] for each in again["not_run"]} == ABSENT & asked
    replayed = {(c["format"], c["runtime"]) for c in again["checks"]}
    assert replayed == {
        (name, runtime) for name, form in made.items() for runtime in {*form.runtimes} - ABSENT
    }
    first = json.loads((folder / "certificate.json").read_text())["checks"]
    assert [facts(c) for c in again["checks"]] == [facts(c) for c in first]
    card = (folder / "MODEL_CARD.md").read_text()
    assert run.task.name in card and all(c["signature"] in card for c in first)


def facts(check: dict[str, Any]) -> dict[str, Any]:
    """A check without its times."""
    return {key: value for key, value in check.items() if key != "median_us"}


@pytest.mark.parametrize("name", [MODEL, REPLAY, *(form.path for form in MADE.values())])
def test_a_flipped_byte_is_found(exported: Path, name: str, tmp_path: Path) -> None:
    """A damaged copy must not pass for the file that was proved; nor crash who looks at it."""
    folder = shutil.copytree(exported, tmp_path / "export")
    path = folder / name
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        assert verify(folder) == {
            "passed": False,
            "checks": [],
            "not_run": [],
            "unproved": [],
            "changed": [file.relative_to(folder).as_posix()],
        }
        file.write_bytes(content)


def test_another_model_does_not_agree(run: Run, folder: Path) -> None:
    """Even with its hash in the manifest, a file must answer like the model."""
    path = folder / "device" / "float.tflite"
    content = path.read_bytes()
    weights = next(
        stored
        for weight in reversed(run.load_model().weights)
        if weight.shape.rank == 2
        for stored in (weight.numpy().T.copy(), weight.numpy())  # as TFLite has them, or tables
        if content.count(stored.tobytes()) == 1
    )
    path.write_bytes(content.replace(weights.tobytes(), (1.01 * weights).tobytes()))
    manifest = {**read_manifest(folder), "formats": ["tflite_float"]}
    manifest["files"]["device/float.tflite"]["sha256"] = hashlib.sha256(
        path.read_bytes()
    ).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    again = verify(folder)
    assert not again["passed"] and not again["changed"]
    assert not any(check["passed"] for check in again["checks"])
