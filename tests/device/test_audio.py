"""Audio files of every width and channels come out as they went in, and bad ones are named."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from rnnapp.device.audio import BLOCK_FRAMES, read, read_blocks, to_float


def write_wave(path: Path, channels: np.ndarray, width: int, rate: int = 16_000) -> None:
    """Write float (frames, channels) as PCM of `width` bytes through the standard library."""
    full = 2 ** (8 * width - 1)
    integers = np.clip(np.rint(channels * full), -full, full - 1).astype("<i8")
    if width == 1:
        integers += 128
    data = integers.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files each example overwrites."""
    return tmp_path_factory.mktemp("audio")


@given(
    width=st.sampled_from([1, 2, 3, 4]),
    channels=st.integers(1, 3),
    frames=st.integers(1, 2 * BLOCK_FRAMES + 1),
    seed=st.integers(0, 9),
)
def test_pcm_round_trip(folder: Path, width: int, channels: int, frames: int, seed: int) -> None:
    """Every width is scaled to the same range, and channels are averaged."""
    samples = np.random.default_rng(seed).uniform(-1, 1, (frames, channels))
    write_wave(folder / "pcm.wav", samples, width)
    # Rounding is half a unit, saturation at +1 a whole one; float32 keeps 24 bits.
    tolerance = max(2.0 ** (1 - 8 * width), 2.0**-22)
    np.testing.assert_allclose(
        read(folder / "pcm.wav", 16_000), samples.mean(axis=1), atol=tolerance
    )


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("float.wav", "FLOAT", 1e-7),
        ("extensible.wav", "PCM_24", 2**-22),
        ("voice.flac", "PCM_16", 2**-15),
    ],
)
def test_other_formats_through_soundfile(
    tmp_path: Path, name: str, subtype: str, tolerance: float
) -> None:
    """What the standard library cannot read goes to soundfile."""
    samples = np.random.default_rng(0).uniform(-1, 1, (20_000, 2))
    kind = {"extensible.wav": "WAVEX"}.get(name)
    soundfile.write(tmp_path / name, samples, 16_000, subtype=subtype, format=kind)
    np.testing.assert_allclose(read(tmp_path / name, 16_000), samples.mean(axis=1), atol=tolerance)


def test_without_soundfile_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device without soundfile still reads PCM, and says what the rest needs."""
    monkeypatch.setitem(sys.modules, "soundfile", None)
    soundfile.write(tmp_path / "float.wav", np.zeros(100), 16_000, subtype="FLOAT")
    with pytest.raises(ImportError, match=r"float\.wav.*pip install soundfile"):
        read(tmp_path / "float.wav", 16_000)
    write_wave(tmp_path / "pcm.wav", np.zeros((100, 1)), 2)
    assert len(read(tmp_path / "pcm.wav", 16_000)) == 100


def test_progress_ends_at_the_end(tmp_path: Path) -> None:
    """A progress bar must reach its end, in the seconds of the file."""
    write_wave(tmp_path / "a.wav", np.zeros((70_000, 1)), 2, rate=44_100)
    seen: list[tuple[float, float]] = []
    list(read_blocks(tmp_path / "a.wav", 16_000, lambda done, total: seen.append((done, total))))
    assert seen == sorted(seen) and seen[-1] == (70_000 / 44_100, 70_000 / 44_100)


def cut(path: Path, length: int) -> None:
    """Keep the first bytes of a file."""
    path.write_bytes(path.read_bytes()[:length])


@given(width=st.sampled_from([1, 2, 3, 4]), channels=st.integers(1, 2), data=st.data())
def test_any_cut_is_noticed(folder: Path, width: int, channels: int, data: st.DataObject) -> None:
    """A recording that was cut off must not pass for a shorter one."""
    path = folder / "cut.wav"
    write_wave(path, np.zeros((50, channels)), width)
    cut(path, data.draw(st.integers(1, 43 + 50 * channels * width)))
    with pytest.raises(ValueError, match=r"cut\.wav"):
        read(path, 16_000)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, 0x7FFFFFDB, 0x7FFFFF00, 0x7FFFF000])
@pytest.mark.parametrize("width", [2, 3])
def test_a_recording_from_a_pipe_is_read_to_its_end(tmp_path: Path, size: int, width: int) -> None:
    """Recorders that cannot go back leave a length that no file has."""
    samples, path = np.random.default_rng(0).uniform(-1, 1, (10_000, 2)), tmp_path / "pipe.wav"
    write_wave(path, samples, width)
    expected, content = read(path, 16_000), bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = size.to_bytes(4, "little")
    content[4:8] = min(size + 36, 0xFFFFFFFF).to_bytes(4, "little")
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path, 16_000), expected)
    path.write_bytes(content[: place + 4])
    with pytest.raises(ValueError, match=r"pipe\.wav holds no samples"):
        read(path, 16_000)


def bad_file(folder: Path, kind: str) -> Path:
    """A file that cannot be heard."""
    path = folder / f"{kind} ü.wav"
    samples = np.zeros(40_000)
    samples[30_000] = np.nan if kind == "nan" else np.inf
    if kind in ("nan", "infinite"):
        soundfile.write(path, samples, 16_000, subtype="FLOAT")
    elif kind == "cut flac":
        noise = np.random.default_rng(0).uniform(-1, 1, 40_000)
        soundfile.write(path, noise, 16_000, format="FLAC")
        cut(path, path.stat().st_size // 2)
    elif kind == "no samples":
        write_wave(path, np.zeros((0, 1)), 2)
    elif kind != "absent":
        path.write_bytes({"empty": b"", "text": b"no audio here at all"}[kind])
    return path


BAD = ["empty", "no samples", "text", "nan", "infinite", "cut flac", "absent"]


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named(tmp_path: Path, kind: str) -> None:
    """Each bad file gives an error that a caller expects, with the file's name; none stays open."""
    path = bad_file(tmp_path, kind)
    with pytest.raises((ValueError, OSError), match=path.name):
        read(path, 16_000)  # a file left open would be a ResourceWarning, which fails the test


def test_samples_are_brought_to_one_range() -> None:
    """int16 and floats from a driver mean the same."""
    integers = np.array([-32_768, 0, 16_384], np.int16)
    np.testing.assert_array_equal(to_float(integers), [-1, 0, 0.5])
    assert to_float(np.array([0.5])).dtype == np.float32
    with pytest.raises(TypeError, match="int64"):
        to_float(np.array([1, 2]))
    with pytest.raises(ValueError, match="one channel"):
        to_float(np.zeros((10, 2)))
