"""The command line: what it prints, where, its exit codes, and what it teaches."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

import rnnapp
from rnnapp import CELLS, FORMATS, TASKS, Run, cli, predict
from rnnapp.exporting import export as exporting

COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


class Done(NamedTuple):
    """What a call left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs `rnnapp ARGUMENTS` in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["rnnapp", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
            warnings.simplefilter("default")
            cli.main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def copied(evaluated: Run, tmp_path: Path) -> Path:
    """A copy of the evaluated run."""
    return shutil.copytree(evaluated.folder, tmp_path / "run")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_teaches_itself(name: str) -> None:
    """Nobody should need the source to find an option or its meaning."""
    shown = CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    command = COMMANDS[name]
    assert command.help and command.help.splitlines()[0] in " ".join(shown.output.split())
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name} has no help"
        assert parameter.opts[0] in shown.output or parameter.human_readable_name in shown.output


def test_the_first_call_shows_the_way(call: Callable[..., Done]) -> None:
    """`rnnapp` alone lists the verbs, and where to begin."""
    shown = call()
    assert all(name in shown.out + shown.err for name in COMMANDS)
    assert "rnnapp quickstart" in shown.out + shown.err


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
    assert {"model.units", "model.front.num_mel_bins", "train.epochs"} <= set(keys)
    assert TASKS[task].spec(assignments=lines) == TASKS[task].spec()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "speech_comands"], "There is no task 'speech_comands'. Did you mean"),
        (["list", "--settings", "x"], f"There is no task 'x'. Valid names: {', '.join(TASKS)}"),
        (["train", "speech_commands", "--set", "unit=3"], "Did you mean model.units"),
        (["train", "speech_commands", "--set", "units=0"], "`units` must be a positive integer"),
        (["train", "speech_commands", "--preset", "x"], "has no preset 'x'. Valid names:"),
        (["train", "speech_commands", "--on-bad-input", "cry"], "one of skip, stop"),
        (["evaluate", "nowhere"], "nowhere must be a run folder"),
        (["predict", "nowhere", "a.wav"], "nowhere must be a run folder"),
        (["export", "nowhere"], "nowhere must be a run folder"),
        (["export", "nowhere", "--formats", ""], "`formats` must name at least one"),
        (["verify", "nowhere"], "nowhere must be an export folder"),
        (["listen", "nowhere.tflite", "--wav", "a.wav"], "nowhere.tflite"),
        (["listen", "nowhere.tflite"], "--mic"),
        (["trian"], "No such command"),
        (["train"], "Missing argument"),
        (["verify", "x", "--jsno"], "No such option"),
    ],
)
def test_wrong_use_exits_with_two(
    call: Callable[..., Done],
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the reason on standard error, no traceback, and nothing for a pipe to swallow."""
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert "Traceback" not in done.err and done.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("home", cli.FAILURES)
def test_a_failed_check_exits_with_one(
    call: Callable[..., Done], home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts tell a bad export, or a program that fails, from a mistyped command."""
    error = getattr(importlib.import_module(home), cli.FAILURES[home])

    def fail(*_: Any, **__: Any) -> None:
        raise error("[it] does not agree")

    monkeypatch.setattr(rnnapp, "export", fail)
    done = call("export", "run")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: [it] does not agree\n"


def test_an_interrupt_says_how_to_go_on(
    call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C is how a training is stopped."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rnnapp, "train", interrupt)
    done = call("train", "speech_commands")
    assert done.code == 130 and "--resume" in done.err


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
        {"settings": ["preset=p", "units=3", "cell=lstm", "on_bad_input=stop"], "resume": True},
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


def test_evaluate_prints_figures(call: Callable[..., Done], copied: Path) -> None:
    """JSON as in `metrics.json`; for people the numbers and the pictures."""
    figures = call("evaluate", copied, "--no-listen", "--json").json
    known = Run.open(copied).metrics()["evaluation"]["test"]
    assert {name: figures[name] for name in known} == known
    lines = call("evaluate", copied, "--no-listen").out
    assert f"{figures['accuracy']:.4g}" in lines and str(copied / "confusion_test.png") in lines


def test_export_prints_what_agrees(
    call: Callable[..., Done],
    finished: Run,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line for each check, or all of them as JSON."""
    monkeypatch.setattr(
        exporting, "write", lambda run, folder, *rest: shutil.copytree(exported, folder)
    )
    checks = json.loads((exported / "certificate.json").read_text())["checks"]
    done = call("export", finished.folder, "--out", tmp_path / "new", "--json").json
    assert done["folder"] == str(tmp_path / "new") and done["certificate"]["checks"] == checks
    assert "device/float.tflite" in done["files"]
    again = call("export", finished.folder, "--out", tmp_path / "new")
    assert again.code == 2 and "--overwrite" in again.err
    lines = call("export", finished.folder, "--out", tmp_path / "new", "--overwrite").out
    assert lines.count("\nok ") + lines.startswith("ok ") == len(checks)


def test_verify_exits_with_one_for_a_changed_file(
    call: Callable[..., Done], exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment script needs no more than the code."""
    folder = shutil.copytree(exported, tmp_path / "export")
    certificate = json.loads((folder / "certificate.json").read_text())
    monkeypatch.setattr(exporting, "certify", lambda *_, **__: certificate)
    good = call("verify", folder, "--json")
    assert good.code == 0 and good.json["passed"]
    (folder / "labels.txt").write_text("other\n")
    bad = call("verify", folder, "--json")
    assert bad.code == 1 and bad.json["changed"] == ["labels.txt"]
    assert "changed since the export: labels.txt" in call("verify", folder).out


def test_listen_hears_a_recording(
    call: Callable[..., Done], exported: Path, tones: Path, tmp_path: Path
) -> None:
    """An exported file alone, at whatever threshold."""
    import numpy as np
    import soundfile

    parts = []
    for label in ("high", "low"):
        sound, rate = soundfile.read(sorted(tones.glob(f"{label}/test*.wav"))[0])
        pause = 0.003 * np.random.default_rng(0).standard_normal(rate)
        parts += [pause, np.tile(sound[len(sound) // 3 :], 2)]
    soundfile.write(tmp_path / "both.wav", np.concatenate([*parts, pause]), rate)
    model = exported / "device" / "dynamic.tflite"
    done = call("listen", model, "--wav", tmp_path / "both.wav", "--threshold", 0.3, "--json")
    assert done.code == 0
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["label"] for event in events] == ["high", "low"]
    assert call("listen", model, "--wav", tmp_path / "both.wav", "--threshold", 1).out == ""


def test_warnings_are_for_people(
    call: Callable[..., Done], finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A skipped file is a line on standard error, not a stack of source lines."""

    def train(*_: Any, **__: Any) -> Run:
        warnings.warn("3 bad inputs were skipped: [a.wav]", UserWarning, stacklevel=1)
        return finished

    monkeypatch.setattr(rnnapp, "train", train)
    done = call("train", "speech_commands")
    assert done.err == "warning: 3 bad inputs were skipped: [a.wav]\n"
