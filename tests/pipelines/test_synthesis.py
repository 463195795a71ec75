"""Tests of synthetic data sets and of the choice of words that sound alike."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines import audio_files, pronunciation, synthesis
from pipelines.audio_index import speaker_of
from pipelines.synthesis import synthesize

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
FEW = {
    "clips_per_word": 4,
    "unknown_words": ("bed", "cat"),
    "engines": ("espeak",),
    "workers": 1,
}


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def takes(folder: Path) -> list[dict]:
    """How each clip was made."""
    return json.loads((folder / "synthesis.json").read_text())["clips"]


def test_the_folder_looks_like_speech_commands(tmp_path: Path) -> None:
    """What training reads: a folder a word, a second a clip, the voice in the file's name."""
    out = synthesize(("yes", "turn on", "größe"), tmp_path / "out", **FEW)
    files = contents(out)
    folders = Counter(name.split("/")[0] for name in files if "/" in name)
    assert folders == {"yes": 4, "turn on": 4, "größe": 4, "_unknown_": 8, "_silence_": 4}
    assert {*files} == {take["file"] for take in takes(out)} | {"synthesis.json"}
    for take in takes(out):
        samples, sample_rate = soundfile.read(out / take["file"], dtype="int16")
        assert samples.shape == (16000,) and sample_rate == 16000
        assert (np.abs(samples).max() > 1000) or take["file"].startswith("_silence_")
        if take["engine"]:
            variant = take["voice"].partition(".")[2]
            assert speaker_of(Path(take["file"])) == f"espeak.{variant}"


def test_silence_is_spread_over_speakers(tmp_path: Path) -> None:
    """A split by speaker must leave silence in every part."""
    out = synthesize(("yes",), tmp_path / "out", **FEW)
    noises = {speaker_of(Path(take["file"])) for take in takes(out) if not take["engine"]}
    assert len(noises) == FEW["clips_per_word"]


def test_format_rate_and_length_are_choices(tmp_path: Path) -> None:
    """Not every listener hears a second of FLAC at 16 kHz."""
    out = synthesize(
        ("yes",),
        tmp_path / "out",
        **FEW,
        file_format="wav",
        sample_rate=8000,
        clip_seconds=1.5,
        silence=False,
    )
    samples, sample_rate = soundfile.read(next(out.glob("yes/*.wav")))
    assert samples.shape == (12000,) and sample_rate == 8000
    assert not (out / "_silence_").exists()


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path) -> None:
    """The same arguments give the same bytes, however many processes share the work."""
    alone = synthesize(("yes", "no"), tmp_path / "alone", **FEW)
    shared = synthesize(("yes", "no"), tmp_path / "shared", **{**FEW, "workers": 3})
    assert contents(alone) == contents(shared)


def test_seeds_change_everything(tmp_path: Path) -> None:
    """Another seed is another data set."""
    first = synthesize(("yes",), tmp_path / "first", **FEW)
    second = synthesize(("yes",), tmp_path / "second", **FEW, seed=1)
    spoken = [
        {data for name, data in contents(out).items() if name.startswith("yes/")}
        for out in (first, second)
    ]
    assert not spoken[0] & spoken[1]


def test_a_stopped_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk stops the call with the file's name; the next call makes only what is missing."""
    whole = synthesize(("yes", "no"), tmp_path / "whole", **FEW)
    out, write = tmp_path / "out", audio_files.write
    written: list[Path] = []

    def until_full(path: Path, samples: np.ndarray, sample_rate: int) -> None:
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write(path, samples, sample_rate)

    monkeypatch.setattr(audio_files, "write", until_full)
    with pytest.raises(OSError, match=r"No space left on device: '.*\.flac'"):
        synthesize(("yes", "no"), out, **FEW)
    assert len(list(out.rglob("*.flac"))) == 5
    kept = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(audio_files, "write", write)
    reports: list[tuple[int, int]] = []
    synthesize(("yes", "no"), out, **FEW, progress=lambda *report: reports.append(report))
    assert contents(out) == contents(whole)
    assert kept == {path: path.stat().st_mtime_ns for path in written}
    assert reports == [(done, 20) for done in range(1, 21)]


