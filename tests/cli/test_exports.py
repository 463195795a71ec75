"""The verbs of exports: what they print, and when they fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnapp import Run
from rnnapp.exporting import export as exporting

from .conftest import Done


def test_export_prints_what_agrees(
    call: Callable[..., Done],
    finished: Run,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line for each check, or all of them as JSON."""
    monkeypatch.setattr(
        exporting, "write", lambda run, folder, *rest: shutil.copytree(exported, folder)
    )
    checks = json.loads((exported / "certificate.json").read_text())["checks"]
    done = call("export", finished.folder, "--out", tmp_path / "new", "--json").json
    assert done["folder"] == str(tmp_path / "new") and done["certificate"]["checks"] == checks
    assert "device/float.tflite" in done["files"]
    again = call("export", finished.folder, "--out", tmp_path / "new")
    assert again.code == 2 and "--overwrite" in again.err
    lines = call("export", finished.folder, "--out", tmp_path / "new", "--overwrite").out
    assert lines.count("\nok ") + lines.startswith("ok ") == len(checks)


def test_verify_exits_with_one_for_a_changed_file(
    call: Callable[..., Done], exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment script needs no more than the code."""
    folder = shutil.copytree(exported, tmp_path / "export")
    certificate = json.loads((folder / "certificate.json").read_text())
    monkeypatch.setattr(exporting, "certify", lambda *_, **__: certificate)
    good = call("verify", folder, "--json")
    assert good.code == 0 and good.json["passed"]
    (folder / "labels.txt").write_text("other\n")
    bad = call("verify", folder, "--json")
    assert bad.code == 1 and bad.json["changed"] == ["labels.txt"]
    assert "changed since the export: labels.txt" in call("verify", folder).out


@pytest.mark.parametrize("loss", ["1", "-0.5", "nan"])
def test_a_wrong_share_is_wrong_use(
    call: Callable[..., Done], finished: Run, loss: str, tmp_path: Path
) -> None:
    """A script that means percents learns it at once, not from an export that proves nothing."""
    done = call("export", finished.folder, "--out", tmp_path / "new", "--max-quality-loss", loss)
    assert done.code == 2 and not list(tmp_path.iterdir())
    received = f"Received: max_quality_loss={float(loss)}"
    assert received in " ".join(done.err.split())


@pytest.mark.parametrize("text", ["{", '{"name": "My page"}', "[]"])
def test_verify_names_a_manifest_that_is_none(
    call: Callable[..., Done], text: str, tmp_path: Path
) -> None:
    """Wrong use, without a traceback: the folder of a web page, or half a download."""
    (tmp_path / "manifest.json").write_text(text)
    done = call("verify", tmp_path)
    assert done.code == 2 and "Traceback" not in done.err
    assert "manifest.json, which is no" in " ".join(done.err.split())


def test_listen_hears_a_recording(
    call: Callable[..., Done], exported: Path, tones: Path, tmp_path: Path
) -> None:
    """An exported file alone, at whatever threshold."""
    import numpy as np
    import soundfile

    parts = []
    for label in ("high", "low"):
        sound, rate = soundfile.read(sorted(tones.glob(f"{label}/test*.wav"))[0])
        pause = 0.003 * np.random.default_rng(0).standard_normal(rate)
        parts += [pause, np.tile(sound[len(sound) // 3 :], 2)]
    soundfile.write(tmp_path / "both.wav", np.concatenate([*parts, pause]), rate)
    model = exported / "device" / "dynamic.tflite"
    done = call("listen", model, "--wav", tmp_path / "both.wav", "--threshold", 0.3, "--json")
    assert done.code == 0
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["label"] for event in events] == ["high", "low"]
    assert call("listen", model, "--wav", tmp_path / "both.wav", "--threshold", 1).out == ""
