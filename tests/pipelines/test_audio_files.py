"""Reading and writing recordings."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import audio_files
from pipelines.audio_files import BadAudio

RATE = 16000


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    """A sine at half of full scale."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def loudest_frequency(samples: np.ndarray, rate: int = RATE) -> float:
    """The frequency with the most energy, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("suffix", audio_files.SUFFIXES)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_read_converts_rate_and_channels(
    tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    """Every format, rate and channel count becomes the same sound at 16 kHz."""
    path = tmp_path / f"größe 音{suffix}"
    soundfile.write(path, np.stack([tone(1000, 0.5, rate)] * channels, axis=1), rate)
    samples = audio_files.read(path, RATE)
    assert samples.dtype == np.float32 and samples.shape == (RATE // 2,)
    assert loudest_frequency(samples) == pytest.approx(1000, abs=2)  # one bin of the FFT
    # The resampler rings at both ends, where the tone is switched; OGG is lossy throughout.
    error = np.abs(samples - tone(1000, 0.5))[1000:-1000].max()
    assert error < (0.05 if suffix == ".ogg" else 1e-3)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    """Neither channel is dropped."""
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1), RATE)
    assert np.allclose(audio_files.read(path, RATE), 0.125)


def test_read_takes_a_window(tmp_path: Path) -> None:
    """A start and a length in seconds name the same samples at the file's own rate."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.arange(8000) / 10000, 8000, subtype="FLOAT")
    part = audio_files.read(path, 8000, start=0.25, seconds=0.5)
    assert np.allclose(part, np.arange(2000, 6000) / 10000)


def cut_in_half(path: Path) -> None:
    """Leaves the first half of a recording's bytes."""
    soundfile.write(path, np.random.default_rng(0).normal(size=RATE) * 0.1, RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def with_value(path: Path, value: float) -> None:
    """Writes a recording whose eighth sample is `value`."""
    samples = tone(440, 0.1)
    samples[7] = value
    soundfile.write(path, samples, RATE, subtype="FLOAT")


BAD = {
    "empty.wav": (lambda path: path.write_bytes(b""), "0 bytes"),
    "text.wav": (lambda path: path.write_bytes(b"this is no sound\n" * 50), "Format not recog"),
    "header.wav": (lambda path: path.write_bytes(b"RIFF\x24\0\0\0WAVEfmt "), "whole WAV"),
    "silent.wav": (lambda path: soundfile.write(path, np.zeros(0), RATE), "zero length"),
    "nan.wav": (lambda path: with_value(path, np.nan), "nan at sample 7"),
    "infinite.wav": (lambda path: with_value(path, np.inf), "inf at sample 7"),
    "truncated.wav": (cut_in_half, "truncated"),
    "truncated.flac": (cut_in_half, "whole WAV"),
    "truncated.ogg": (cut_in_half, "truncated"),
    "folder.wav": (lambda path: path.mkdir(), "readable file"),
    "dangling.wav": (lambda path: path.symlink_to("nowhere"), "readable file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_named(tmp_path: Path, name: str) -> None:
    """Each kind of bad file has an error that names it and says what it is."""
    make, reason = BAD[name]
    make(tmp_path / name)
    with pytest.raises(BadAudio, match=reason) as caught:
        audio_files.read(tmp_path / name, RATE)
    assert str(caught.value).startswith(f"{tmp_path / name}: the file must ")


def test_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is bad audio, not a crash; root could read it, so we pretend."""
    soundfile.write(tmp_path / "a.wav", tone(440, 0.1), RATE)

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(BadAudio, match=r"a\.wav.*Permission denied"):
        audio_files.read(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFDB, 0x7FFFF000])
def test_wav_written_to_a_pipe_is_whole(tmp_path: Path, length: int) -> None:
    """A recorder that could not know the length is not taken for a truncated file."""
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(440, 0.1), RATE)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", length)
    path.write_bytes(content)
    assert len(audio_files.read(path, RATE)) == RATE // 10


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.integers(-32768, 32767), min_size=1, max_size=200),
    suffix=st.sampled_from([".wav", ".flac"]),
)
def test_16_bits_survive(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], suffix: str
) -> None:
    """Writing, reading and storing again changes no sample."""
    path = tmp_path_factory.mktemp("round") / f"a{suffix}"
    samples = np.array(values, np.int16)
    audio_files.write(path, samples / 32768, RATE)
    assert (audio_files.to_int16(audio_files.read(path, RATE)) == samples).all()


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half-way names the file, leaves no half file and spoils no old one."""
    path = tmp_path / "a.flac"
    audio_files.write(path, tone(440, 0.1), RATE)
    before = path.read_bytes()

    def half(self: Path, content: bytes) -> None:
        with open(self, "wb") as file:
            file.write(bytes(content)[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left on device") as caught:
        audio_files.write(path, tone(880, 0.1), RATE)
    assert caught.value.filename == str(path) and caught.value.errno == errno.ENOSPC
    assert [p.name for p in tmp_path.iterdir()] == ["a.flac"]
    assert path.read_bytes() == before


def test_write_names_the_formats(tmp_path: Path) -> None:
    """An ending that no format has is refused before anything is written."""
    with pytest.raises(ValueError, match=r"\.wav, \.flac, \.ogg"):
        audio_files.write(tmp_path / "a.mp3", tone(440, 0.1), RATE)
    assert not list(tmp_path.iterdir())


def test_samples_that_cannot_be_heard_are_refused() -> None:
    """Integers of another width would be clipped to noise; one sample may vanish in resampling."""
    with pytest.raises(BadAudio, match="floats in .* or 16-bit integers. Received: int32"):
        audio_files.convert(np.zeros(100, np.int32), RATE, RATE)
    with pytest.raises(BadAudio, match="last a sample at 8000 Hz. Received: 1 samples at 48000"):
        audio_files.convert(np.ones(1, np.float32), 48000, 8000)


def test_long_recording_is_cut_to_where_it_is_loud() -> None:
    """Ten minutes of hiss with one word in it become that word."""
    draw = np.random.default_rng(0)
    samples = (draw.normal(size=600 * RATE) * 1e-5).astype(np.float32)
    word = slice(400 * RATE, 400 * RATE + RATE // 2)
    samples[word] = tone(300, 0.5)
    part = audio_files.loudest_part(samples, RATE)
    assert len(part) == RATE
    assert np.sum(part**2) == pytest.approx(np.sum(samples[word] ** 2), rel=1e-3)


@pytest.mark.parametrize("length", [1, 5, 9, 10, 11])
def test_cut_has_the_length_asked_for(length: int) -> None:
    """Silence and short recordings are cut without fail too."""
    assert len(audio_files.loudest_part(np.zeros(10, np.float32), length)) == min(10, length)
