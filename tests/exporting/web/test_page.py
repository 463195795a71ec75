"""The browser page hears what the runner for devices hears, in real headless Chromium."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from rnnapp.device import Classifier, Listener
from rnnapp.exporting import chromium, flatbuffer

from ...conftest import RATE
from .conftest import TITLE, write

pytestmark = pytest.mark.slow  # needs Chromium and, the first time, npm's registry
PROBABILITY = 1e-3  # Chromium scales 16-bit samples above zero by 1 / 32767


@pytest.fixture(scope="module")
def clip_folder(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a model that answers whole clips alone, as a bidirectional one does."""
    model = flatbuffer.unpack(model_path.read_bytes())
    model.signatureDefs = [s for s in model.signatureDefs if s.signatureKey == b"predict"]
    folder = tmp_path_factory.mktemp("web")
    path = folder / "clip.tflite"
    path.write_bytes(flatbuffer.pack(model, 1024))
    write(path, folder, like=model_path)
    return folder


def heard(page: Page) -> list[tuple[str, float, float]]:
    """What the page says it heard: label, seconds and probability, in order."""
    rows = page.locator("#events li").evaluate_all(
        "rows => rows.map((row) => [row.children[1].textContent, row.children[0].dateTime,"
        " row.children[2].value])"
    )
    return [(label, float(time[2:-1]), float(value)) for label, time, value in reversed(rows)]


def check(page: Page, listener: Listener, samples: np.ndarray) -> None:
    """The page's events are those of the runner on these samples."""
    listener.reset()
    events = listener.feed(samples)
    assert [(label, time) for label, time, _ in heard(page)] == [
        (event.label, event.time_s) for event in events
    ]
    np.testing.assert_allclose(
        [value for *_, value in heard(page)],
        [event.probability for event in events],
        atol=PROBABILITY,
    )


def open_recording(page: Page, path: Path) -> None:
    """Opens one as people can: not before the page is ready, though Playwright would."""
    chosen = page.get_by_label("Open a recording")
    expect(chosen).to_be_enabled()
    chosen.set_input_files(path)


def test_a_recording_gives_the_events_of_the_runner(
    page: Page, url: str, model_path: Path, recording: Path
) -> None:
    """Again and again, each time as a new stream; and the title is text, not HTML."""
    page.goto(url)
    expect(page.get_by_role("heading", name=TITLE, exact=True)).to_be_visible()
    expect(page).to_have_title(TITLE)
    listener, samples = Listener(model_path), soundfile.read(recording, dtype="float32")[0]
    for _ in range(2):
        open_recording(page, recording)
        expect(page.get_by_role("status")).to_contain_text("3 heard in 3.9 s")
        check(page, listener, samples)
        page.evaluate("document.getElementById('status').textContent = ''")
    meters = page.get_by_role("meter").evaluate_all("bars => bars.map((bar) => bar.ariaValueNow)")
    assert len(meters) == len(listener.labels) and any(float(value) > 0 for value in meters)


RECORD = """
window.received = [];
window.AudioWorkletNode = class extends AudioWorkletNode {
  constructor(...options) {
    super(...options);
    this.port.addEventListener("message", ({ data }) => received.push(...data));
  }
};
"""
REFUSE = """
const create = AudioContext.prototype.createMediaStreamSource;
AudioContext.prototype.createMediaStreamSource = function (stream) {
  if (this.sampleRate < 16000) throw new DOMException("rates differ", "NotSupportedError");
  return create.call(this, stream);
};
"""


def test_the_microphone_gives_the_events_of_the_runner(
    page: Page, url: str, model_path: Path
) -> None:
    """On the very samples that the microphone gave: a page that stalls falls behind, no more."""
    page.add_init_script(RECORD)
    page.goto(url)
    listen(page, "const end = Date.now() + 500; while (Date.now() < end);")
    samples = np.array(page.evaluate("received"), np.float32)
    check(page, Listener(model_path), samples)


def test_a_browser_that_refuses_the_rate_hears_all_the_same(page: Page, url: str) -> None:
    """Firefox converts no microphone to the rate of a model: the page does."""
    page.add_init_script(REFUSE)
    page.goto(url)
    listen(page)


def listen(page: Page, meanwhile: str = "") -> None:
    """Start by the keyboard, hear the recording to its end, and stop."""
    start = page.get_by_role("button", name="Start listening")
    expect(start).to_be_enabled()
    start.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Listening")
    page.evaluate(f"() => {{ {meanwhile} }}")
    expect(page.locator("#events li")).to_have_count(3, timeout=10_000)
    page.get_by_role("button", name="Stop").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("3 heard in")
    assert [label for label, *_ in heard(page)] == ["high", "low", "high"]


def test_a_model_without_a_step_answers_a_window(
    page: Page, clip_folder: Path, recording: Path
) -> None:
    """From the microphone one window and no more; of a recording its loudest."""
    with chromium.served(clip_folder) as url:
        page.goto(url)
        page.get_by_role("button", name="Record 0.3 s").click()
        expect(page.get_by_role("status")).to_contain_text("1 heard in 0.3")
        open_recording(page, recording)
        expect(page.get_by_role("status")).to_contain_text("1 heard in 3.9 s")
        ((label, _, probability),) = heard(page)
    labels = json.loads((clip_folder / "model.json").read_text())["labels"]
    classifier = Classifier(clip_folder / "model.tflite", labels=labels)
    answer = classifier.predict(soundfile.read(recording, dtype="float32")[0])
    assert label == classifier.labels[answer.argmax()]
    assert probability == pytest.approx(answer.max(), abs=PROBABILITY)


def test_what_goes_wrong_is_said(page: Page, url: str, tmp_path: Path) -> None:
    """Files that cannot be heard and a refused microphone: what it is, and then all goes on."""
    page.goto(url)
    (tmp_path / "notes.wav").write_text("no sound")
    soundfile.write(tmp_path / "nan.wav", np.full(800, np.nan), RATE, subtype="FLOAT")
    status = page.get_by_role("status")
    expect(status).to_have_text("Ready")
    for name, message in [
        ("notes.wav", "notes.wav must be audio that this browser decodes"),
        ("nan.wav", "nan.wav must hold finite samples"),
    ]:
        open_recording(page, tmp_path / name)
        expect(status).to_contain_text(message)
    page.evaluate(
        """() => (navigator.mediaDevices.getUserMedia = () =>
          Promise.reject(new DOMException("", "NotAllowedError")))"""
    )
    page.get_by_role("button", name="Start listening").click()
    expect(status).to_contain_text("The microphone was refused. Allow it")
    expect(page.get_by_label("Open a recording")).to_be_enabled()


def test_a_page_without_https_says_why_it_is_deaf(page: Page, url: str, recording: Path) -> None:
    """From a phone, the first address that people try; recordings work there."""
    page.goto(url.replace("127.0.0.1", "phone.test"))
    expect(page.get_by_text("The microphone needs https")).to_be_visible()
    expect(page.get_by_role("button", name="Start listening")).to_be_disabled()
    open_recording(page, recording)
    expect(page.get_by_role("status")).to_contain_text("3 heard in 3.9 s")
