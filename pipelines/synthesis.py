"""Spoken commands without a microphone: any words, in every voice at hand, as a data set."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from pipelines import pronunciation
from pipelines.base import Progress, require
from pipelines.voices import ENGINES, family
from pipelines.voices.base import SynthesisError
from pipelines.voices.casting import Cast, cast, deal, name_of, speaker_of, take_turns

SILENCE, UNKNOWN = "_silence_", "_unknown_"
MANIFEST = "synthesis.json"
_RATES = (95.0, 215.0)  # words a minute; words said alone are said slowly
_PITCHES = (30.0, 70.0)  # a little more than half an octave each way
_UNKNOWN_WORDS_PER_COMMAND, _FEWEST_UNKNOWN_WORDS = 20, 100
_WORTH_A_WORKER = 200  # clips, for which it pays to start another process
_CHUNK = 8  # clips that a worker fetches at a time


@dataclass(frozen=True)
class Take:
    """One file of the data set, and all that is needed to make it again.

    Piper and Kokoro draw noise of their own: they say it again a little differently.

    Args:
        file: Its path below the folder.
        engine: A key of `ENGINES`; empty for silence.
        voice: One of the engine's voices.
        text: What is said.
        rate: Words a minute.
        pitch: 50 is the voice's own.
        seed: Draws its place and level in the clip.
    """

    file: str
    engine: str
    voice: str
    text: str
    rate: float
    pitch: float
    seed: int


def synthesize(
    words: Sequence[str],
    out: str | Path,
    *,
    clips_per_word: int,
    unknown_words: Sequence[str] | None = None,
    silence: bool = True,
    language: str = "en-us",
    engines: Sequence[str] | Mapping[str, float] | None = None,
    voices: Sequence[str] | None = None,
    sample_rate: int = 16000,
    clip_seconds: float = 1.0,
    seed: int = 0,
    file_format: str = "flac",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Writes a folder of spoken words, laid out like Speech Commands.

    `OUT/WORD/SPEAKER_nohash_VOICE_K.flac` for each word, `OUT/_unknown_/` with twice as many clips
    of other words, `OUT/_silence_/` without speech, and `OUT/synthesis.json`, which says how each
    clip was made. All that a speaker says, in any accent, falls into one split of the data. Every
    voice says every word about equally often, each time at another speed, pitch and melody. A
    call that was stopped goes on where it was when it is made again. With more than one worker, a
    script must call it below `if __name__ == "__main__":`.

    Args:
        words: The commands; each names a folder.
        out: The folder to make.
        clips_per_word: How many clips of each word.
        unknown_words: What `_unknown_` says; None chooses English words that sound like the
            commands and as many that do not, () leaves `_unknown_` out.
        silence: Whether to make `_silence_`, as many clips as of a word.
        language: One of espeak-ng's; engines speak it in all accents that they have.
        engines: Keys of `ENGINES`; None for all that are installed. A mapping gives each its
            share of the clips; otherwise all voices have the same share.
        voices: Only these, as patterns such as "espeak.en-gb*.f?" or "kokoro.*"; None for all.
        sample_rate: Samples a second, in hertz.
        clip_seconds: How long each clip is, in seconds.
        seed: Another seed makes other clips.
        file_format: "flac" or "wav".
        workers: Processes to use; None for one a core.
        progress: Called with how many clips are done and how many there are.

    Returns:
        `out`.

    Raises:
        ValueError: If an argument is wrong, a word yields no sound, or `out` holds a data set
            that was made with other arguments.
        OSError: If a file cannot be written, on a full disk for one. The message names it.
        SynthesisError: If a worker process ends early.
    """
    _check(words, clips_per_word, sample_rate, clip_seconds, file_format, workers)
    speakers = cast(language, engines, voices)
    sounds = dict(zip(words, pronunciation.sounds(words, language), strict=True))
    mute = [word for word, sound in sounds.items() if not sound]
    require(not mute, "words", "words that can be said", mute)
    others = _unknown(words, unknown_words, language, _accents(language, speakers), seed)
    plan = [
        clip
        for label, texts, count in (
            *((word, [word], clips_per_word) for word in words),
            (UNKNOWN, others, 2 * clips_per_word if others else 0),
            (SILENCE, [], clips_per_word if silence else 0),
        )
        for clip in _plan(label, texts, count, speakers, language, seed, file_format)
    ]
    out = Path(out)
    _prepare(out, plan, {"sample_rate": sample_rate, "clip_seconds": clip_seconds})
    make = partial(_make, out=out, sample_rate=sample_rate, clip_seconds=clip_seconds)
    workers = workers or min(os.cpu_count() or 1, 1 + len(plan) // _WORTH_A_WORKER)
    _run(make, plan, workers, progress)
    return out


def _check(
    words: Sequence[str],
    clips_per_word: int,
    sample_rate: int,
    clip_seconds: float,
    file_format: str,
    workers: int | None,
) -> None:
    """Refuses arguments that cannot work, before anything is written."""
    require(not isinstance(words, str) and len(words) > 0, "words", "a list of words", words)
    for word in words:
        named = word.strip() == word and word and word[0] not in "._" and word[-1] != "."
        require(
            bool(named) and not set(word) & set('/\\:*?"<>|\n\t\0'),
            "words",
            "words that can name a folder, none with a leading `_` or `.`",
            word,
        )
    twice = [word for word, n in Counter(map(str.casefold, words)).items() if n > 1]
    require(not twice, "words", "different from each other", twice)
    require(
        isinstance(clips_per_word, int) and clips_per_word > 0,
        "clips_per_word",
        "a positive integer",
        clips_per_word,
    )
    require(sample_rate >= 4000, "sample_rate", "at least 4000 Hz", sample_rate)
    require(clip_seconds > 0, "clip_seconds", "positive", clip_seconds)
    require(file_format in ("flac", "wav"), "file_format", "flac or wav", file_format)
    require(workers is None or workers > 0, "workers", "a positive integer", workers)


def _accents(language: str, group: Cast) -> list[str]:
    """The language and the accents of it in which espeak-ng will speak."""
    spoken = {
        voice.split(".")[0] for _, voices in group for engine, voice in voices if engine == "espeak"
    }
    return [language, *sorted(spoken - {language})]


def _unknown(
    words: Sequence[str], given: Sequence[str] | None, language: str, accents: list[str], seed: int
) -> list[str]:
    """The words of `_unknown_`."""
    require(not isinstance(given, str), "unknown_words", "a list of words", given)
    if given is None:
        require(
            family(language) == "en",
            "unknown_words",
            f"given for {language}, as the words that come with the project are English; "
            "() leaves `_unknown_` out",
            given,
        )
        count = max(_FEWEST_UNKNOWN_WORDS, _UNKNOWN_WORDS_PER_COMMAND * len(words))
        return pronunciation.near_misses(words, count=count, seed=seed, languages=accents)
    same = pronunciation.homophones(words, given, [language]) if given else {}
    require(not same, "unknown_words", "words that sound unlike the commands", same)
    return list(given)


def _plan(
    label: str,
    texts: list[str],
    count: int,
    group: Cast,
    language: str,
    seed: int,
    file_format: str,
) -> Iterator[Take]:
    """The clips of one folder, all drawn before the first is made."""
    draws = random.Random(f"{seed}/{label}")
    said = take_turns(texts, count, draws) if texts else [""] * count
    voices = deal(group, count, draws) if texts else [("", f"noise{k}") for k in range(count)]
    ways = {text: pronunciation.spellings(text, language) for text in texts} | {"": [""]}
    seen: Counter[str] = Counter()
    for text, voice in zip(said, voices, strict=True):
        name = name_of(voice).lstrip(".")
        digest = hashlib.sha256(f"{seed}/{label}/{name}/{seen[name]}".encode()).digest()
        file = f"{name}_nohash_{seen[name]}"
        if texts:
            file = f"{speaker_of(voice)}_nohash_{voice[1]}_{seen[name]}"
        yield Take(
            f"{label}/{file}.{file_format}",
            *voice,
            draws.choice(ways[text]),
            round(draws.uniform(*_RATES), 1),
            round(draws.uniform(*_PITCHES), 1),
            int.from_bytes(digest[:4], "big"),
        )
        seen[name] += 1


def _prepare(out: Path, plan: list[Take], audio: dict[str, Any]) -> None:
    """Makes the folders and says how the clips will be made, or finds it said the same."""
    manifest = out / MANIFEST
    said = json.dumps({**audio, "clips": [asdict(clip) for clip in plan]}, indent=1) + "\n"
    if manifest.exists() and manifest.read_text(encoding="utf-8") != said:
        raise ValueError(
            f"{manifest}: `out` must be a new folder, or one made with the same arguments. "
            "Received: a data set that was made with others. Name another folder or remove it."
        )
    for folder in {(out / clip.file).parent for clip in plan}:
        folder.mkdir(parents=True, exist_ok=True)
    partial_file = manifest.with_suffix(".partial")
    try:
        partial_file.write_text(said, encoding="utf-8")
        partial_file.replace(manifest)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(manifest)) from error


