"""Who speaks: the voices that a data set may use, and how they take turns."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from pipelines.base import require
from pipelines.voices import ENGINES, find

Voice = tuple[str, str]
"""An engine and one of its voices."""
Cast = list[tuple[float, list[Voice]]]
"""Groups of voices, each with its share of the clips."""
T = TypeVar("T")


def cast(
    language: str,
    engines: Sequence[str] | Mapping[str, float] | None = None,
    patterns: Sequence[str] | None = None,
) -> Cast:
    """Gathers everyone who may speak.

    Args:
        language: What they speak.
        engines: Keys of `ENGINES`, or the share of each; None for all that are installed.
        patterns: Only voices whose name matches one of these; None for all.

    Returns:
        One group for each share, or a single one.

    Raises:
        ValueError: If an engine, the language or a pattern is known to none.
    """
    require(not isinstance(engines, str), "engines", "a list of names", engines)
    require(not isinstance(patterns, str), "voices", "a list of patterns", patterns)
    found = find(None if engines is None else tuple(engines))
    require(bool(found), "engines", "installed: pip install espeakng-loader", engines)
    everyone = {
        name: [(name, voice) for voice in engine.voices(language)] for name, engine in found.items()
    }
    known = sorted({tag for engine in found.values() for tag in engine.languages()})
    require(any(everyone.values()), "language", f"one of {', '.join(known)}", language)
    if patterns is not None:
        everyone = _matching(everyone, patterns)
    if not isinstance(engines, Mapping):
        return [(1.0, [voice for group in everyone.values() for voice in group])]
    for name, share in engines.items():
        require(
            share > 0 and bool(everyone[name]),
            "engines",
            f"shares above 0 of engines with voices for {language}",
            {name: share},
        )
    return [(engines[name] / sum(engines.values()), group) for name, group in everyone.items()]


def name_of(voice: Voice) -> str:
    """The name by which patterns call a voice: "espeak.en-us.f3"."""
    return ".".join(voice)


def speaker_of(voice: Voice) -> str:
    """Who speaks with that voice: "espeak.f3" in any accent."""
    engine, name = voice
    return f"{engine}.{ENGINES[engine].speaker(name)}"


def deal(group: Cast, count: int, draws: random.Random) -> list[Voice]:
    """Who says each of `count` clips: every group its share, every voice of it equally often."""
    dealt: list[Voice] = []
    reached = 0.0
    for share, voices in group:
        reached += share
        dealt += take_turns(voices, round(reached * count) - len(dealt), draws)
    draws.shuffle(dealt)
    return dealt


def take_turns(items: Sequence[T], count: int, draws: random.Random) -> list[T]:
    """`count` items in random order, none more than once oftener than another."""
    rounds = range(-(-count // len(items)))
    return [item for _ in rounds for item in draws.sample(items, len(items))][:count]


def _matching(everyone: dict[str, list[Voice]], patterns: Sequence[str]) -> dict[str, list[Voice]]:
    names = [name_of(voice) for group in everyone.values() for voice in group]
    for pattern in patterns:
        require(
            any(fnmatchcase(name, pattern) for name in names),
            "voices",
            f"patterns of voices such as {', '.join(names[:: len(names) // 8 + 1])}",
            pattern,
        )
    return {
        name: [
            voice
            for voice in group
            if any(fnmatchcase(name_of(voice), pattern) for pattern in patterns)
        ]
        for name, group in everyone.items()
    }
