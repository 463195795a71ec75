"""Faults of SavedModels are found, and sound ones are left in peace."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from rnnapp.exporting.doctor import diagnose

from .saved_model_faults import FAULTS, SOUND, UNITS, exported


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    """That fault, and no other, with what to do."""
    findings = diagnose(FAULTS[name](tmp_path))
    assert [finding.code for finding in findings] == [name.partition("/")[0]]
    assert all(finding.where and finding.reason and finding.remedy for finding in findings)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_file_is_left_in_peace(name: str, tmp_path: Path) -> None:
    """Findings that are none cost trust in all others."""
    assert diagnose(SOUND[name](tmp_path)) == []


def test_a_masked_model_of_a_gpu_machine_fails_in_two_ways(tmp_path: Path) -> None:
    """Without a GPU always, and with one on a mask that is not right-padded."""
    layers = keras.layers.Masking(), keras.layers.LSTM(UNITS)
    findings = diagnose(exported(*layers, gpu=True)(tmp_path))
    assert {finding.code for finding in findings} == {"cudnn-only", "left-padding"}
