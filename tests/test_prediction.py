"""A run and its export hear the same in any file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from rnnapp import Run, predict

from .conftest import PITCHES, RATE, SECONDS


def sound(seconds: float, rate: int, start: float = 0.0) -> np.ndarray:
    """Hiss, and 0.2 s of the "low" pitch from `start` on: float32 (samples,)."""
    times = np.arange(round(seconds * rate)) / rate
    samples = 0.002 * np.random.default_rng(0).standard_normal(len(times))
    samples += 0.4 * np.sin(2 * np.pi * PITCHES["low"] * times) * (abs(times - start - 0.1) < 0.1)
    return samples.astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "rate", "bound"),
    [
        pytest.param(sound(SECONDS / 3, RATE), RATE, 1e-5, id="short"),
        pytest.param(sound(3, RATE, 1.7), RATE, 1e-5, id="long"),
        pytest.param(np.stack([sound(SECONDS, RATE)] * 2, 1), RATE, 1e-5, id="stereo"),
        # two resamplers, with filters of their own near the band's edge
        pytest.param(sound(3, 44_100, 0.9), 44_100, 0.01, id="resampled"),
    ],
)
def test_an_export_answers_any_file_like_its_run(
    samples: np.ndarray, rate: int, bound: float, evaluated: Run, exported: Path, tmp_path: Path
) -> None:
    """The pipeline and the device pad, cut and resample by the same rules."""
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="PCM_16")
    (ours,), (theirs,) = (
        predict(source, [tmp_path / "a.wav"]) for source in (evaluated.folder, exported)
    )
    for label, share in ours["probabilities"].items():
        assert theirs["probabilities"][label] == pytest.approx(share, abs=bound)


@pytest.mark.parametrize(
    "manifest",
    ["{}", "[]", "{", '{"name": "a page", "spec": {}}', '{"files": {}, "name": "a page"}'],
)
def test_manifests_of_others_are_no_exports(manifest: str, tmp_path: Path) -> None:
    """Web pages have a manifest.json as well."""
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match="must be an export folder"):
        predict(tmp_path, ["a.wav"])