def _run(
    make: Callable[[Take], None], plan: list[Take], workers: int, progress: Progress | None
) -> None:
    """Makes all clips; those first that would show that a word cannot be said."""
    turns = Counter[str]()
    order = []
    for clip in plan:
        folder = clip.file.rpartition("/")[0]
        order.append((turns[folder], clip))
        turns[folder] += 1
    clips = [clip for _, clip in sorted(order, key=itemgetter(0))]
    for done, _ in enumerate(_spread(make, clips, workers), 1):
        if progress:
            progress(done, len(clips))


def _spread(make: Callable[[Take], None], clips: list[Take], workers: int) -> Iterator[None]:
    """Makes clips in some processes, in order."""
    if workers == 1:
        yield from map(make, clips)
        return
    # A forked copy of a process that runs TensorFlow may hang; a spawned one cannot.
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            yield from pool.map(make, clips, chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise SynthesisError(
            "A worker ended before its work was done. A script must call `synthesize` below "
            '`if __name__ == "__main__":`; otherwise try workers=1.'
        ) from error


def _make(clip: Take, out: Path, sample_rate: int, clip_seconds: float) -> None:
    """Makes one file, unless it is there."""
    from pipelines import audio_files
    from pipelines.voices import clips
    from pipelines.voices.silence import silence

    path = out / clip.file
    if path.exists():
        return
    if clip.engine:
        samples = clips.speak(
            ENGINES[clip.engine],
            clip.voice,
            clip.text,
            clip.rate,
            clip.pitch,
            sample_rate=sample_rate,
            clip_seconds=clip_seconds,
            seed=clip.seed,
        )
    else:
        samples = silence(round(clip_seconds * sample_rate), sample_rate, clip.seed)
    audio_files.write(path, samples, sample_rate)
