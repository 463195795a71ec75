"""Tests of the speech engines, of what makes clips of their speech, and of silence."""

from __future__ import annotations

import json
import os
import random
import stat
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.voices import ENGINES, casting, clips, find, flite, kokoro, piper
from pipelines.voices.base import family, frequency, stature
from pipelines.voices.espeak import Espeak, phonemes
from pipelines.voices.silence import KINDS, silence

ESPEAK = Espeak()
# A program that stands in for `flite`: it lists voices, or writes as many samples as it is asked
# to stretch a hundredth of a second.
FLITE = f"""#!{sys.executable}
import sys, numpy, soundfile
if sys.argv[1] == "-lv":
    print("Voices available: kal awb_time slt")
else:
    stretch = float(sys.argv[sys.argv.index("--setf") + 1].partition("=")[2])
    out = sys.argv[sys.argv.index("-o") + 1]
    soundfile.write(out, numpy.full(round(160 * stretch), 0.5), 16000)
"""


def speak(voice: str = "en-us.f3", text: str = "yes", rate: float = 175, pitch: float = 50):
    """What espeak-ng says, and its sample rate."""
    return ESPEAK.synthesize(text, voice, rate, pitch)


@pytest.mark.parametrize("name", [name for name, engine in ENGINES.items() if engine.available()])
def test_an_installed_engine_keeps_the_contract(name: str) -> None:
    """Whatever engine a machine has, synthesis can use: it lists voices, and they speak."""
    engine = ENGINES[name]
    assert engine.name == name
    language = engine.languages()[0]
    samples, sample_rate = engine.synthesize("yes", engine.voices(language)[0], 175, 50)
    assert samples.dtype == np.float32 and samples.ndim == 1 and sample_rate > 4000
    assert 0.1 < np.abs(samples).max() <= 1
    assert 0.1 < len(samples) / sample_rate < 5
    assert engine.voices("no such language") == []


def test_espeak_says_the_same_thing_the_same_way() -> None:
    """What was said before must not show: without that, clips depend on who made which."""
    alone, _ = speak("en-us.f2")
    for voice in ("en-gb.m1", "en-029.klatt", "en-us.alicia"):
        speak(voice, "stop", 120, 70)
    again, _ = speak("en-us.f2")
    np.testing.assert_array_equal(alone, again)


def test_espeak_is_safe_in_threads() -> None:
    """The library is global to the process: calls must not mix."""
    texts = ["yes", "no", "stop", "left", "go"] * 4
    alone = [speak(text=text)[0] for text in texts]
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(lambda text: speak(text=text)[0], texts))
    for expected, found in zip(alone, together, strict=True):
        np.testing.assert_array_equal(expected, found)


def test_espeak_accents_and_variants_differ() -> None:
    """A voice that could not be set would silently repeat the last one."""
    voices = ESPEAK.voices("en-us")
    accents = sorted({voice.split(".")[0] for voice in voices})
    assert {"en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc"} <= {*accents}
    assert len({speak(f"{accent}.max", "bath")[0].tobytes() for accent in accents}) == len(accents)
    variants = [voice for voice in voices if voice.startswith("en-us.")]
    assert len({speak(voice)[0].tobytes() for voice in variants}) == len(variants) > 70


def test_an_accent_is_not_another_speaker() -> None:
    """Else a model would be tested on voices that it knows from their other accents."""
    voices = ESPEAK.voices("en-us")
    speakers = Counter(map(ESPEAK.speaker, voices))
    assert set(speakers.values()) == {len({voice.partition(".")[0] for voice in voices})}
    assert ESPEAK.speaker("en-us.f3") == ESPEAK.speaker("en-gb-scotland.f3") == "f3"


def test_espeak_obeys_rate_and_pitch() -> None:
    """Speed and pitch are where variety comes from."""
    assert len(speak(rate=120)[0]) > 1.3 * len(speak(rate=215)[0])
    low, high = (speak("en-us.m1", "no", pitch=pitch)[0] for pitch in (35, 80))
    assert _fundamental(high) > 1.3 * _fundamental(low)


