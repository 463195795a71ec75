"""Read audio files as mono float32 blocks: WAV by the standard library, the rest by soundfile."""

from __future__ import annotations

import contextlib
import os
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.device.resampling import resampler

BLOCK_FRAMES = 8192  # half a second at 16 kHz: an hour of audio need not fit into memory
# A recorder that writes to a pipe cannot know the length and promises about the most that it can:
# sox 0x7ffff000 bytes, arecord 0x7fffff00, others 0xffffffff.
_UNKNOWN_BYTES = 0x7FF00000


def read_blocks(
    path: str | os.PathLike[str],
    sample_rate: int,
    progress: Callable[[float, float], None] | None = None,
) -> Iterator[np.ndarray]:
    """Read a file block by block, mixed down to mono and resampled.

    Args:
        path: a WAV file of 8, 16, 24 or 32 bit PCM; with soundfile installed also float WAV, FLAC
            and whatever else libsndfile reads.
        sample_rate: rate of the blocks, in hertz.
        progress: called after each block with the seconds read so far and in all.

    Yields:
        float32 (samples,) between -1 and 1.

    Raises:
        OSError: the file is absent or cannot be read.
        ValueError: it is empty, not audio, cut short, or holds NaN; the message names it.
        ImportError: it needs soundfile, which is not installed.
    """
    with contextlib.closing(_open(Path(path))) as source:
        resample = resampler(source.samplerate, sample_rate)
        for start in range(0, source.frames, BLOCK_FRAMES):
            frames = min(BLOCK_FRAMES, source.frames - start)
            mono = _read(path, source, start, frames).mean(axis=1)
            yield resample(mono, last=start + frames == source.frames)
            if progress:
                progress((start + frames) / source.samplerate, source.frames / source.samplerate)


def read(path: str | os.PathLike[str], sample_rate: int) -> np.ndarray:
    """Read a whole file, as `read_blocks` does.

    Args:
        path: as in `read_blocks`.
        sample_rate: rate of the samples, in hertz.

    Returns:
        float32 (samples,) between -1 and 1.

    Raises:
        OSError, ValueError, ImportError: as in `read_blocks`.
    """
    return np.concatenate(list(read_blocks(path, sample_rate)))


def to_float(samples: np.ndarray) -> np.ndarray:
    """Bring samples to the range that models are trained on.

    Args:
        samples: (samples,) of one channel, int16 or floats between -1 and 1.

    Returns:
        float32 (samples,) between -1 and 1.

    Raises:
        TypeError: another dtype.
        ValueError: another number of axes, or NaN or infinite samples.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise ValueError(f"`samples` must be one channel, (samples,). Received: {samples.shape}")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    if samples.dtype.kind != "f":
        raise TypeError(f"`samples` must be floats or int16. Received: {samples.dtype}")
    if not np.isfinite(samples).all():
        raise ValueError("`samples` must be finite: a recurrent state would never recover from NaN")
    return samples.astype(np.float32, copy=False)


def _open(path: Path) -> Any:
    """A reader with `samplerate`, `frames`, `read` and `close`, as soundfile has them."""
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        raise ValueError(f"{path} is empty. Record or copy it again")
    try:
        source = _WaveReader(path) if head[:4] == b"RIFF" else _sound_file(path)
    except EOFError:
        raise ValueError(f"{path} is cut short within its header. Copy it again") from None
    except wave.Error:  # WAV, but not PCM
        source = _sound_file(path)
    if not source.frames:
        source.close()
        raise ValueError(f"{path} holds no samples. Record or copy it again")
    return source


def _sound_file(path: Path) -> Any:
    """The file opened by soundfile, if that is installed."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: without libsndfile
        raise ImportError(
            f"{path} is not a PCM WAV file. To read it, install soundfile: `pip install soundfile`"
        ) from None
    try:
        return soundfile.SoundFile(path)
    except RuntimeError as error:
        raise ValueError(f"{path} must be an audio file. Received: {error}") from None


class _WaveReader:
    """PCM WAV by the standard library, in the words of soundfile."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        try:
            self._wave = wave.open(self._file)  # noqa: SIM115  `close` closes it
        except (EOFError, wave.Error):
            self._file.close()
            raise
        self.samplerate, self.frames = self._wave.getframerate(), self._wave.getnframes()
        frame_bytes = self._wave.getsampwidth() * self._wave.getnchannels()
        if self.frames * frame_bytes > _UNKNOWN_BYTES:
            self.frames = (path.stat().st_size - self._file.tell()) // frame_bytes

    def read(self, frames: int, **_: object) -> np.ndarray:
        """Read frames as float32 (frames, channels)."""
        width, channels = self._wave.getsampwidth(), self._wave.getnchannels()
        data = self._wave.readframes(frames)
        whole = len(data) // (width * channels) * width * channels  # a cut file may end anywhere
        samples = np.frombuffer(data[:whole], np.uint8).reshape(-1, width)
        return _pcm_to_float(samples).reshape(-1, channels)

    def close(self) -> None:
        """Close the file."""
        self._wave.close()
        self._file.close()


def _pcm_to_float(samples: np.ndarray) -> np.ndarray:
    """Little-endian PCM, uint8 (samples, width) -> float32 (samples,)."""
    width = samples.shape[1]
    padded = np.zeros((len(samples), 4), np.uint8)
    padded[:, 4 - width :] = samples  # every width at the top of 32 bits
    if width == 1:
        padded[:, 3] ^= 0x80  # 8 bit alone is unsigned
    return (padded.view("<i4")[:, 0] / 2**31).astype(np.float32)


def _read(path: str | os.PathLike[str], source: Any, start: int, frames: int) -> np.ndarray:
    """The next frames, (frames, channels); raise where there are fewer, or any is not finite."""
    try:
        block = source.read(frames, dtype="float32", always_2d=True)
    except RuntimeError as error:  # libsndfile's, on a damaged FLAC
        raise ValueError(f"{path} is cut short or damaged at frame {start}. {error}") from None
    if len(block) < frames:
        raise ValueError(
            f"{path} is cut short: its header promises {source.frames} frames, "
            f"{start + len(block)} are there. Record or copy it again"
        )
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        row = start + int(np.argmin(finite))
        raise ValueError(f"{path} must hold finite samples. Frame {row} does not: record it again")
    return np.asarray(block)
