"""Decoded clips come back the same, from memory or from disk."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from pipelines import audio_store


def test_store_on_disk_equals_store_in_memory() -> None:
    """Clips that no longer fit the bound come back the same from a file."""
    draw = np.random.default_rng(0)
    clips = [draw.integers(-9, 9, size).astype(np.int16) for size in (5, 0, 9, 3, 7)]
    memory, disk = audio_store.store(clips), audio_store.store(clips, spill_bytes=20)
    assert isinstance(disk.samples, np.memmap) and not isinstance(memory.samples, np.memmap)
    rows = np.array([3, 0, 1, 4, 2])
    assert np.array_equal(memory.gather(rows, 9), disk.gather(rows, 9))
    assert memory.gather(rows, 9)[3].tolist() == [*clips[4].tolist(), 0, 0]


def test_full_disk_while_spilling_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that outgrows the disk says where, and what to do."""

    class Full:
        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audio_store.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match="set TMPDIR elsewhere.*No space left") as caught:
        audio_store.store([np.zeros(100, np.int16)], spill_bytes=20)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename
