"""Reading recordings of any rate and length, and writing them whole or not at all."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
import soundfile
import soxr

from pipelines.base import require

SUFFIXES = (".wav", ".flac", ".ogg")
_ENDLESS = 0x7FF00000  # bytes; no header that tells the truth says so much


class BadAudio(ValueError):
    """A recording that cannot be used; the message names it.

    Args:
        name: The file.
        must: What it must be or do, as in "the file must ...".
        received: What it is instead.
    """

    def __init__(self, name: str | Path, must: str, received: str | None) -> None:
        self.reason = f"the file must {must}. Received: {received}."
        super().__init__(f"{name}: {self.reason}")


def read(
    path: str | Path, sample_rate: int, start: float = 0.0, seconds: float | None = None
) -> np.ndarray:
    """Reads a WAV, FLAC or OGG file as one channel at one rate.

    Args:
        path: The file.
        sample_rate: Samples a second of the result, in hertz; other rates are resampled by soxr.
        start: Where to begin, in seconds.
        seconds: How much to read, in seconds; None reads to the end.

    Returns:
        The mean of all channels, float32 (samples,), nominally in [-1, 1].

    Raises:
        BadAudio: If the file cannot be opened, is empty, truncated or no audio, or holds no
            samples, NaN or infinity.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise BadAudio(path, "hold audio", "an empty file, 0 bytes")
            samples, rate = _decode(path, file.fileno(), start, seconds)
    except OSError as error:
        raise BadAudio(path, "be a readable file", error.strerror) from error
    return convert(samples, rate, sample_rate, path)


def convert(
    samples: np.ndarray, rate: int, sample_rate: int, name: str | Path = "samples"
) -> np.ndarray:
    """Makes any samples one channel at one rate.

    Args:
        samples: Floats in [-1, 1] or 16-bit integers, (samples,) or (samples, channels).
        rate: Their samples a second, in hertz.
        sample_rate: Samples a second of the result, in hertz.
        name: What an error calls them.

    Returns:
        The mean of all channels, float32 (samples,).

    Raises:
        BadAudio: If there are no samples, NaN or infinity among them, or another dtype.
    """
    samples = np.asarray(samples)
    if samples.dtype != np.int16 and samples.dtype.kind != "f":
        raise BadAudio(name, "hold floats in [-1, 1] or 16-bit integers", str(samples.dtype))
    scale = 32768 if samples.dtype == np.int16 else 1
    samples = samples.astype(np.float32) / scale
    if samples.ndim > 1:
        samples = samples.mean(axis=1)
    if len(samples) == 0:
        raise BadAudio(name, "hold at least one sample", "a recording of zero length")
    if not np.isfinite(samples).all():
        bad = int(np.argmin(np.isfinite(samples)))
        raise BadAudio(name, "hold finite samples", f"{samples[bad]} at sample {bad}")
    if rate == sample_rate:
        return samples
    resampled = soxr.resample(samples, rate, sample_rate)
    if len(resampled) == 0:
        raise BadAudio(
            name, f"last a sample at {sample_rate} Hz", f"{len(samples)} samples at {rate} Hz"
        )
    return resampled


def duration(path: str | Path) -> float:
    """Seconds in a recording, from its header.

    Raises:
        BadAudio: If the file cannot be opened or is no audio.
    """
    try:
        return soundfile.info(str(path)).duration
    except (OSError, soundfile.LibsndfileError) as error:
        raise BadAudio(path, "be WAV, FLAC or OGG audio", str(error)) from error


def write(path: str | Path, samples: np.ndarray, sample_rate: int) -> None:
    """Writes a 16-bit recording in the format that the file's ending names.

    The file appears whole or not at all: it is written under another name and then renamed.

    Args:
        path: The file; WAV, FLAC or OGG.
        samples: One channel, float (samples,) in [-1, 1]; what lies beyond is cut off.
        sample_rate: Samples a second, in hertz.

    Raises:
        ValueError: If the file's ending names no such format.
        OSError: If it cannot be written, on a full disk for one. The message names the file.
    """
    path = Path(path)
    require(path.suffix.lower() in SUFFIXES, "path", f"a file in {', '.join(SUFFIXES)}", str(path))
    encoded = io.BytesIO()
    soundfile.write(encoded, to_int16(samples), sample_rate, format=path.suffix[1:].upper())
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(encoded.getbuffer())
        os.replace(partial, path)
    except OSError as error:
        reason = f"Cannot write the recording: {error.strerror}"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as 16-bit integers; what lies beyond is cut off."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def loudest_part(samples: np.ndarray, length: int) -> np.ndarray:
    """Cuts a recording to the `length` samples with the most energy.

    That is how the clips of Speech Commands were cut from their recordings (Warden 2018,
    arXiv:1804.03209).
    """
    if len(samples) <= length:
        return samples
    energy = np.cumsum(np.square(samples, dtype=np.float64))
    start = int(np.argmax(energy[length - 1 :] - np.append(0, energy[:-length])))
    return samples[start : start + length]


def _decode(
    path: str | Path, descriptor: int, start: float, seconds: float | None
) -> tuple[np.ndarray, int]:
    try:
        with soundfile.SoundFile(descriptor, closefd=False) as sound:
            _refuse_truncated(path, sound.extra_info)
            begin = min(round(start * sound.samplerate), sound.frames)
            sound.seek(begin)
            frames = sound.frames - begin
            if seconds is not None:
                frames = min(frames, round(seconds * sound.samplerate))
            samples = sound.read(frames, dtype="float32", always_2d=True)
            rate = sound.samplerate
    except soundfile.LibsndfileError as error:
        text = error.error_string.strip()
        raise BadAudio(path, "be whole WAV, FLAC or OGG audio", text) from error
    if len(samples) < frames:
        raise BadAudio(
            path,
            f"hold {frames} samples as its header says",
            f"a truncated file with {len(samples)}",
        )
    return samples, rate


def _refuse_truncated(path: str | Path, log: str) -> None:
    """Reads libsndfile's log, the only place where it says that it mended a short file."""
    wav = re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    # A recorder that writes to a pipe leaves the largest length that it knows, in whole blocks.
    if wav and int(wav[2]) < int(wav[1]) < _ENDLESS:
        raise BadAudio(
            path,
            f"hold {wav[1]} bytes of samples as its header says",
            f"a truncated file with {wav[2]}",
        )
    if "without an End-Of-Stream" in log:
        raise BadAudio(path, "end with the end of its stream", "a truncated file")