def test_espeak_names_are_safe_file_names() -> None:
    """A voice's name is part of a file's, on every file system."""
    voices = ESPEAK.voices("en")
    assert len({voice.casefold() for voice in voices}) == len(voices)
    assert not set("".join(voices)) & set('/\\:*?"<>| ')


def test_phonemes_follow_the_accent() -> None:
    """Near-misses and homophones are judged by these."""
    assert phonemes(["stop"], "en-gb") != phonemes(["stop"], "en-us")
    assert phonemes(["stop"], "en-au") == phonemes(["stop"], "en")
    with pytest.raises(ValueError, match="`language` must be one of af, .*en-us"):
        phonemes(["stop"], "xx")


def test_a_missing_engine_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a user needs to go on."""
    monkeypatch.setattr(type(ENGINES["pico"]), "available", lambda self: False)
    with pytest.raises(ValueError, match="Received: 'pico', which is not: pip install ttspico"):
        find(("espeak", "pico"))
    assert "pico" not in find()
    with pytest.raises(ValueError, match="among espeak, pico, piper.*Received: 'siri'"):
        find(("siri",))


def test_pitch_without_a_control_moves_half_as_far() -> None:
    """A speaker played faster stays within what people's throats can do."""
    assert frequency(50) == stature(50) == 1
    assert frequency(100) == 2
    assert stature(100) == pytest.approx(2**0.5)
    assert family("EN_gb") == "en"


