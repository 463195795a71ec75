"""Speech engines: espeak-ng, which comes with the project, and those that happen to be there."""

from __future__ import annotations

from pipelines.voices.base import NORMAL_PITCH, NORMAL_RATE, Engine, family
from pipelines.voices.espeak import Espeak
from pipelines.voices.festival import Festival
from pipelines.voices.flite import Flite
from pipelines.voices.kokoro import Kokoro
from pipelines.voices.pico import Pico
from pipelines.voices.piper import Piper

ENGINES: dict[str, Engine] = {
    "espeak": Espeak(),
    "pico": Pico(),
    "piper": Piper(),
    "kokoro": Kokoro(),
    "flite": Flite(),
    "festival": Festival(),
}

__all__ = ["ENGINES", "NORMAL_PITCH", "NORMAL_RATE", "Engine", "family", "find"]


def find(names: tuple[str, ...] | None = None) -> dict[str, Engine]:
    """Looks engines up.

    Args:
        names: Keys of `ENGINES`; None for all that are installed.

    Returns:
        The engines by name.

    Raises:
        ValueError: If a name is unknown, or its engine is not installed.
    """
    if names is None:
        return {name: engine for name, engine in ENGINES.items() if engine.available()}
    for name in names:
        if name not in ENGINES:
            raise ValueError(f"`engines` must be among {', '.join(ENGINES)}. Received: {name!r}")
        if not ENGINES[name].available():
            raise ValueError(
                f"`engines` must be installed. Received: {name!r}, which is not: "
                f"{ENGINES[name].install}"
            )
    return {name: ENGINES[name] for name in names}
