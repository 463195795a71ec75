"""The microphone, played by a stand-in for sounddevice: tests have no sound card."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rnnapp.device import Event, Listener

from .conftest import RATE, melody


class PortAudioError(Exception):
    """As sounddevice names it."""


def stand_in(native_rate: int, overflow: bool = False) -> ModuleType:
    """A sounddevice whose microphone hears the melody at one rate alone."""
    sounddevice = ModuleType("sounddevice")
    played = melody(native_rate)

    def check_input_settings(channels: int, dtype: str, samplerate: int) -> None:
        if native_rate == 0:
            raise PortAudioError("Error querying device -1")
        if samplerate != native_rate:
            raise PortAudioError("Invalid sample rate")

    def query_devices(kind: str) -> dict[str, float]:
        if native_rate == 0:
            raise PortAudioError("Error querying device -1")
        return {"default_samplerate": float(native_rate)}

    class InputStream:
        def __init__(self, samplerate: int, channels: int, dtype: str) -> None:
            check_input_settings(channels, dtype, samplerate)
            self.position = 0

        def __enter__(self) -> InputStream:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, frames: int) -> tuple[np.ndarray, bool]:
            self.position += frames
            return played[self.position - frames : self.position, None], overflow

    for item in (PortAudioError, check_input_settings, query_devices, InputStream):
        setattr(sounddevice, item.__name__, item)
    return sounddevice


@pytest.fixture
def hear(tones_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Event]]:
    """Listens to the stand-in for five seconds."""

    def listen(sounddevice: ModuleType | None) -> list[Event]:
        monkeypatch.setitem(sys.modules, "sounddevice", sounddevice)
        events: list[Event] = []
        Listener(tones_path).listen_microphone(events.append, seconds=5.0)
        return events

    return listen


def test_the_microphone_is_heard_like_a_stream(
    tones_path: Path, hear: Callable[..., list[Event]]
) -> None:
    """Blocks of the driver's size give the events of the whole."""
    events = hear(stand_in(RATE))
    assert len(events) == 3
    assert events == Listener(tones_path).feed(melody())


def test_a_microphone_of_another_rate_is_resampled(
    tones_path: Path, hear: Callable[..., list[Event]]
) -> None:
    """Many USB microphones record at 48 kHz alone."""
    expected = Listener(tones_path).feed(melody())
    events = hear(stand_in(48_000))
    assert [event.label for event in events] == [event.label for event in expected]
    times = [event.time_s for event in expected]
    # the resampler's ringing before a tone may move a crossing by a step
    assert [event.time_s for event in events] == pytest.approx(times, abs=0.0101)


def test_lost_samples_are_told(hear: Callable[..., list[Event]]) -> None:
    """A device that is too slow must not look deaf."""
    with pytest.warns(UserWarning, match="Samples were lost"):
        hear(stand_in(RATE, overflow=True))


def test_no_microphone_is_told(hear: Callable[..., list[Event]]) -> None:
    """PortAudio's own words do not say what to do."""
    with pytest.raises(OSError, match="must be connected.*Error querying device"):
        hear(stand_in(0))


def test_sounddevice_absent_is_told(hear: Callable[..., list[Event]]) -> None:
    """The microphone is an extra."""
    with pytest.raises(ImportError, match="pip install sounddevice"):
        hear(None)