def test_flite_stretches_time_and_finds_voices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the rate is twice the length, a higher pitch a higher sample rate."""
    program = tmp_path / "flite"
    program.write_text(FLITE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "Clara.flitevox").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(flite.FOLDERS, str(tmp_path))
    monkeypatch.setattr(flite, "_voices", flite._voices.__wrapped__)  # the cache keeps the system's
    engine = flite.Flite()
    assert engine.voices("en-gb") == ["clara", "slt"] and engine.voices("de") == []
    assert len(engine.synthesize("yes", "slt", 87.5, 50)[0]) == 320
    samples, sample_rate = engine.synthesize("yes", "clara", 175, 100)
    assert sample_rate == round(16000 * 2**0.5)
    assert len(samples) / sample_rate == pytest.approx(0.01, rel=0.01)  # rounded to whole samples


def test_a_failing_program_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words say best what is wrong."""
    program = tmp_path / "flite"
    program.write_text("#!/bin/sh\necho no such voice >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    monkeypatch.setattr(flite, "_voices", lambda: {"slt": "slt"})
    with pytest.raises(RuntimeError, match="must succeed. Received: no such voice"):
        flite.Flite().synthesize("yes", "slt", 175, 50)


def test_piper_lists_the_voices_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of many speakers is as many voices; a description without a model is none."""
    for name, code, speakers in (("en_GB-Vctk", "en_GB", 3), ("de_DE-eva", "de_DE", 1)):
        (tmp_path / f"{name}.onnx").touch()
        described = {"language": {"code": code}, "num_speakers": speakers}
        (tmp_path / f"{name}.onnx.json").write_text(json.dumps(described))
    (tmp_path / "gone.onnx.json").write_text("{}")
    monkeypatch.setenv(piper.FOLDERS, str(tmp_path))
    monkeypatch.setattr(piper, "_models", piper._models.__wrapped__)
    engine = piper.Piper()
    assert {"de-de", "en-gb"} <= set(engine.languages())
    assert {f"en_gb-vctk.{speaker}" for speaker in range(3)} <= set(engine.voices("en-us"))
    assert engine.voices("de") == ["de_de-eva"]


@pytest.fixture
def kokoro_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kokoro.Kokoro:
    """An engine with three voices, whose styles are all zeros, ones and twos."""
    for value, name in enumerate(("af_one", "bm_two", "jf_three")):
        np.full((40, 256), value, np.float32).tofile(tmp_path / f"{name}.bin")
    monkeypatch.setenv(kokoro.FOLDERS, str(tmp_path))
    for cached in ("_styles", "_style"):
        monkeypatch.setattr(kokoro, cached, getattr(kokoro, cached).__wrapped__)
    return kokoro.Kokoro()


def test_kokoro_blends_voices(kokoro_voices: kokoro.Kokoro) -> None:
    """Any voice may join one that speaks the language, which comes first."""
    assert kokoro_voices.voices("en-us") == [
        "af_one",
        "bm_two",
        "af_one+bm_two",
        "af_one+jf_three",
        "bm_two+jf_three",
    ]
    assert kokoro_voices.voices("es") == []
    assert kokoro_voices.speaker("af_one+jf_three") == kokoro_voices.speaker("af_one") == "af_one"


def test_kokoro_cuts_the_word_out(
    kokoro_voices: kokoro.Kokoro, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word is taken without what is said after it, in the mean style of the blend."""
    heard = {}

    def run(tokens: list[int], style: np.ndarray, speed: float) -> tuple[np.ndarray, np.ndarray]:
        heard.update(tokens=tokens, style=style, speed=speed)
        # Frames of a hundred samples, 40 in the pad and ten a token; each sample tells its frame.
        durations = np.full(len(tokens) + 2, 10.0)
        durations[0] = 40
        return np.repeat(np.arange(durations.sum()), 100), durations

    monkeypatch.setattr(kokoro, "_run", run)
    monkeypatch.setattr(
        kokoro,
        "_tokenizer",
        lambda: SimpleNamespace(
            phonemize=lambda text, language: f"{text} {language}", tokenize=list
        ),
    )
    samples, sample_rate = kokoro_voices.synthesize("ja", "bm_two+jf_three", 175, 50)
    assert "".join(heard["tokens"]) == "ja en-gb." + kokoro._AFTER
    assert (heard["style"] == 1.5).all() and heard["style"].shape == (256,)
    assert heard["speed"] == 1 and sample_rate == 24000
    # The pad's last 24 frames, a tenth of a second, may hold the onset; 1 to 8 are the word, 9 is
    # the pause.
    assert samples[0] == 40 - 24 and samples[-1] == 40 + 8 * 10 - 1


@pytest.mark.parametrize(
    ("language", "ipa", "letters"),
    [
        ("en-us", "nˈoʊ", "nˈO"),
        ("en-gb", "nˈəʊ", "nˈQ"),
        ("en-us", "dˈaʊn", "dˈWn"),
        ("en-us", "bˈɜːd", "bˈɜɹd"),
        ("en-gb", "nˈiə", "nˈɪə"),
        ("fr-fr", "ʁobˈo", "ʁobˈo"),
    ],
)
def test_kokoro_is_spelled_to_in_its_own_letters(
    language: str, ipa: str, letters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fed with two vowels for a diphthong, the model says "now" for "no"."""
    monkeypatch.setattr(
        kokoro, "_tokenizer", lambda: SimpleNamespace(phonemize=lambda text, language: text)
    )
    assert kokoro._phonemes(ipa, language) == letters


def test_kokoro_reads_an_archive_of_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The voices come one to a file, or all in one."""
    with open(tmp_path / "voices-v1.0.bin", "wb") as file:
        np.savez(file, af_one=np.ones((5, 1, 256), np.float32))
    monkeypatch.setenv(kokoro.FOLDERS, str(tmp_path))
    monkeypatch.setattr(kokoro, "_styles", kokoro._styles.__wrapped__)
    assert kokoro._style.__wrapped__("af_one").shape == (5, 256)


def test_shares_are_kept_and_turns_taken() -> None:
    """Each engine gets its share, and within it every voice speaks as often as any other."""
    group = [(0.25, [("a", "1")]), (0.75, [("b", "1"), ("b", "2")])]
    dealt = casting.deal(group, 40, random.Random(0))
    assert sorted(dealt) == [("a", "1")] * 10 + [("b", "1")] * 15 + [("b", "2")] * 15
    assert dealt != sorted(dealt)


def test_a_clip_holds_the_whole_word() -> None:
    """Nothing of the word is cut off, and around it is digital silence."""
    said, source_rate = speak("en-us.m3", "stop")
    speech = clips.trim(said, source_rate)
    clip = clips.speak(
        ESPEAK, "en-us.m3", "stop", 175, 50, sample_rate=source_rate, clip_seconds=1.5, seed=3
    )
    start = np.flatnonzero(clip)[0] - np.flatnonzero(speech)[0]
    found = clip[start : start + len(speech)]
    np.testing.assert_allclose(found / found.max(), speech / speech.max(), atol=1e-6)
    assert np.count_nonzero(clip) <= len(speech)


def test_trimming_keeps_what_can_be_heard() -> None:
    """A faint consonant counts; silence does not."""
    tone = np.sin(np.arange(4000) * 0.3).astype(np.float32)
    samples = np.concatenate([np.zeros(8000), tone, 0.02 * tone, np.zeros(8000)])
    speech = clips.trim(samples, 16000)
    assert 8000 <= len(speech) <= 8000 + 2 * 480  # a margin of 20 ms and a frame of 10 ms a side
    assert len(clips.trim(np.zeros(500, np.float32), 16000)) == 0
    assert np.abs(np.diff(speech)).max() < 0.5  # no click at the cuts


def test_a_long_word_is_said_faster_and_never_cut() -> None:
    """A word that does not fit is said faster; one that never fits is an error."""
    options = {"sample_rate": 16000, "seed": 0}
    clip = clips.speak(ESPEAK, "en-us.m1", "university", 100, 50, clip_seconds=0.6, **options)
    faster, source_rate = speak("en-us.m1", "university", 100)
    assert len(clips.trim(faster, source_rate)) / source_rate > 0.6  # at first it did not fit
    assert 0.4 * 16000 < np.count_nonzero(clip) <= len(clip) == 9600
    with pytest.raises(clips.NoSpeech, match="`clip_seconds` must be long enough for 'university'"):
        clips.speak(ESPEAK, "en-us.m1", "university", 100, 50, clip_seconds=0.1, **options)


def test_silence_is_varied_and_seeded() -> None:
    """Silence has many levels, and a seed makes it again."""
    made = [silence(16000, 16000, seed) for seed in range(60)]
    levels = [20 * np.log10(np.sqrt(np.mean(clip**2))) for clip in made]
    assert min(levels) < -60 and max(levels) > -25
    assert all(np.isfinite(clip).all() and np.abs(clip).max() <= 1 for clip in made)
    np.testing.assert_array_equal(made[7], silence(16000, 16000, 7))
    assert len({clip.tobytes() for clip in made}) == len(made)


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
@pytest.mark.parametrize("sample_rate", [8000, 48000])
def test_every_kind_of_silence_is_finite(kind, sample_rate: int) -> None:
    """At every sample rate, overtones stay below half of it."""
    for seed in range(5):
        sound = kind(np.arange(sample_rate) / sample_rate, np.random.default_rng(seed))
        assert sound.shape == (sample_rate,) and np.isfinite(sound).all() and sound.any()


def _fundamental(samples: np.ndarray) -> float:
    """The pitch of a vowel, in hertz at 22050 samples a second, between 55 and 441."""
    vowel = samples[len(samples) // 4 :][:2048]
    echo = np.correlate(vowel, vowel, "full")[len(vowel) - 1 :] / np.arange(len(vowel), 0, -1)
    return 22050 / (50 + np.argmax(echo[50:400]))
