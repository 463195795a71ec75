"""`python -m rnnapp.device`: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnnapp.device.__main__ import main

from .conftest import melody
from .test_audio import BAD, bad_file, write_wave


@pytest.fixture
def melody_path(tmp_path: Path) -> Path:
    """A recording of three tones."""
    path = tmp_path / "melody.wav"
    write_wave(path, melody()[:, None], 2)
    return path


def test_events_are_printed_with_their_times(
    tones_path: Path, melody_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """People read these lines, and scripts split them."""
    assert main([str(tones_path), "--wav", str(melody_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == ["mid", "low", "top"]
    assert all(0 < float(line[0]) < 5 and 0.8 <= float(line[3]) <= 1 for line in lines)


def test_json_is_all_there_is_on_standard_output(
    tones_path: Path, melody_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object a line, so that a program can read events as they come."""
    assert main([str(tones_path), "--wav", str(melody_path), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sorted(event) for event in events] == [["label", "probability", "time_s"]] * 3


def test_threshold_reaches_the_detector(
    tones_path: Path, melody_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model's certainty ends below 1."""
    assert main([str(tones_path), "--wav", str(melody_path), "--threshold", "1"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", BAD)
def test_bad_recordings_are_named(
    tones_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Wrong input ends with code 2 and the file's name, not with a trace."""
    path = bad_file(tmp_path, kind)
    assert main([str(tones_path), "--wav", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and path.name in printed.err
    assert printed.out == ""


def test_bad_model_is_named(
    tmp_path: Path, melody_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two files of the command are told apart."""
    assert main([str(melody_path), "--wav", str(melody_path)]) == 2
    assert "melody.wav must be a TFLite file" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["a.tflite"], ["a.tflite", "--mic", "--wav", "a.wav"]])
def test_wrong_use_exits_with_two(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exactly one source of sound."""
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert "usage: python -m rnnapp.device" in capsys.readouterr().err
