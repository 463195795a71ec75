"""Which clips there are, how they are labelled, and who hears them."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.audio_index import Index, index, speaker_of
from pipelines.audio_spec import AudioSpec
from pipelines.base import BadInputs, which_split


def make(folder: Path, *names: str, seconds: float = 0.01) -> Path:
    """A folder with tiny recordings of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.full(round(seconds * 16000), 0.1), 16000)
    return folder


def words(folder: Path, *labels: str, speakers: int = 40) -> Path:
    """A folder where each speaker says each word once."""
    return make(folder, *(f"{w}/{s:08x}_nohash_0.wav" for w in labels for s in range(speakers)))


def found(folder: Path | str, spec: AudioSpec | None = None, **options: object) -> Index:
    """The index of a folder that has nothing bad in it."""
    return index(str(folder), spec or AudioSpec(), BadInputs("stop"), **options)


def counts(result: Index, split: str) -> Counter[str]:
    """How many clips each label has in a split."""
    return Counter(clip.label for clip in result.clips if clip.split == split)


@pytest.mark.parametrize(
    ("speaker", "split"),
    [
        ("8b775397", "validation"),
        ("2643992f", "validation"),
        ("060cd039", "validation"),
        ("2aa787cf", "test"),
        ("ffa76c4a", "test"),
        ("24ad3ebe", "test"),
        ("d7467392", "test"),
    ],
)
def test_hash_splits_as_speech_commands_does(speaker: str, split: str) -> None:
    """Speakers from the data set's own validation_list.txt and testing_list.txt stay there."""
    assert which_split(speaker, 10, 10) == split


@settings(max_examples=20)
@given(st.sets(st.text("0123456789abcdef", min_size=8, max_size=8), min_size=400, max_size=600))
def test_hash_gives_each_split_its_share(speakers: set[str]) -> None:
    """About four in five speakers train; six standard deviations of a binomial are allowed."""
    train = sum(which_split(speaker, 10, 10) == "train" for speaker in speakers)
    assert abs(train - 0.8 * len(speakers)) < 6 * (0.16 * len(speakers)) ** 0.5


NAMES = st.builds(
    "{}{:08x}_nohash_{}.wav".format,
    st.sampled_from(["", "bed_", "happy_"]),
    st.integers(0, 30),
    st.integers(0, 3),
)


@given(
    st.dictionaries(
        st.sampled_from(["yes", "no", "_unknown_"]), st.sets(NAMES, min_size=1), min_size=2
    )
)
def test_no_speaker_is_in_two_splits(
    tmp_path_factory: pytest.TempPathFactory, listing: dict[str, set[str]]
) -> None:
    """A voice that trains is never heard in validation or test, whatever the word before it."""
    folder = tmp_path_factory.mktemp("data")
    for word, names in listing.items():
        (folder / word).mkdir()
        for name in names:
            (folder / word / name).touch()  # listing opens no file
    heard = defaultdict(set)
    for clip in found(folder, AudioSpec(validation_percent=30, testing_percent=30)).clips:
        heard[Path(clip.path).name.split("_nohash_")[0][-8:]].add(clip.split)
    assert all(len(splits) == 1 for splits in heard.values())


@pytest.mark.parametrize(
    ("path", "speaker"),
    [
        ("yes/0a1b2c3d_nohash_4.wav", "0a1b2c3d"),
        ("_unknown_/bed_0a1b2c3d_nohash_4.wav", "0a1b2c3d"),
        ("yes/en-us+f3_nohash_0.flac", "en-us+f3"),
        ("yes/jackson/3.wav", "jackson"),
        ("yes/3.wav", "3.wav"),
    ],
)
def test_speaker_is_read_from_the_path(path: str, speaker: str) -> None:
    """Names and folders of several data sets tell who speaks."""
    assert speaker_of(Path(path)) == speaker


def test_lists_decide_the_splits(tmp_path: Path) -> None:
    """Where a folder lists its splits, the hash has no say."""
    words(tmp_path, "yes", "no", speakers=9)
    (tmp_path / "validation_list.txt").write_text("yes/00000001_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text(
        "no/00000002_nohash_0.wav\nno/00000003_nohash_0.wav\n"
    )
    result = found(tmp_path)
    assert {Path(c.path).name for c in result.clips if c.split == "test"} == {
        "00000002_nohash_0.wav",
        "00000003_nohash_0.wav",
    }
    assert counts(result, "validation") == {"yes": 1}
    assert counts(result, "test") == {"no": 2}


