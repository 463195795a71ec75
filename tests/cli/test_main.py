"""The command as a whole: what it teaches, its messages, its exit codes."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import rnnapp
from rnnapp import TASKS, Run, cli

from .conftest import Done


def commands(group: Any, before: str = "") -> dict[str, Any]:
    """Groups and commands, by what is typed."""
    found = {f"{before}{name}": command for name, command in group.commands.items()}
    for name, command in list(found.items()):
        found |= commands(command, f"{name} ") if hasattr(command, "commands") else {}
    return found


COMMANDS = commands(typer.main.get_command(cli.app))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_teaches_itself(name: str) -> None:
    """Nobody should need the source to find an option or its meaning."""
    shown = CliRunner().invoke(cli.app, [*name.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    command = COMMANDS[name]
    assert command.help and command.help.splitlines()[0] in " ".join(shown.output.split())
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name} has no help"
        names = [parameter.opts[0], parameter.metavar or parameter.opts[0]]
        assert any(each in shown.output for each in names), parameter.name


def test_the_first_call_shows_the_way(call: Callable[..., Done]) -> None:
    """`rnnapp` alone lists the verbs, and where to begin."""
    shown = call()
    assert all(name in shown.out + shown.err for name in COMMANDS if " " not in name)
    assert "rnnapp quickstart" in shown.out + shown.err


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
        raise error.__new__(error, "[it] does not agree")  # whatever else it is made with

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
