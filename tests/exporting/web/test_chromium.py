"""A page's model, run in real headless Chromium, answers as the runner for devices."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rnnapp.device import Stepper, load
from rnnapp.exporting import chromium


def test_a_machine_without_chromium_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate lists what was not run, and why."""
    monkeypatch.setattr(chromium.shutil, "which", lambda name: None)
    monkeypatch.setattr(chromium, "_playwrights_own", lambda: "/nowhere/chrome")
    monkeypatch.setattr(chromium, "executable", chromium.executable.__wrapped__)
    assert "apt install chromium-headless-shell" in str(chromium.missing())
    monkeypatch.setattr(chromium.importlib.util, "find_spec", lambda name: None)
    assert "pip install playwright" in str(chromium.missing())


@pytest.mark.slow  # needs Chromium and, the first time, npm's registry
def test_the_page_model_equals_the_runner(page_folder: Path, recording: Path) -> None:
    """Both signatures by name: whole windows of noise, and states carried over a stream."""
    ours, samples = (
        load(page_folder / "model.tflite"),
        soundfile.read(recording, dtype="float32")[0],
    )
    with chromium.load(page_folder) as theirs:
        assert sorted(theirs.signatures) == sorted(ours.signatures) == ["predict", "step"]
        for signature in ours.signatures:
            assert theirs.inputs(signature) == ours.inputs(signature)
            assert theirs.outputs(signature) == ours.outputs(signature)
        windows = np.random.default_rng(0).uniform(-1, 1, (5, 1, 2400)).astype(np.float32)
        for window in windows:
            expected = ours.run("predict", waveform=window)
            agree(theirs.run("predict", waveform=window), expected)
        ours_step, theirs_step = Stepper(ours), Stepper(theirs)
        for step in samples[: 80 * 150].reshape(-1, 1, 80):
            agree(theirs_step(samples=step), ours_step(samples=step))
        agree(theirs_step.states, ours_step.states)


def agree(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Float32 sums in the order of another processor, logits of up to 10."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow  # needs Chromium and, the first time, npm's registry
def test_what_chromium_refuses_is_an_error(page_folder: Path, tmp_path: Path) -> None:
    """A damaged model must not look like one that disagrees."""
    folder = shutil.copytree(page_folder, tmp_path / "web")
    (folder / "model.tflite").write_bytes(b"no model")
    with pytest.raises(chromium.BrowserError, match="Chromium says"), chromium.load(folder):
        pass
