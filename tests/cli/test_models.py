"""The verbs that make and ask models: their options, and what they print."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rnnapp
from rnnapp import CELLS, FORMATS, TASKS, Run, predict

from .conftest import Done


def test_list_shows_what_there_is(call: Callable[..., Done]) -> None:
    """Every name that another verb takes."""
    shown = call("list")
    assert shown.code == 0
    for names in (TASKS, CELLS, FORMATS):
        assert all(name in shown.out for name in names)


@pytest.mark.parametrize("task", TASKS)
def test_listed_settings_can_be_set(call: Callable[..., Done], task: str) -> None:
    """Each line is an argument of `--set`, and together they are the default."""
    lines = call("list", "--settings", task).out.splitlines()
    keys = [line.partition("=")[0] for line in lines]
    assert {"model.units", "train.epochs"} <= set(keys)
    assert TASKS[task].spec(assignments=lines) == TASKS[task].spec()


def test_options_reach_the_training(
    call: Callable[..., Done], finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option of `rnnapp train`, in the order in which they override each other."""
    seen: list[Any] = []

    def train(*arguments: Any, **keywords: Any) -> Run:
        seen.extend([*arguments, keywords])
        return finished

    monkeypatch.setattr(rnnapp, "train", train)
    done = call(
        "train",
        "speech_commands",
        "--data",
        "a,b",
        "--out",
        "c",
        "--preset",
        "p",
        "--init-from",
        "12",
        "--set",
        "units=3",
        "--set",
        "cell=lstm",
        "--on-bad-input",
        "stop",
        "--resume",
    )
    assert seen == [
        "speech_commands",
        "a,b",
        Path("c"),
        {
            "settings": ["preset=p", 'start="12"', "units=3", "cell=lstm", "on_bad_input=stop"],
            "resume": True,
        },
    ]
    assert done.code == 0 and f"rnnapp export {finished.folder}" in done.out


@pytest.mark.parametrize(
    ("engines", "parsed"),
    [
        ("espeak, pico", ("espeak", "pico")),
        ("espeak=3,kokoro=1.5", {"espeak": 3.0, "kokoro": 1.5}),
    ],
)
def test_options_reach_the_synthesis(
    call: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    engines: str,
    parsed: object,
) -> None:
    """Words with commas between, and blanks after them; engines with their shares or without."""
    from pipelines import synthesis

    seen: dict[str, Any] = {}

    def synthesize(words: tuple[str, ...], out: Path, **keywords: Any) -> None:
        seen.update(keywords, words=words, out=out)

    monkeypatch.setattr(synthesis, "synthesize", synthesize)
    options = {
        "words": "ja, nein",
        "out": tmp_path / "v",
        "clips": 7,
        "language": "de",
        "engines": engines,
        "voices": "espeak.de*",
        "unknown": "jo",
        "seed": 3,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    done = call("synthesize", *arguments)
    assert done.code == 0 and f"--data {tmp_path / 'v'}" in done.out
    del seen["progress"]
    assert seen == {
        "words": ("ja", "nein"),
        "out": tmp_path / "v",
        "clips_per_word": 7,
        "language": "de",
        "seed": 3,
        "engines": parsed,
        "voices": ("espeak.de*",),
        "unknown_words": ("jo",),
    }


@pytest.mark.parametrize("engines", ["espeak=3,kokoro", "espeak=much"])
def test_a_share_goes_with_every_engine(
    call: Callable[..., Done], tmp_path: Path, engines: str
) -> None:
    """A share forgotten is not taken for none."""
    done = call("synthesize", "--words", "yes", "--out", tmp_path / "v", "--engines", engines)
    assert done.code == 2 and f"Received: {engines}" in done.err


@pytest.mark.parametrize("source", ["run", "export"])
def test_predict_answers_in_json_and_in_words(
    call: Callable[..., Done], source: str, evaluated: Run, exported: Path, tones: Path
) -> None:
    """The same answers, for programs and for people."""
    folder = evaluated.folder if source == "run" else exported
    files = sorted(tones.glob("high/test*.wav"))[:2]
    answers = call("predict", folder, *files, "--json").json["answers"]
    assert [answer["input"] for answer in answers] == [str(path) for path in files]
    lines = call("predict", folder, *files).out.splitlines()
    for answer, line in zip(answers, lines, strict=True):
        label = answer["label"]
        assert line.split() == [answer["input"], label, f"{answer['probabilities'][label]:.2f}"]


@pytest.mark.parametrize("source", ["run", "export"])
def test_a_bad_file_is_named(
    call: Callable[..., Done],
    source: str,
    evaluated: Run,
    exported: Path,
    tones: Path,
    tmp_path: Path,
) -> None:
    """One bad file among many must be found again, and the others have their answers."""
    bad = tmp_path / "a long name" / "with blanks" / ("x" * 80) / "empty.wav"
    bad.parent.mkdir(parents=True)
    bad.touch()
    good = sorted(tones.glob("high/test*.wav"))[:2]
    folder = evaluated.folder if source == "run" else exported
    done = call("predict", folder, good[0], bad, good[1], "--json")
    first, failed, last = done.json["answers"]
    for ours, theirs in zip((first, last), predict(folder, good), strict=True):
        assert (ours["input"], ours["label"]) == (theirs["input"], theirs["label"])
        # Float32, whose sums have another order in a batch of another size.
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-6)
    assert failed["input"] == str(bad) and str(bad) in failed["error"]
    assert done.code == 1 and done.err == f"error: {failed['error']}\n"
    assert len(call("predict", folder, *good, bad).out.splitlines()) == 2
    stopped = call("predict", folder, *good, bad, "--on-bad-input", "stop")
    assert (stopped.code, stopped.out) == (2, "") and str(bad) in stopped.err


@pytest.fixture
def copied(evaluated: Run, tmp_path: Path) -> Path:
    """A copy of the evaluated run."""
    return shutil.copytree(evaluated.folder, tmp_path / "run")


def test_evaluate_prints_figures(call: Callable[..., Done], copied: Path) -> None:
    """JSON as in `metrics.json`; for people the numbers and the pictures."""
    figures = call("evaluate", copied, "--no-listen", "--json").json
    known = Run.open(copied).metrics()["evaluation"]["test"]
    assert {name: figures[name] for name in known} == known
    lines = call("evaluate", copied, "--no-listen").out
    assert f"{figures['accuracy']:.4g}" in lines and str(copied / "confusion_test.png") in lines


def test_a_language_model_writes(call: Callable[..., Done], writer: Run) -> None:
    """From the prompt on, as it comes; as JSON at once."""
    settings = ("--set", "seed=1", "--set", "max_tokens=12")
    written = call("predict", writer.folder, "Once there", *settings)
    assert written.code == 0 and written.out.startswith("Once there ")
    told = call("predict", writer.folder, "Once there", *settings, "--json")
    assert told.json["answers"][0]["text"] + "\n" == written.out
