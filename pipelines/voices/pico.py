"""SVOX Pico: one voice a language, in six languages, with true pitch and speed."""

from __future__ import annotations

import importlib.util

import numpy as np

from pipelines.voices.base import NORMAL_RATE, family, frequency

_TAGS = {tag.lower(): tag for tag in ("de-DE", "en-GB", "en-US", "es-ES", "fr-FR", "it-IT")}
_SAMPLE_RATE = 16000


class Pico:
    """Unit selection and parametric smoothing; small, clear, fast."""

    name = "pico"
    install = "pip install ttspico"

    def available(self) -> bool:
        """Whether the package is installed."""
        return importlib.util.find_spec("ttspico") is not None

    def languages(self) -> list[str]:
        """German, English, Spanish, French and Italian."""
        return list(_TAGS)

    def voices(self, language: str) -> list[str]:
        """The voices of the language, each named by its accent."""
        return [tag for tag in _TAGS if family(tag) == family(language)]

    def speaker(self, voice: str) -> str:
        """Each voice is one person's."""
        return voice

    def synthesize(
        self, text: str, voice: str, rate: float, pitch: float
    ) -> tuple[np.ndarray, int]:
        """Speaks a text; see `Engine`."""
        import ttspico

        engine = ttspico.TtsEngine(_TAGS[voice])  # a used one says the same thing differently
        engine.rate = round(min(max(100 * rate / NORMAL_RATE, 20), 500))
        engine.pitch = round(min(max(100 * frequency(pitch), 50), 200))
        samples = np.frombuffer(engine.speak(text) or b"", np.int16)
        return samples.astype(np.float32) / 32768, _SAMPLE_RATE
