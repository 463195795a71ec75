"""Decoded clips, end to end in one array: a batch is a few copies, no decoding."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

import numpy as np

from pipelines import audio_files
from pipelines.audio_files import BadAudio
from pipelines.audio_index import Clip
from pipelines.base import BadInputs, Progress

SPILL_BYTES = 2 * 2**30


@dataclass(frozen=True)
class ClipStore:
    """Clips of 16-bit samples.

    Args:
        samples: All clips end to end, int16 (samples,).
        offsets: Where each clip begins, and the last one ends, int64 (clips + 1,).
    """

    samples: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Samples in each clip, int32 (clips,)."""
        return np.diff(self.offsets).astype(np.int32)

    def gather(self, rows: np.ndarray, width: int) -> np.ndarray:
        """Copies clips into a batch.

        Args:
            rows: Which clips, int (batch,).
            width: Samples in a row of the result; every clip must fit.

        Returns:
            The clips, padded with zeros on the right, int16 (batch, width).
        """
        batch = np.zeros((len(rows), width), np.int16)
        for out, row in zip(batch, rows, strict=True):
            begin, end = self.offsets[row], self.offsets[row + 1]
            out[: end - begin] = self.samples[begin:end]
        return batch


def store(clips: Iterable[np.ndarray], spill_bytes: int = SPILL_BYTES) -> ClipStore:
    """Puts clips end to end, in memory or, when they are many, in a temporary file.

    Args:
        clips: int16 arrays (samples,), taken one at a time.
        spill_bytes: From this size on, samples go to a file that vanishes with the store.

    Returns:
        The store.

    Raises:
        OSError: If the disk is full; the message names the folder.
    """
    held: list[np.ndarray] = []
    lengths, size, file = [0], 0, None
    for clip in clips:
        held.append(clip)
        lengths.append(len(clip))
        size += clip.nbytes
        if size >= spill_bytes:
            file = file or tempfile.TemporaryFile(prefix="clips-")  # noqa: SIM115
            _append(file, held)
            held.clear()
    offsets = np.cumsum(lengths, dtype=np.int64)
    if file is None:
        return ClipStore(np.concatenate([*held, np.zeros(0, np.int16)]), offsets)
    with file:
        _append(file, held)
        return ClipStore(np.memmap(file, np.int16, "r"), offsets)


def decode(
    clips: list[Clip],
    sample_rate: int,
    max_samples: int,
    bad: BadInputs,
    progress: Progress | None = None,
) -> Iterator[tuple[Clip, np.ndarray, bool]]:
    """Reads recordings with a pool of threads, in their order.

    Args:
        clips: What to read.
        sample_rate: Samples a second, in hertz.
        max_samples: Of longer recordings the stretch with the most energy is kept.
        bad: Takes the files that cannot be used.
        progress: Called with (done, total).

    Yields:
        Each usable clip with its samples, int16 (samples,), and whether it was cut.
    """

    def load(clip: Clip) -> tuple[np.ndarray, bool] | BadAudio:
        try:
            samples = audio_files.read(clip.path, sample_rate, clip.start, clip.seconds)
        except BadAudio as error:
            return error
        return cut(samples, max_samples)

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for done, (clip, loaded) in enumerate(zip(clips, pool.map(load, clips), strict=True), 1):
            if progress:
                progress(done, len(clips))
            if isinstance(loaded, BadAudio):
                bad.add(clip.path, loaded.reason)
            else:
                yield clip, *loaded
    finally:
        pool.shutdown(cancel_futures=True)  # do not read on after a bad file has stopped the run


def cut(samples: np.ndarray, max_samples: int) -> tuple[np.ndarray, bool]:
    """A recording as the store keeps it, int16 (samples,), and whether it had to be cut."""
    part = audio_files.loudest_part(samples, max_samples)
    return audio_files.to_int16(part), len(part) < len(samples)


def _append(file: IO[bytes], clips: list[np.ndarray]) -> None:
    try:
        for clip in clips:
            file.write(clip.data)
        file.flush()
    except OSError as error:
        reason = f"Cannot spill decoded clips to disk (set TMPDIR elsewhere): {error.strerror}"
        raise OSError(error.errno, reason, tempfile.gettempdir()) from error
