"""What every speech engine offers, and the units that they share."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Protocol

import numpy as np

NORMAL_RATE = 175.0  # words a minute, at which `rate` leaves an engine's own speed alone
NORMAL_PITCH = 50.0  # at which `pitch` leaves a voice's own pitch alone
OCTAVE = 50.0  # steps of `pitch` that double the frequency
_STATURE = 0.5  # of a change in pitch that playing faster may stand for; people vary that much


class SynthesisError(RuntimeError):
    """A program or process that makes voices failed; the message says how."""


class Engine(Protocol):
    """A speech synthesizer, offline.

    Args:
        name: Its key in `ENGINES` and the first part of its voices' names.
        install: The command that installs it.
    """

    name: str
    install: str

    def available(self) -> bool:
        """Whether it is installed; cheap, loads nothing."""

    def languages(self) -> list[str]:
        """The languages it has voices for, as lower-case tags such as "en-us"."""

    def voices(self, language: str) -> list[str]:
        """The ids of its voices for a language, all accents of it included; may be empty."""

    def speaker(self, voice: str) -> str:
        """Whose voice it is: no two splits of a data set may share a speaker."""

    def synthesize(
        self, text: str, voice: str, rate: float, pitch: float
    ) -> tuple[np.ndarray, int]:
        """Speaks a text.

        Args:
            text: What to say.
            voice: One of `voices(...)`.
            rate: Words a minute; 175 is the engine's own speed.
            pitch: 50 is the voice's own; 50 more is an octave up, 50 less an octave down.

        Returns:
            The speech, float32 (samples,) in [-1, 1], and its sample rate in hertz.
        """


def family(language: str) -> str:
    """The language without its region or accent: "en" for "en-gb-scotland"."""
    return language.lower().replace("_", "-").partition("-")[0]


def frequency(pitch: float) -> float:
    """How many times a voice's own frequency `pitch` is."""
    return 2 ** ((pitch - NORMAL_PITCH) / OCTAVE)


def stature(pitch: float) -> float:
    """How much faster to play a voice that has no pitch control.

    Playing speech faster moves the formants with the pitch, as in a smaller speaker; going half
    of the way keeps the speaker human. An engine asks for speech slower by this factor, and
    names a sample rate higher by it.
    """
    return frequency(pitch) ** _STATURE


def folders(variable: str) -> list[Path]:
    """The folders that an environment variable names, those that exist."""
    named = os.environ.get(variable, "").split(os.pathsep)
    return [Path(name) for name in named if name and Path(name).is_dir()]


def run(command: list[str], text: str = "") -> str:
    """What a program of the system prints, given a text on its standard input.

    Raises:
        SynthesisError: If the program fails.
    """
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise SynthesisError(
            f"`{shlex.join(command)}` must succeed. Received: {done.stderr.strip()}"
        )
    return done.stdout
