"""A page that hears the microphone in any browser, by LiteRT.js: static files, no other server."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnapp import device
from rnnapp.device.description import DETECTOR_OPTIONS
from rnnapp.exporting import npm
from rnnapp.runs import write_json

_PAGE = Path(__file__).with_name("web")
# What the page loads, and the package.json that names the licence. One of LiteRT.js's four builds
# is enough: without threads it asks for no headers of the server; without relaxed SIMD it runs in
# Safari too, gives the same bits on every processor, and takes as long for a step.
_BUILD = "wasm/litert_wasm_compat_internal"
_VENDORED = {
    npm.Package(
        "@litertjs/core",
        "2.5.3",
        "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    ): ("package.json", "dist/index.js", f"{_BUILD}.js", f"{_BUILD}.wasm"),
    npm.Package(
        "@litertjs/wasm-utils",
        "2.5.3",
        "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
    ): ("package.json", "dist/index.js"),
}


def write(
    model_tflite: Path,
    folder: Path,
    *,
    title: str,
    labels: Sequence[str],
    settings: dict[str, Any],
) -> None:
    """Writes the page of a model that hears waveforms, for any server of static files.

    Args:
        model_tflite: A model with the signature `step`; or with `predict`, which hears a window at
            a time.
        folder: Where the page goes; made if it is absent.
        title: What the page is called.
        labels: The names of the classes.
        settings: As `rnnapp.json` has them: `sample_rate`, `detector`, `background_labels`.

    Raises:
        ValueError: If the model hears no waveforms, or the labels or settings do not fit it.
        ConnectionError: If LiteRT.js is not at hand and cannot be fetched.
    """
    description = _description(model_tflite, title, labels, settings)
    shutil.copytree(_PAGE, folder, dirs_exist_ok=True)
    for package, members in _VENDORED.items():
        npm.extract(package, members, folder / "litert" / package.name.rpartition("/")[2])
    shutil.copyfile(model_tflite, folder / "model.tflite")
    write_json(folder / "model.json", description)


def _description(
    model_tflite: Path, title: str, labels: Sequence[str], settings: dict[str, Any]
) -> dict[str, Any]:
    """What the page is told of the model, as the runner for devices understands it."""
    said = settings.get("detector", {})
    detector = {name: said[name] for name in DETECTOR_OPTIONS if name in said}
    if "background_labels" in settings:
        detector["background_labels"] = list(settings["background_labels"])
    model, rate = device.load(model_tflite), settings.get("sample_rate")
    heard: device.Listener | device.Classifier
    if "step" in model.signatures:
        heard = device.Listener(model, labels=labels, sample_rate=rate, **detector)
    else:
        heard = device.Classifier(model, labels=labels, sample_rate=rate)
    return {
        "title": title,
        "labels": list(labels),
        "sample_rate": heard.sample_rate,
        "detector": detector,
    }
