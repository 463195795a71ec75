"""The page of a trained model, and Chromium to open it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rnnapp.device import load
from rnnapp.exporting import browser, chromium

from ...conftest import RATE, clip

TITLE = "Töne <im> Raum"

expect.set_options(timeout=20_000)  # a busy machine is long over ten megabytes of WebAssembly


@pytest.fixture(scope="session")
def model_path(exported: Path) -> Path:
    """A trained model that streams."""
    return exported / "device" / "float.tflite"


@pytest.fixture(scope="session")
def page_folder(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    folder = tmp_path_factory.mktemp("web")
    write(model_path, folder)
    return folder


def write(path: Path, folder: Path, like: Path | None = None) -> None:
    """The page of a model, with the labels and settings that a model carries."""
    files = load(like or path).files
    labels, settings = files["labels.txt"].decode().splitlines(), json.loads(files["rnnapp.json"])
    browser.write(path, folder, title=TITLE, labels=labels, settings=settings)


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tones in soft noise, four seconds."""
    generator = np.random.default_rng(0)
    words = ["high", *["_silence_"] * 4, "low", *["_silence_"] * 3, "high", "_silence_"]
    clips = [clip(word, generator) for word in ["_silence_"] * 2 + words]
    path = tmp_path_factory.mktemp("recordings") / "tones.wav"
    soundfile.write(path, np.concatenate(clips), RATE)
    return path


@pytest.fixture(scope="module")
def chrome(recording: Path) -> Iterator[Browser]:
    """Chromium with the recording, heard once, for a microphone; without it no test passes."""
    assert chromium.missing() is None, chromium.missing()
    arguments = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}%noloop",
        "--host-resolver-rules=MAP phone.test 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium.executable(), args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def url(page_folder: Path) -> Iterator[str]:
    """Where the page is served."""
    with chromium.served(page_folder) as address:
        yield address


@pytest.fixture
def page(chrome: Browser) -> Iterator[Page]:
    """A fresh tab, in which nothing must fail, and from which nothing must leave this machine."""
    tab = chrome.new_page(viewport={"width": 412, "height": 915})
    faults: list[str] = []
    addresses: list[str] = []
    tab.on("pageerror", lambda error: faults.append(error.message))
    tab.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    tab.on("request", lambda request: addresses.append(request.url))
    yield tab
    tab.close()
    assert not faults
    assert addresses
    local = re.compile(r"http://(127\.0\.0\.1|phone\.test):\d+/|data:")
    assert not [address for address in addresses if not local.match(address)]