def test_another_data_set_is_not_mixed_in(tmp_path: Path) -> None:
    """Clips of two calls in one folder would be made again by neither."""
    out = synthesize(("yes",), tmp_path / "out", **FEW)
    before = contents(out)
    with pytest.raises(ValueError, match=r"synthesis.json: `out` must be a new folder"):
        synthesize(("yes",), out, **FEW, seed=1)
    assert contents(out) == before


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """A folder that cannot be made is an error at once, with its name."""
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match="out"):
        synthesize(("yes",), tmp_path / "out", **FEW)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"words": ()}, "`words` must be a list of words"),
        ({"words": "yes"}, "`words` must be a list of words"),
        ({"words": ("yes", "Yes")}, r"different from each other.*\['yes'\]"),
        ({"words": ("a/b",)}, "name a folder.*a/b"),
        ({"words": ("_unknown_",)}, "none with a leading `_`"),
        ({"words": ("yes", " ")}, "name a folder"),
        ({"words": ("\N{ZERO WIDTH SPACE}",)}, "`words` must be words that can be said"),
        ({"clips_per_word": 0}, "`clips_per_word` must be a positive integer.*=0"),
        ({"language": "xx"}, "`language` must be one of af, .*language='xx'"),
        ({"language": "es", "unknown_words": None}, "`unknown_words` must be given for es"),
        ({"unknown_words": ("know", "bed")}, "sound unlike the commands.*'know': 'no'"),
        ({"unknown_words": "bed"}, "`unknown_words` must be a list"),
        ({"voices": ("espeak.en-us.nobody",)}, "patterns of voices such as espeak.*nobody"),
        ({"voices": "espeak.*"}, "`voices` must be a list of patterns"),
        ({"engines": "espeak"}, "`engines` must be a list of names"),
        ({"engines": {"espeak": 0}}, "`engines` must be shares above 0"),
        ({"engines": ("siri",)}, "`engines` must be among espeak, .*'siri'"),
        ({"file_format": "mp3"}, "`file_format` must be flac or wav"),
        ({"sample_rate": 10}, "`sample_rate` must be at least 4000 Hz"),
        ({"clip_seconds": 0}, "`clip_seconds` must be positive"),
        ({"clip_seconds": 0.05}, "`clip_seconds` must be long enough for 'no"),
        ({"workers": 0}, "`workers` must be a positive integer"),
    ],
)
def test_wrong_arguments_are_explained(tmp_path: Path, wrong: dict, message: str) -> None:
    """Each says what must be and what was received."""
    with pytest.raises(ValueError, match=message):
        synthesize(**{"words": ("no", "yes"), "out": tmp_path / "out", **FEW, **wrong})


def test_every_voice_says_every_word_equally_often(tmp_path: Path) -> None:
    """A voice that says one word oftener would stand for the word."""
    options = {**FEW, "clips_per_word": 9, "voices": ("espeak.en-us.m?", "espeak.en-gb.f?")}
    out = synthesize(("yes", "no"), tmp_path / "out", **options)
    for word in ("yes", "no"):
        voices = Counter(take["voice"] for take in takes(out) if take["file"].startswith(word))
        assert set(voices.values()) == {1} and len(voices) == 9
        assert all(voice[:-1] in ("en-us.m", "en-gb.f") for voice in voices)
    said = Counter(take["text"].strip("!?.,") for take in takes(out) if "_unknown_" in take["file"])
    assert said == {"bed": 9, "cat": 9}


def test_takes_differ_in_rate_pitch_and_melody(tmp_path: Path) -> None:
    """Variety is the point: no two clips of a voice are the same."""
    options = {**FEW, "clips_per_word": 20, "voices": ("espeak.en-us.m1",)}
    out = synthesize(("yes",), tmp_path / "out", **options)
    said = [take for take in takes(out) if take["file"].startswith("yes")]
    assert len({(out / take["file"]).read_bytes() for take in said}) == 20
    assert len({take["text"] for take in said}) > 3
    rates = [take["rate"] for take in said]
    assert max(rates) > 1.5 * min(rates)


