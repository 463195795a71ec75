"""Planted faults are found, and sound files are left in peace, in every kind of file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from rnnapp.exporting.doctor import diagnose

from . import keras_faults, saved_model_faults, tflite_faults
from .saved_model_faults import UNITS, exported

KINDS = {"keras": keras_faults, "saved_model": saved_model_faults, "tflite": tflite_faults}


def named(table: str, *kinds: str) -> list[Any]:
    """The kind and name of each file in the tables of these kinds."""
    return [
        pytest.param(kind, name, marks=keras_faults.WARNED if kind == "keras" else ())
        for kind in kinds
        for name in getattr(KINDS[kind], table)
    ]


@pytest.mark.parametrize(("kind", "name"), named("FAULTS", *KINDS))
def test_a_planted_fault_is_found(kind: str, name: str, tmp_path: Path) -> None:
    """That fault, and no other, with what to do."""
    findings = diagnose(KINDS[kind].FAULTS[name](tmp_path))
    assert [finding.code for finding in findings] == [name.partition("/")[0]]
    assert all(finding.where and finding.reason and finding.remedy for finding in findings)


@pytest.mark.parametrize(("kind", "name"), named("SOUND", "keras", "saved_model"))
def test_a_sound_file_is_left_in_peace(kind: str, name: str, tmp_path: Path) -> None:
    """Findings that are none cost trust in all others."""
    assert diagnose(KINDS[kind].SOUND[name](tmp_path)) == []


def test_a_masked_model_of_a_gpu_machine_fails_in_two_ways(tmp_path: Path) -> None:
    """Without a GPU always, and with one on a mask that is not right-padded."""
    layers = keras.layers.Masking(), keras.layers.LSTM(UNITS)
    findings = diagnose(exported(*layers, gpu=True)(tmp_path))
    assert {finding.code for finding in findings} == {"cudnn-only", "left-padding"}