def test_empty_list_leaves_a_split_empty(tmp_path: Path) -> None:
    """A list that is there and empty keeps all of a folder, synthetic voices say, in training."""
    words(tmp_path, "yes", "no")
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / name).touch()
    assert counts(found(tmp_path), "train") == {"yes": 40, "no": 40}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("maybe/00000001_nohash_0.wav", "the word must be one of no, yes"),
        ("yes/gone_nohash_0.wav", "the file must exist"),
    ],
)
def test_bad_line_in_a_list_is_named(tmp_path: Path, line: str, reason: str) -> None:
    """A list's entry that fits nothing is named by file and line, and skipped or refused."""
    words(tmp_path, "yes", "no", speakers=3)
    (tmp_path / "testing_list.txt").write_text(f"yes/00000001_nohash_0.wav\n{line}\n")
    bad = BadInputs("skip")
    assert counts(index(str(tmp_path), AudioSpec(), bad), "test") == {"yes": 1}
    ((where, why),) = bad.found
    assert where == f"{tmp_path / 'testing_list.txt'}:2" and reason in why and line in why
    with pytest.raises(ValueError, match=r"testing_list\.txt:2: "):
        found(tmp_path)


def test_other_words_become_unknown(tmp_path: Path) -> None:
    """`_unknown_` gets as many clips as a word has on average, in each split."""
    words(tmp_path, "yes", "no", "bed", "cat", "dog", speakers=100)
    result = found(tmp_path, AudioSpec(words=("yes", "no")))
    assert result.labels == ("_unknown_", "yes", "no")
    for split in ("train", "validation", "test"):
        count = counts(result, split)
        assert count["yes"] == count["no"] == count["_unknown_"] > 0
    assert len(found(tmp_path, AudioSpec(words=("yes",), unknown_ratio=2)).clips) == 300
    none = found(tmp_path, AudioSpec(words=("yes", "no"), unknown_ratio=0))
    assert none.labels == ("yes", "no")


def test_unknown_clips_are_drawn_by_the_seed(tmp_path: Path) -> None:
    """The same seed draws the same clips, another seed others."""
    words(tmp_path, "yes", "bed", "cat")
    spec = AudioSpec(words=("yes",))
    assert found(tmp_path, spec, seed=1) == found(tmp_path, spec, seed=1)
    assert found(tmp_path, spec, seed=1) != found(tmp_path, spec, seed=2)


def test_unknown_folder_is_kept_whole(tmp_path: Path) -> None:
    """Clips that someone chose for `_unknown_` are not thinned out; other words only fill up."""
    words(tmp_path, "yes", "bed", speakers=20)
    words(tmp_path, "_unknown_", speakers=60)
    clips = found(tmp_path, AudioSpec(words=("yes",))).clips
    assert Counter(clip.label for clip in clips) == {"yes": 20, "_unknown_": 60}


def test_silence_is_cut_from_noise_and_splits_share_none(tmp_path: Path) -> None:
    """Each split's `_silence_` comes from a stretch of every noise that no other split hears."""
    words(tmp_path, "yes", "no")
    make(tmp_path, "_background_noise_/tap.wav", seconds=40)
    make(tmp_path, "_background_noise_/click.wav", seconds=0.5)  # too short to cut
    result = found(tmp_path)
    assert result.labels == ("_silence_", "no", "yes")
    silence = [clip for clip in result.clips if clip.label == "_silence_"]
    edges = {"train": (0, 32), "validation": (32, 36), "test": (36, 40)}
    for split, (low, high) in edges.items():
        starts = [clip.start for clip in silence if clip.split == split]
        assert len(starts) == counts(result, split)["yes"]
        assert all(low <= start <= high - 1 for start in starts)
    assert {Path(clip.path).name for clip in silence} == {"tap.wav"}
    assert dict(result.noise)[str(tmp_path / "_background_noise_/tap.wav")] == pytest.approx(32)


def test_one_word_against_silence_is_enough(tmp_path: Path) -> None:
    """A wake word needs no second folder where there is noise."""
    words(tmp_path, "hello")
    make(tmp_path, "_background_noise_/tap.wav", seconds=20)
    assert found(tmp_path).labels == ("_silence_", "hello")


