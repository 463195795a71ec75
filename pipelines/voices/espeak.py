"""espeak-ng, whole in the wheel `espeakng-loader`: many voices, each in many languages."""

from __future__ import annotations

import _ctypes
import ctypes
import importlib.util
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from pipelines.base import require
from pipelines.voices.base import family

_SYNCHRONOUS = 2  # far faster than the mode in which a thread hands the sound over
_UTF8, _IPA = 1, 2
_NOISE_SEED = 1  # of breath and roughness
_RATE, _PITCH = 1, 3
_SLOWEST, _FASTEST = 80, 450
# Left out by ear and by measure: whispers, robots, echoes longer than a word, copies of others,
# and two whose sound depends on uninitialised memory.
_UNNATURAL = """
AnxiousAndy Demonic Reed RicishayMax RicishayMax2 RicishayMax3 UniRobot anikaRobot announcer
caleb croak robosoft robosoft2 robosoft3 robosoft4 robosoft5 robosoft6 robosoft7 robosoft8
steph2 steph3 whisper whisperf
"""
_LEFT_OUT = frozenset({"en-shaw", "fo", "kaa", "xex"})  # no accent; no dictionary in the wheel
_unload = getattr(_ctypes, "FreeLibrary" if os.name == "nt" else "dlclose")
_LOCK = threading.Lock()
_ON_SOUND = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class _Voice(ctypes.Structure):
    """A row of the library's list of voices."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


class Espeak:
    """Formant synthesis in every accent of a language and every voice variant."""

    name = "espeak"
    install = "pip install espeakng-loader"

    def available(self) -> bool:
        """Whether the wheel is installed."""
        return importlib.util.find_spec("espeakng_loader") is not None

    def languages(self) -> list[str]:
        """All languages and accents of espeak-ng."""
        return sorted(_languages())

    def voices(self, language: str) -> list[str]:
        """Every accent of the language in every variant: "en-us.f3"."""
        accents = [tag for tag in _languages() if family(tag) == family(language)]
        return [f"{accent}.{variant}" for accent in accents for variant in _variants()]

    def speaker(self, voice: str) -> str:
        """The variant, whatever its accent."""
        return voice.partition(".")[2]

    def synthesize(
        self, text: str, voice: str, rate: float, pitch: float
    ) -> tuple[np.ndarray, int]:
        """Speaks a text; see `Engine`. The same arguments give the same samples, always."""
        accent, variant = voice.split(".")
        file = f"{_languages()[accent]}+{_variants()[variant]}"
        chunks: list[np.ndarray] = []

        @_ON_SOUND
        def keep(samples, count: int, _) -> int:  # type: ignore[no-untyped-def]
            if samples and count > 0:
                chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        encoded = text.encode()
        with _library() as (library, sample_rate):
            library.espeak_SetSynthCallback(keep)
            _choose(library, file)
            library.espeak_SetParameter(_RATE, round(min(max(rate, _SLOWEST), _FASTEST)), 0)
            library.espeak_SetParameter(_PITCH, round(min(max(pitch, 0), 99)), 0)
            library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
            library.espeak_Synchronize()
        samples = np.concatenate([np.zeros(0, np.int16), *chunks])
        return samples.astype(np.float32) / 32768, sample_rate


def phonemes(texts: Sequence[str], language: str) -> list[list[str]]:
    """How texts are said.

    Args:
        texts: What to say.
        language: One of `Espeak().languages()`; another accent of one is said as the plain one.

    Returns:
        For each text its phonemes in the International Phonetic Alphabet, stress marks included.

    Raises:
        ValueError: If espeak-ng does not know the language.
    """
    known = _languages()
    wanted = language.lower() if language.lower() in known else family(language)
    require(
        wanted in map(family, known) or wanted in known,
        "language",
        f"one of {', '.join(sorted(known))}",
        language,
    )
    with _library() as (library, _):
        _choose(library, known.get(wanted, wanted))
        return [list(_spell(library, text)) for text in texts]


def _spell(library: ctypes.CDLL, text: str) -> Iterator[str]:
    """The phonemes of one text, clause by clause as the library returns them."""
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    rest = ctypes.c_char_p(text.encode())
    while rest.value is not None:
        clause = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA | ord("_") << 8)
        yield from (phoneme for word in clause.decode().split() for phoneme in word.split("_"))


@contextmanager
def _library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Loads espeak-ng afresh, for one caller at a time.

    What the library said last colours what it says next, by state that no call of its own
    resets; only unloading it does.
    """
    import espeakng_loader

    with _LOCK:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            data = espeakng_loader.get_data_path().encode()
            sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
            library.espeak_ng_SetRandSeed(ctypes.c_long(_NOISE_SEED))
            yield library, sample_rate
        finally:
            library.espeak_Terminate()
            _unload(library._handle)


def _choose(library: ctypes.CDLL, voice: str) -> None:
    """Sets the voice; the library would keep its last one where it does not know this one."""
    if library.espeak_SetVoiceByName(voice.encode()):
        raise ValueError(f"espeak-ng must know the voice {voice!r} and does not.")


@cache
def _languages() -> dict[str, str]:
    """The file of each language; by their own tags some cannot be chosen."""
    with _library() as (library, _):
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        rows = library.espeak_ListVoices(None)
        found = {}
        for row in iter(_Rows(rows)):
            tag = row.languages[1:].decode().lower()  # the first byte is a priority
            if tag not in _LEFT_OUT:
                found[tag] = row.identifier.decode()
    return found


class _Rows:
    """The rows of a list that a null pointer ends."""

    def __init__(self, rows) -> None:  # type: ignore[no-untyped-def]
        self.rows = rows

    def __iter__(self) -> Iterator[_Voice]:
        for row in self.rows:
            if not row:
                return
            yield row.contents


@cache
def _variants() -> dict[str, str]:
    """The file of each variant by a name that is safe on every file system."""
    import espeakng_loader

    folder = Path(espeakng_loader.get_data_path(), "voices", "!v")
    names = sorted(path.name for path in folder.iterdir() if path.name not in _UNNATURAL.split())
    return {name.lower().replace(" ", "_"): name for name in names}
