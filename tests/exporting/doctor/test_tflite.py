"""Faults of .tflite files as converters make them, and sound files that look faulty."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from rnnapp.exporting import mediapipe
from rnnapp.exporting.doctor import diagnose, tflite_variables, versions
from rnnapp.exporting.doctor.tflite_file import TFLiteFile

from ..conftest import untrained
from .tables import Tables, dense, recurrent, whole_numbers

# The converter expects statistics of an older kind of quantization, and goes on without.
calibrating = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")


@calibrating
@pytest.mark.parametrize(
    "name", ["keras", "flex", "emptied", "stateful", "open length", "per row", "int8"]
)
def test_what_converters_make_is_found(name: str, tmp_path: Path) -> None:
    """The ways in which people's own conversions go wrong."""
    check_converted(name, tmp_path)


@calibrating
@pytest.mark.parametrize("name", ["loop", "per matrix", "int8 inside"])
def test_sound_conversions_are_left_in_peace(name: str, tmp_path: Path) -> None:
    """Findings that are none cost trust in all others."""
    check_converted(name, tmp_path)


def check_converted(name: str, folder: Path) -> None:
    """Converts, and looks for all that is wrong, and no more."""
    from .converted import CONVERTED

    convert, codes = CONVERTED[name]
    path = folder / "model.tflite"
    path.write_bytes(convert())
    assert [finding.code for finding in diagnose(path)] == codes


@pytest.mark.parametrize("tables", [dense(), whole_numbers()], ids=["dense", "whole numbers"])
def test_a_sound_file_is_left_in_peace(tables: Tables, tmp_path: Path) -> None:
    """On the runtimes that it is for."""
    assert diagnose(tables.write(tmp_path, runtimes=["tflite_runtime", "tflite_micro"])) == []


def test_infinities_that_mask_are_left_in_peace(tmp_path: Path) -> None:
    """What is added to the scores of an attention, and where a maximum starts."""
    tables, low = dense(), float("-inf")
    tables.constant("mask", np.array([[0, low, low], [0, 0, low]], np.float32))
    tables.constant("start", np.full(3, low, np.float32))
    assert diagnose(tables.write(tmp_path)) == []


def test_a_file_that_names_its_runtimes_is_not_held_to_others(tmp_path: Path) -> None:
    """Whole numbers are for microcontrollers, which are no browsers."""
    tables, bites = whole_numbers(), ["browser-types"]
    for runtimes, codes in (([], []), (["tflite_micro"], []), (["c99", "chromium"], bites)):
        found = diagnose(tables.write(tmp_path, runtimes=runtimes))
        assert [finding.code for finding in found] == codes
    assert [finding.code for finding in diagnose(tables.write(tmp_path))] == bites
    assert diagnose(tables.write(tmp_path, sample_rate=16_000)) == []  # for our own runner


def test_a_frame_that_resets_an_lstm_is_seen(tmp_path: Path) -> None:
    """The same operator, with a state that no answer shows."""
    model = untrained(tmp_path / "run", "cell=lstm").load_model()
    path = tmp_path / "model.tflite"
    path.write_bytes(mediapipe.convert(model, 2400))
    names = {operator.name for operator in TFLiteFile(path).operators()}
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in names
    assert diagnose(path) == []


def test_a_state_that_shows_is_told_from_one_that_was_not_run(tmp_path: Path) -> None:
    """The reason must not claim what was not seen."""
    path = recurrent().write(tmp_path)
    assert tflite_variables.leaks(TFLiteFile(path)) is True
    assert "Answers to the same input differ" in diagnose(path)[0].reason
    broken = recurrent()
    broken.operator("BeamSearch", [0], [1])
    path = broken.write(tmp_path)
    assert tflite_variables.leaks(TFLiteFile(path)) is None
    hidden = next(finding for finding in diagnose(path) if finding.code == "hidden-state")
    assert "Answers to the same input differ" not in hidden.reason


@pytest.mark.slow
def test_the_table_of_operators_is_what_the_runtime_answers() -> None:
    """Whoever updates the runtime is told to ask it again."""
    assert versions.ask(sys.executable) == versions.AI_EDGE_LITERT