def test_silence_folder_is_used_as_it_is(tmp_path: Path) -> None:
    """No silence is cut where there is a folder of it, nor where none is wanted."""
    words(tmp_path, "yes", "no")
    make(tmp_path, "_background_noise_/tap.wav", seconds=20)
    assert found(tmp_path, AudioSpec(silence_ratio=0)).labels == ("no", "yes")
    words(tmp_path, "_silence_", speakers=5)
    assert sum(clip.label == "_silence_" for clip in found(tmp_path).clips) == 5


def test_words_keep_their_order(tmp_path: Path) -> None:
    """Numbers of classes follow `words`, or the alphabet."""
    words(tmp_path, "up", "down", "_unknown_", "größe", speakers=2)
    assert found(tmp_path).labels == ("_unknown_", "down", "größe", "up")
    spec = AudioSpec(words=("up", "größe", "down"))
    assert found(tmp_path, spec).labels == ("_unknown_", "up", "größe", "down")


def test_folder_with_decomposed_letters_is_its_word(tmp_path: Path) -> None:
    """A folder named as macOS spells umlauts is found by the word as people type it."""
    words(tmp_path, unicodedata.normalize("NFD", "größe"), "no", speakers=2)
    assert "größe" in found(tmp_path, AudioSpec(words=("größe", "no"))).labels


def test_several_folders_are_joined(tmp_path: Path) -> None:
    """Each folder is split by its own lists or hash."""
    words(tmp_path / "real", "yes", "no", speakers=20)
    words(tmp_path / "made", "yes", "no", speakers=10)
    (tmp_path / "made" / "testing_list.txt").touch()
    (tmp_path / "made" / "validation_list.txt").touch()
    result = found(f"{tmp_path / 'real'},{tmp_path / 'made'}")
    assert len(result.clips) == 60
    assert {c.split for c in result.clips if "made" in c.path} == {"train"}
    assert {c.split for c in result.clips if "real" in c.path} >= {"train", "test"}


def test_salt_draws_other_splits(tmp_path: Path) -> None:
    """A folder that is all test set can be split anew."""
    words(tmp_path, "yes", "no")
    official, salted = found(tmp_path), found(tmp_path, AudioSpec(split_salt="mine"))
    assert [c.split for c in official.clips] != [c.split for c in salted.clips]
    assert [replace(c, split="") for c in official.clips] == [
        replace(c, split="") for c in salted.clips
    ]


def test_known_labels_rule(tmp_path: Path) -> None:
    """Under the labels of an earlier fit, an unknown word is `_unknown_`, or else bad input."""
    words(tmp_path, "yes", "bed", speakers=2)
    with_unknown = found(tmp_path, labels=("_unknown_", "no", "yes"), test_only=True)
    assert with_unknown.labels == ("_unknown_", "no", "yes")
    assert counts(with_unknown, "test") == {"yes": 2, "_unknown_": 2}
    bad = BadInputs("skip")
    without = index(str(tmp_path), AudioSpec(), bad, labels=("no", "yes"), test_only=True)
    assert counts(without, "test") == {"yes": 2}
    assert len(bad.found) == 2 and all("must be one of no, yes" in why for _, why in bad.found)


def test_data_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    """An absent folder, a file, an empty folder, one class, an absent word: each is told apart."""
    with pytest.raises(FileNotFoundError, match=r"gone, which does not exist"):
        found(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"which is a file"):
        found(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"must hold recordings as `word/\*\.wav`"):
        found(tmp_path / "empty")
    words(tmp_path / "one", "yes", speakers=2)
    with pytest.raises(ValueError, match=r"at least two classes\. Received: yes"):
        found(tmp_path / "one")
    words(tmp_path / "two", "yes", "no", speakers=2)
    with pytest.raises(ValueError, match=r"Received: maybe\. Folders: no, yes"):
        found(tmp_path / "two", AudioSpec(words=("yes", "maybe")))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """Notes, hidden files and recordings outside any word are no clips."""
    words(tmp_path, "yes", "no", speakers=2)
    make(tmp_path, "stray.wav", "yes/._00000001_nohash_0.wav", ".trash/old.wav")
    (tmp_path / "yes" / "README.md").touch()
    assert len(found(tmp_path).clips) == 4