def test_importing_is_light() -> None:
    """The command line imports it before it knows whether it needs TensorFlow."""
    code = "import sys, pipelines.synthesis; print('tensorflow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_distance_is_a_metric_of_sounds() -> None:
    """Words that share features are nearer than words that do not."""
    words = ("no", "know", "mow", "low", "gnome", "yes", "stop", "university")
    no, know, mow, low, _, yes, stop, university = said = pronunciation.sounds(words)
    distance = pronunciation.distance
    assert distance(no, know) == 0 < distance(no, mow) < distance(no, yes) < 1
    assert distance(no, low) < min(distance(no, stop), distance(no, university))
    for first in said:
        assert all(distance(first, other) == distance(other, first) for other in said)


def test_all_sounds_of_english_have_features() -> None:
    """A sound without features would count as unlike every other."""
    heard = set().union(*pronunciation.sounds(pronunciation.ENGLISH))
    assert heard <= {*pronunciation._CONSONANTS, *pronunciation._VOWELS}


def test_near_misses_are_near_and_never_homophones() -> None:
    """`_unknown_` must hold what sounds like a command, and nothing that sounds the same."""
    accents = ("en-us", "en-gb", "en-gb-scotland", "en-us-nyc")
    vocabulary = (*pronunciation.ENGLISH, "know", "write", "wright", "rite", "knows")
    chosen = pronunciation.near_misses(COMMANDS, vocabulary, 80, seed=3, languages=accents)
    assert len(chosen) == len(set(chosen)) == 80
    assert not {"know", "write", "wright", "rite", *COMMANDS} & {*chosen}
    commands = pronunciation.sounds(COMMANDS)
    nearest = [
        min(pronunciation.distance(sound, command) for command in commands)
        for sound in pronunciation.sounds(chosen)
    ]
    assert np.mean(nearest[:40]) < 0.6 * np.mean(nearest[40:])
    assert {"low", "gown", "yet"} <= {*chosen[:40]}
    assert chosen != pronunciation.near_misses(COMMANDS, vocabulary, 80, 4, accents)


def test_a_homophone_in_one_accent_is_one_too_many() -> None:
    """Accents merge words: what is `_unknown_` in one voice is the command in another."""
    accents = ("en-us", "en-gb", "en-gb-scotland")
    merged = pronunciation.homophones(("cot",), ("caught", "cat"), accents)
    assert merged == pronunciation.homophones(("cot",), ("caught",), accents)
    chosen = pronunciation.near_misses(("no",), ("know", "No", "dog"), 3, languages=accents)
    assert chosen == ["dog"]
    with pytest.raises(ValueError, match="`vocabulary` must be words that sound unlike"):
        pronunciation.near_misses(("no",), ("know",), 3)


def test_spellings_change_the_melody_and_not_the_word() -> None:
    """A spelling that is read as something else would be a wrong label."""
    assert pronunciation.spellings("yes") == ["yes", "yes.", "yes!", "yes?", "yes,"]
    for word in COMMANDS:
        ways = pronunciation.spellings(word)
        assert len({*pronunciation.sounds(ways)}) == 1 < len(ways)


def test_the_vocabulary_has_the_words_of_speech_commands() -> None:
    """Those are what a model for it will meet as unknown."""
    theirs = "bed bird cat dog happy house marvin sheila tree wow backward forward follow learn"
    assert {*theirs.split(), "visual", "zero", "nine"} <= {*pronunciation.ENGLISH}
    assert len({*pronunciation.ENGLISH}) == len(pronunciation.ENGLISH) > 500


def test_other_languages_speak(tmp_path: Path) -> None:
    """Any words in any of espeak-ng's languages, each accent with its own voices."""
    out = synthesize(("sí", "no"), tmp_path / "out", **{**FEW, "unknown_words": ()}, language="es")
    assert {take["voice"].split(".")[0] for take in takes(out) if take["engine"]} <= {
        "es",
        "es-419",
    }
    assert not (out / "_unknown_").exists()


def test_a_worker_that_ends_early_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without a main guard fails so; its message must say what to do."""

    class Broken:
        def __init__(self, *_: object, **__: object) -> None:
            raise synthesis.BrokenProcessPool("ended")

    monkeypatch.setattr(synthesis, "ProcessPoolExecutor", Broken)
    with pytest.raises(RuntimeError, match="__main__.*workers=1"):
        list(synthesis._spread(print, [], 2))
