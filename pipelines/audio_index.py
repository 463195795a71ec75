"""Which recordings there are, what each is labelled, who speaks, and which split hears it."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import audio_files
from pipelines.audio_spec import AudioSpec
from pipelines.base import SPLITS, BadInputs, which_split

SILENCE, UNKNOWN, NOISE = "_silence_", "_unknown_", "_background_noise_"
_LISTS = {"validation_list.txt": "validation", "testing_list.txt": "test"}
_SILENCE_SECONDS = 1.0  # where clips have no window of their own


@dataclass(frozen=True)
class Clip:
    """A labelled recording, or a window of one.

    Args:
        path: The file.
        label: Its class.
        speaker: Whose voice it is; no two splits share a speaker.
        split: "train", "validation" or "test".
        start: Where the clip begins in the file, in seconds.
        seconds: How long it is, in seconds; None for the rest of the file.
    """

    path: str
    label: str
    speaker: str
    split: str
    start: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True)
class Index:
    """All clips of some data.

    Args:
        labels: The classes, in the order of their numbers.
        clips: The clips: of each folder sorted by path, then silence cut from noise.
        noise: Background noise for training, as (path, seconds from its start).
    """

    labels: tuple[str, ...]
    clips: list[Clip]
    noise: list[tuple[str, float]]


def index(
    data: str,
    spec: AudioSpec,
    bad: BadInputs,
    *,
    seed: int = 0,
    labels: Sequence[str] = (),
    test_only: bool = False,
) -> Index:
    """Lists, labels and splits the recordings of one or more folders `DATA/word/*.wav`.

    Splits come from `validation_list.txt` and `testing_list.txt` where a folder has them, else
    from the hash of the speaker as the Speech Commands data set defines it (Warden 2018,
    arXiv:1804.03209).

    Args:
        data: A folder, or several with commas between.
        spec: The pipeline's settings.
        bad: Takes what cannot be used.
        seed: Draws the clips of `_unknown_` and the cuts of `_silence_`.
        labels: The classes of an earlier fit, to which the data must keep; () finds them.
        test_only: Puts all clips into the test split.

    Returns:
        Clips, labels and noises.

    Raises:
        FileNotFoundError: If a folder is absent.
        ValueError: If there are no clips, a single class, or a word without clips.
    """
    clips, noise = [], []
    for folder in _folders(data):
        scanned = _scan(folder)
        noise += [str(folder / path) for path in scanned.pop(NOISE, [])]
        clips += list(_split(folder, scanned, spec, bad, test_only))
    return assemble(data, clips, noise, spec, bad, seed=seed, labels=labels, test_only=test_only)


def assemble(
    data: str,
    clips: list[Clip],
    noise: list[str],
    spec: AudioSpec,
    bad: BadInputs,
    *,
    seed: int = 0,
    labels: Sequence[str] = (),
    test_only: bool = False,
) -> Index:
    """Turns clips labelled by their folders into the index that `spec` asks for.

    Args:
        data: What an error calls the data.
        clips: All clips there are.
        noise: Files of background noise.
        spec: The pipeline's settings.
        bad: Takes what cannot be used.
        seed: As in `index`.
        labels: As in `index`.
        test_only: As in `index`.

    Returns:
        Clips, labels and noises.

    Raises:
        ValueError: If there is a single class, or a word without clips.
    """
    words = [w for w in labels if w not in (SILENCE, UNKNOWN)] if labels else spec.words
    if not labels:
        _check_words({clip.label for clip in clips}, words, data)
    if words is not None and (not labels or UNKNOWN in labels):
        clips = _fill_unknown(clips, words, spec.unknown_ratio, seed)
    seconds = _durations(noise, bad)
    if not any(clip.label == SILENCE for clip in clips) and (not labels or SILENCE in labels):
        clips = clips + _silence(clips, seconds, spec, seed, test_only)
    if labels:
        clips = list(_keep_known(clips, labels, bad))
    classes = tuple(labels) or _order(clips, words)
    if len(classes) < 2:
        raise ValueError(
            f"{data}: there must be at least two classes. Received: "
            f"{', '.join(classes)}. Add a folder for each further class."
        )
    heard = [(path, length * _training_share(spec)) for path, length in seconds.items()]
    return Index(classes, clips, heard)


def speaker_of(path: Path) -> str:
    """Whose voice a file `word/[speaker/]name` holds.

    The part of the name before `_nohash_` tells, less anything in front of an eight-digit
    hexadecimal id; else the folder below the word's; else the file is a speaker of its own.
    """
    name, marked, _ = path.name.partition("_nohash_")
    if marked:
        known = re.search(r"(?:^|_)([0-9a-f]{8})$", name)
        return known[1] if known else name
    return path.parts[1] if len(path.parts) > 2 else path.name


def _folders(data: str) -> list[Path]:
    names = [data] if Path(data).expanduser().exists() else data.split(",")
    folders = [Path(name.strip()).expanduser() for name in names]
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"`data` must be a folder of `word/*.wav`. Received: {folder}, which "
                + ("is a file." if folder.exists() else "does not exist.")
            )
    return folders


def _scan(folder: Path) -> dict[str, list[Path]]:
    """The recordings below each word's folder, as paths relative to `folder`."""
    words: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/**/*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix.lower() in audio_files.SUFFIXES and not hidden:
            # One spelling for letters that some systems write in two parts.
            word = unicodedata.normalize("NFC", relative.parts[0])
            words.setdefault(word, []).append(relative)
    if not words:
        raise ValueError(
            f"{folder}: the folder must hold recordings as `word/*.wav`, .flac or "
            ".ogg. Received: none."
        )
    return words


