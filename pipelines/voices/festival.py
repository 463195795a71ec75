"""Festival: a system program; each of its voices is a package of its own."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from pipelines.voices.base import NORMAL_RATE, family, run, stature

_ENGLISH = ("cmu_us_", "don_", "en1_", "kal_", "ked_", "rab_", "us1_", "us2_", "us3_")


class Festival:
    """Diphones and hidden Markov models; slow, as the program starts anew for each text."""

    name = "festival"
    install = "apt-get install festival festvox-kdlpc16k festvox-us-slt-hts"

    def available(self) -> bool:
        """Whether the programs are on the path."""
        return None not in (shutil.which("festival"), shutil.which("text2wave"))

    def languages(self) -> list[str]:
        """English alone: Festival does not say which language a voice speaks."""
        return ["en-us"]

    def voices(self, language: str) -> list[str]:
        """The English voices installed."""
        return _voices() if family(language) == "en" else []

    def speaker(self, voice: str) -> str:
        """Each voice is one person's."""
        return voice

    def synthesize(
        self, text: str, voice: str, rate: float, pitch: float
    ) -> tuple[np.ndarray, int]:
        """Speaks a text; see `Engine`. HMM voices have one speed."""
        import soundfile

        slower = NORMAL_RATE / rate * stature(pitch)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, "speech.wav"))
            run(
                [
                    "text2wave",
                    "-eval",
                    f"(voice_{voice})",
                    "-eval",
                    f"(Parameter.set 'Duration_Stretch {slower:.3f})",
                    "-o",
                    file,
                ],
                text,
            )
            samples, sample_rate = soundfile.read(file, dtype="float32")
        return samples, round(sample_rate * stature(pitch))


@cache
def _voices() -> list[str]:
    listed = run(["festival", "-b", "(print (voice.list))"]).strip("() \n").split()
    return sorted(name for name in listed if name.startswith(_ENGLISH))
