"""From samples to events, end to end, on a model whose right answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.device import Event, Listener, load

from .conftest import LABELS, RATE, STEP, melody, tone, with_files
from .test_audio import BAD, bad_file, write_wave


@pytest.fixture(scope="module")
def listener(tones_path: Path) -> Listener:
    """A listener that tests reset or leave unfed."""
    return Listener(tones_path)


def check_melody(events: list[Event]) -> None:
    """The three tones, each heard while it sounds and soon after it began."""
    assert [event.label for event in events] == ["mid", "low", "top"]
    for event, start in zip(events, (0.5, 2.0, 3.5), strict=True):
        # five steps of integration and five of smoothing, with a margin of as much again
        assert start < event.time_s < start + 0.2


def test_tones_are_heard_in_time(listener: Listener) -> None:
    """The whole chain at once: ring buffer, states, smoothing, threshold, time."""
    listener.reset()
    check_melody(listener.feed(melody()))


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * RATE), max_size=12), as_int16=st.booleans())
def test_any_chunks_give_the_events_of_the_whole(
    listener: Listener, sizes: list[int], as_int16: bool
) -> None:
    """A sound card delivers what it likes; events are the same to the bit."""
    samples = melody() + np.float32(0.001) * np.sin(np.arange(5 * RATE, dtype=np.float32))
    if as_int16:
        samples = np.rint(samples * 32_767).astype(np.int16)
    listener.reset()
    whole = listener.feed(samples)
    listener.reset()
    chunks = np.split(samples, np.minimum(np.cumsum(sizes), len(samples)).astype(int))
    assert [event for chunk in chunks for event in listener.feed(chunk)] == whole
    assert len(whole) == 3


@settings(max_examples=10, deadline=None)
@given(size=st.integers(1, 1000))
def test_tiny_chunks_lose_no_samples(listener: Listener, size: int) -> None:
    """Chunks shorter than a step wait until one is full."""
    samples = tone("mid", 0.5)
    listener.reset()
    whole = listener.probabilities(samples)
    listener.reset()
    chunks = np.split(samples, range(size, len(samples), size))
    rows = np.concatenate([listener.probabilities(chunk) for chunk in chunks])
    assert len(whole) == len(samples) // STEP
    np.testing.assert_array_equal(rows, whole)


@pytest.mark.parametrize("rate", [8_000 * 2, 44_100, 48_000])
@pytest.mark.parametrize("width", [2, 3])
def test_files_of_any_rate_are_heard(
    listener: Listener, tmp_path: Path, rate: int, width: int
) -> None:
    """A recording in stereo at the sound card's rate is what people have."""
    stereo = np.stack([melody(rate), melody(rate)], axis=1)
    write_wave(tmp_path / "melody.wav", stereo, width, rate)
    check_melody(listener.listen_file(tmp_path / "melody.wav"))


def test_a_file_is_a_new_stream(listener: Listener, tmp_path: Path) -> None:
    """The second file must not hear the first."""
    write_wave(tmp_path / "melody.wav", melody()[:, None], 2)
    first = listener.listen_file(tmp_path / "melody.wav")
    assert listener.listen_file(tmp_path / "melody.wav") == first


def test_nan_leaves_the_stream_as_it_was(listener: Listener) -> None:
    """One bad buffer of a driver must not poison the states for ever."""
    listener.reset()
    samples = tone("mid", 0.25)
    expected = [*listener.feed(samples), *listener.feed(samples)]
    listener.reset()
    events = listener.feed(samples)
    with pytest.raises(ValueError, match="must be finite"):
        listener.feed(np.array([0, np.nan], np.float32))
    assert [*events, *listener.feed(samples)] == expected


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named(listener: Listener, tmp_path: Path, kind: str) -> None:
    """A listener that goes through a folder can say which file it left out."""
    path = bad_file(tmp_path, kind)
    with pytest.raises((ValueError, OSError), match=path.name):
        listener.listen_file(path)


def test_dynamic_range_hears_the_same(dynamic_path: Path, tones_path: Path) -> None:
    """Quantized weights may move a probability a little, never an event."""
    assert dynamic_path.stat().st_size < tones_path.stat().st_size
    check_melody(Listener(dynamic_path).feed(melody()))


def test_settings_come_from_the_file_and_arguments_win(tones_path: Path) -> None:
    """The exporter chose the threshold on validation data; the user may know better."""
    assert Listener(tones_path).detector.thresholds.tolist() == [np.inf] + [0.8] * 4
    listener = Listener(tones_path, threshold=0.6, smoothing_ms=0, refractory_ms=1000)
    assert listener.detector.thresholds.tolist() == [np.inf] + [0.6] * 4
    assert (listener.detector.window, listener.detector.refractory) == (1, 100)


def test_labels_from_beside_the_file_or_the_argument(tones: bytes, tmp_path: Path) -> None:
    """A model without metadata is usable too, and says what it lacks."""
    path = tmp_path / "plain.tflite"
    path.write_bytes(tones)
    with pytest.raises(ValueError, match=r"plain\.tflite carries no labels\.txt"):
        Listener(path)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    assert Listener(path).labels == LABELS
    check_melody(Listener(tones, labels=LABELS, sample_rate=RATE).feed(melody()))
    with pytest.raises(ValueError, match="5 classes"):
        Listener(path, labels=["yes", "no"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"labels.txt": "a\nb"}, "5 classes"),
        ({"labels.txt": "a\nb\nc\nd\ne", "rnnapp.json": "{"}, r"rnnapp\.json must be JSON"),
        (
            {
                "labels.txt": "a\nb\nc\nd\ne",
                "rnnapp.json": json.dumps({"detector": {"threshold": {"f": 0.5}}}),
            },
            r"Received: \['f'\]",
        ),
    ],
)
def test_wrong_files_inside_are_named(tones: bytes, files: dict[str, str], message: str) -> None:
    """A file that contradicts itself is not guessed about."""
    with pytest.raises(ValueError, match=message):
        Listener(with_files(tones, files))


def test_a_model_that_is_no_step_model_is_refused(convert_tones: Callable[..., bytes]) -> None:
    """Whole-clip files look alike from outside."""
    with pytest.raises(ValueError, match="`step`. It has: predict"):
        Listener(load(convert_tones(("predict",))), labels=LABELS)
