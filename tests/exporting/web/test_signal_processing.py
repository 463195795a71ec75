"""The page samples, cuts and detects as the runner for devices does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page

from rnnapp.device import Detector, smooth
from rnnapp.device.classifier import fit
from rnnapp.device.resampling import SincResampler

from ...conftest import RATE

pytestmark = pytest.mark.slow  # needs Chromium and, the first time, npm's registry


def test_the_detector_is_the_same_to_the_bit(page: Page, url: str) -> None:
    """A threshold that was chosen in Python must mean the same on the page."""
    page.goto(url)
    generator = np.random.default_rng(0)
    labels = ["_silence_", "yes", "_unknown_", "no"]
    events = 0
    for smoothing_ms, refractory_ms, step_ms in [(0, 0, 10), (50, 300, 20), (200, 750, 12.5)]:
        # Levels that are held for a while, some so low that fixed point rounds them, halves too.
        rows = np.repeat(generator.choice([0, 0.25, 0.5, 1], (100, 4)), 6, axis=0)
        rows = (rows * generator.choice([1, 0.7, 2.0**-31], (600, 1))).astype(np.float32)
        for threshold in (0.5, {"yes": 0.3, "no": 0.7}):
            options = {"smoothing_ms": smoothing_ms, "refractory_ms": refractory_ms}
            said = page.evaluate(
                """async ([labels, stepMs, options, rows]) => {
                  const { Detector } = await import("./detector.js");
                  const detector = new Detector(labels, stepMs, options);
                  return rows.map((row) => [
                    detector.update(Float32Array.from(row)), [...detector.smoothed],
                  ]);
                }""",
                [labels, step_ms, {**options, "threshold": threshold}, rows.tolist()],
            )
            detector = Detector(labels, threshold=threshold, step_ms=step_ms, **options)
            expected = detector.detect(rows)
            assert [event for event, _ in said if event] == [vars(event) for event in expected]
            np.testing.assert_array_equal(
                [smoothed for _, smoothed in said], smooth(rows, detector.window)
            )
            events += len(expected)
    assert events > 50


def test_samples_are_the_same(page: Page, url: str, tmp_path: Path) -> None:
    """A microphone of another rate, in blocks; the loudest window of a long clip; stereo."""
    page.goto(url)
    samples = np.random.default_rng(0).uniform(-1, 1, 6000).astype(np.float32)
    for source, target in [(48_000, 16_000), (44_100, 8_000), (8_000, 16_000)]:
        resampled = page.evaluate(
            """async ([source, target, samples]) => {
              const { Resampler } = await import("./resampler.js");
              const resampler = new Resampler(source, target);
              const heard = [];
              for (let i = 0; i < samples.length; i += 128)
                heard.push(...resampler.feed(Float32Array.from(samples.slice(i, i + 128))));
              return heard;
            }""",
            [source, target, samples.tolist()],
        )
        # float32 sums of up to 384 products of at most 1
        np.testing.assert_allclose(
            resampled, SincResampler(source, target)(samples), atol=1e-5, rtol=0
        )
    for length in (100, 5999, 6000, 7000):
        fitted = page.evaluate(
            """async ([samples, length]) => {
              const { fit } = await import("./classifier.js");
              return [...fit(Float32Array.from(samples), length)];
            }""",
            [samples.tolist(), length],
        )
        np.testing.assert_array_equal(np.float32(fitted), fit(samples, length))
    stereo = np.stack([samples, samples[::-1]], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, RATE, subtype="FLOAT")
    decoded = page.evaluate(
        """async ([bytes, rate]) => {
          const { decode } = await import("./audio.js");
          return [...await decode(new File([Uint8Array.from(bytes)], "stereo.wav"), rate)];
        }""",
        [list((tmp_path / "stereo.wav").read_bytes()), RATE],
    )
    np.testing.assert_allclose(decoded, stereo.mean(axis=1), atol=1e-7)  # float32