def _read_lists(folder: Path, scanned: dict[str, list[Path]], bad: BadInputs) -> dict[Path, str]:
    """The splits that `validation_list.txt` and `testing_list.txt` name."""
    known = {path for paths in scanned.values() for path in paths}
    listed: dict[Path, str] = {}
    for name, split in _LISTS.items():
        if not (folder / name).exists():
            continue
        lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            path = Path(line.strip())
            if path in known:
                listed[path] = split
            elif line.strip() and path.parts[0] not in scanned:
                bad.add(
                    f"{folder / name}:{number}",
                    f"the word must be one of "
                    f"{', '.join(sorted(scanned))}. Received: {line.strip()!r}.",
                )
            elif line.strip():
                bad.add(
                    f"{folder / name}:{number}",
                    f"the file must exist in {folder}. Received: {line.strip()!r}.",
                )
    return listed


def _split(
    folder: Path,
    scanned: dict[str, list[Path]],
    spec: AudioSpec,
    bad: BadInputs,
    test_only: bool,
) -> Iterator[Clip]:
    """The clips of one folder; the hash fills the splits that no list names."""
    listed = {} if test_only else _read_lists(folder, scanned, bad)
    named = {split for name, split in _LISTS.items() if (folder / name).exists()}
    validation = 0.0 if "validation" in named else spec.validation_percent
    testing = 0.0 if "test" in named else spec.testing_percent
    for word, paths in scanned.items():
        for path in paths:
            speaker = speaker_of(path)
            hashed = (
                "test" if test_only else which_split(spec.split_salt + speaker, validation, testing)
            )
            yield Clip(str(folder / path), word, speaker, listed.get(path, hashed))


def _check_words(folders: set[str], words: Sequence[str] | None, data: str) -> None:
    absent = [word for word in words or () if word not in folders]
    if absent:
        raise ValueError(
            f"{data}: every entry of `words` must have a folder with recordings. "
            f"Received: {', '.join(absent)}. Folders: {', '.join(sorted(folders))}"
        )


def _fill_unknown(clips: list[Clip], words: Sequence[str], ratio: float, seed: int) -> list[Clip]:
    """Draws clips of the words that were not asked for, as `_unknown_`, up to `ratio`."""
    asked = {*words, SILENCE, UNKNOWN}
    kept = [clip for clip in clips if clip.label in asked]
    for split in SPLITS:
        pool = [clip for clip in clips if clip.label not in asked and clip.split == split]
        already = sum(clip.label == UNKNOWN and clip.split == split for clip in kept)
        wanted = max(0, round(ratio * _average(kept, split)) - already)
        drawn = random.Random(f"{seed} {split}").sample(range(len(pool)), min(len(pool), wanted))
        kept += [replace(pool[i], label=UNKNOWN) for i in sorted(drawn)]
    return kept


def _silence(
    clips: list[Clip], seconds: dict[str, float], spec: AudioSpec, seed: int, test_only: bool
) -> list[Clip]:
    """Cuts clips from noise: each split from a stretch of every file that is its alone."""
    train = 0.0 if test_only else _training_share(spec)
    validation = 0.0 if test_only else spec.validation_percent / 100
    edges = (0.0, train, train + validation, 1.0)
    window = spec.clip_seconds or _SILENCE_SECONDS
    cuts = []
    for split, low, high in zip(SPLITS, edges[:-1], edges[1:], strict=True):
        fitting = [path for path in seconds if (high - low) * seconds[path] >= window]
        draw = random.Random(f"{seed} {split}")
        for _ in range(round(spec.silence_ratio * _average(clips, split)) if fitting else 0):
            path = draw.choice(fitting)
            start = draw.uniform(low * seconds[path], high * seconds[path] - window)
            cuts.append(Clip(path, SILENCE, f"{NOISE} {split}", split, start, window))
    return cuts


def _durations(noise: list[str], bad: BadInputs) -> dict[str, float]:
    """Seconds in each file of noise."""
    seconds = {}
    for path in noise:
        try:
            seconds[path] = audio_files.duration(path)
        except audio_files.BadAudio as error:
            bad.add(path, error.reason)
    return seconds


def _training_share(spec: AudioSpec) -> float:
    """The share of a noise file, from its start, that training hears."""
    return 1 - (spec.validation_percent + spec.testing_percent) / 100


def _average(clips: list[Clip], split: str) -> float:
    """The average number of clips of a word in a split."""
    counts = Counter(c.label for c in clips if c.split == split)
    words = [n for label, n in counts.items() if label not in (SILENCE, UNKNOWN)]
    return sum(words) / len(words) if words else 0.0


def _keep_known(clips: list[Clip], labels: Sequence[str], bad: BadInputs) -> Iterator[Clip]:
    for clip in clips:
        if clip.label in labels:
            yield clip
        else:
            bad.add(
                clip.path, f"the label must be one of {', '.join(labels)}. Received: {clip.label}."
            )


def _order(clips: list[Clip], words: Sequence[str] | None) -> tuple[str, ...]:
    """`_silence_`, `_unknown_`, then the words as given, or sorted."""
    found = {clip.label for clip in clips}
    first = [label for label in (SILENCE, UNKNOWN) if label in found]
    return (*first, *(sorted(found - {SILENCE, UNKNOWN}) if words is None else words))
