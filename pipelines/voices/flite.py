"""Flite, the small Festival: a system program with a handful of voices of real people."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from pipelines.voices.base import NORMAL_RATE, family, folders, run, stature

FOLDERS = "FLITE_VOICES"
_LEFT_OUT = {"awb_time", "kal"}  # says nothing but the time; the same man at 8 kHz


class Flite:
    """Diphones and clustergen; `FLITE_VOICES` names folders of more `.flitevox` voices."""

    name = "flite"
    install = "apt-get install flite"

    def available(self) -> bool:
        """Whether the program is on the path."""
        return shutil.which("flite") is not None

    def languages(self) -> list[str]:
        """English alone."""
        return ["en-us"]

    def voices(self, language: str) -> list[str]:
        """The voices built in, and those in the folders."""
        return sorted(_voices()) if family(language) == "en" else []

    def speaker(self, voice: str) -> str:
        """Each voice is one person's."""
        return voice

    def synthesize(
        self, text: str, voice: str, rate: float, pitch: float
    ) -> tuple[np.ndarray, int]:
        """Speaks a text; see `Engine`."""
        import soundfile

        slower = NORMAL_RATE / rate * stature(pitch)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, "speech.wav"))
            run(
                [
                    "flite",
                    "-voice",
                    _voices()[voice],
                    "--setf",
                    f"duration_stretch={slower:.3f}",
                    "-o",
                    file,
                    "-t",
                    text,
                ]
            )
            samples, sample_rate = soundfile.read(file, dtype="float32")
        return samples, round(sample_rate * stature(pitch))


@cache
def _voices() -> dict[str, str]:
    """What to call each voice by, to the program."""
    built_in = run(["flite", "-lv"]).partition(":")[2].split()
    found = {
        path.stem.lower(): str(path)
        for folder in folders(FOLDERS)
        for path in folder.glob("*.flitevox")
    }
    return {name: name for name in built_in if name not in _LEFT_OUT} | found
