"""The browser page hears what the runner for devices hears, in real headless Chromium."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rnnapp.device import Classifier, Detector, Listener, Stepper, load, smooth
from rnnapp.device.classifier import _fit
from rnnapp.device.resampling import SincResampler
from rnnapp.exporting import browser, chromium, flatbuffer

from ..conftest import RATE, clip

TITLE = "Töne <im> Raum"
PROBABILITY = 1e-3  # Chromium scales 16-bit samples above zero by 1 / 32767
slow = pytest.mark.slow  # needs Chromium and, the first time, npm's registry
expect.set_options(timeout=20_000)  # a busy machine is long over ten megabytes of WebAssembly


@pytest.fixture(scope="module")
def model_path(exported: Path) -> Path:
    """A trained model that streams."""
    return exported / "device" / "float.tflite"


@pytest.fixture(scope="module")
def page_folder(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    folder = tmp_path_factory.mktemp("web")
    write(model_path, folder)
    return folder


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


def write(path: Path, folder: Path, like: Path | None = None) -> None:
    """The page of a model, with the labels and settings that a model carries."""
    files = load(like or path).files
    labels, settings = files["labels.txt"].decode().splitlines(), json.loads(files["rnnapp.json"])
    browser.write(path, folder, title=TITLE, labels=labels, settings=settings)


@pytest.fixture(scope="module")
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


def test_a_model_that_does_not_fit_is_refused(model_path: Path, tmp_path: Path) -> None:
    """Before anything is written: a page with the wrong labels would be believed."""
    folder = tmp_path / "web"
    good: dict[str, Any] = {"labels": list("abcd"), "settings": {"sample_rate": RATE}}
    for changed, message in [
        ({"labels": ["yes", "no"]}, "has 4 classes: there must be as many labels"),
        ({"settings": {"detector": {"threshold": 2.0}}}, "`threshold` must lie above 0"),
        ({"settings": {"detector": {"smoothing_ms": -1}}}, "must not be negative"),
    ]:
        with pytest.raises(ValueError, match=message):
            browser.write(model_path, folder, title=TITLE, **{**good, **changed})
    assert not folder.exists()


def test_a_machine_without_chromium_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate lists what was not run, and why."""
    monkeypatch.setattr(chromium.shutil, "which", lambda name: None)
    monkeypatch.setattr(chromium, "_playwrights_own", lambda: "/nowhere/chrome")
    monkeypatch.setattr(chromium, "executable", chromium.executable.__wrapped__)
    assert "apt install chromium-headless-shell" in str(chromium.missing())
    monkeypatch.setattr(chromium.importlib.util, "find_spec", lambda name: None)
    assert "pip install playwright" in str(chromium.missing())


@slow
def test_a_page_is_whole_and_small(page_folder: Path) -> None:
    """One build of LiteRT.js is enough; what phones load stays below ten megabytes."""
    assert len(list(page_folder.rglob("*.wasm"))) == 1
    size = sum(path.stat().st_size for path in page_folder.rglob("*") if path.is_file())
    assert size < 10e6


@slow
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


@slow
def test_what_chromium_refuses_is_an_error(page_folder: Path, tmp_path: Path) -> None:
    """A damaged model must not look like one that disagrees."""
    folder = shutil.copytree(page_folder, tmp_path / "web")
    (folder / "model.tflite").write_bytes(b"no model")
    with pytest.raises(chromium.BrowserError, match="Chromium says"), chromium.load(folder):
        pass


@slow
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


@slow
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
        np.testing.assert_array_equal(np.float32(fitted), _fit(samples, length))
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


@slow
def test_a_recording_gives_the_events_of_the_runner(
    page: Page, url: str, model_path: Path, recording: Path
) -> None:
    """Again and again, each time as a new stream; and the title is text, not HTML."""
    page.goto(url)
    expect(page.get_by_role("heading", name=TITLE, exact=True)).to_be_visible()
    expect(page).to_have_title(TITLE)
    listener, samples = Listener(model_path), soundfile.read(recording, dtype="float32")[0]
    for _ in range(2):
        page.get_by_label("Open a recording").set_input_files(recording)
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


@slow
def test_the_microphone_gives_the_events_of_the_runner(
    page: Page, url: str, model_path: Path
) -> None:
    """On the very samples that the microphone gave: a page that stalls falls behind, no more."""
    page.add_init_script(RECORD)
    page.goto(url)
    listen(page, "const end = Date.now() + 500; while (Date.now() < end);")
    samples = np.array(page.evaluate("received"), np.float32)
    check(page, Listener(model_path), samples)


@slow
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


@slow
def test_a_model_without_a_step_answers_a_window(
    page: Page, clip_folder: Path, recording: Path
) -> None:
    """From the microphone one window and no more; of a recording its loudest."""
    with chromium.served(clip_folder) as url:
        page.goto(url)
        page.get_by_role("button", name="Record 0.3 s").click()
        expect(page.get_by_role("status")).to_contain_text("1 heard in 0.3")
        page.get_by_label("Open a recording").set_input_files(recording)
        expect(page.get_by_role("status")).to_contain_text("1 heard in 3.9 s")
        ((label, _, probability),) = heard(page)
    labels = json.loads((clip_folder / "model.json").read_text())["labels"]
    classifier = Classifier(clip_folder / "model.tflite", labels=labels)
    answer = classifier.predict(soundfile.read(recording, dtype="float32")[0])
    assert label == classifier.labels[answer.argmax()]
    assert probability == pytest.approx(answer.max(), abs=PROBABILITY)


@slow
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
        page.get_by_label("Open a recording").set_input_files(tmp_path / name)
        expect(status).to_contain_text(message)
    page.evaluate(
        """() => (navigator.mediaDevices.getUserMedia = () =>
          Promise.reject(new DOMException("", "NotAllowedError")))"""
    )
    page.get_by_role("button", name="Start listening").click()
    expect(status).to_contain_text("The microphone was refused. Allow it")
    expect(page.get_by_label("Open a recording")).to_be_enabled()


@slow
def test_a_page_without_https_says_why_it_is_deaf(page: Page, url: str, recording: Path) -> None:
    """From a phone, the first address that people try; recordings work there."""
    page.goto(url.replace("127.0.0.1", "phone.test"))
    expect(page.get_by_text("The microphone needs https")).to_be_visible()
    expect(page.get_by_label("Open a recording")).to_be_enabled()
    expect(page.get_by_role("button", name="Start listening")).to_be_disabled()
    page.get_by_label("Open a recording").set_input_files(recording)
    expect(page.get_by_role("status")).to_contain_text("3 heard in 3.9 s")
