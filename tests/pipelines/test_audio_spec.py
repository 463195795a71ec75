"""Settings of audio: kept as JSON, refused where they make no sense."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pipelines.audio import AudioSpec, AugmentationSpec


def test_spec_is_json_and_back() -> None:
    """Settings survive JSON, as run folders keep them."""
    spec = AudioSpec(words=("yes", "no"), augmentation=AugmentationSpec(gain_db=(-3, 3)))
    assert AudioSpec(**json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AudioSpec(sample_rate=0), "`sample_rate` must be a positive integer. Received: s"),
        (lambda: AudioSpec(clip_seconds=-1.0), "`clip_seconds` must be a positive number"),
        (lambda: AudioSpec(words=("yes", "yes")), "`words` must be distinct words"),
        (lambda: AudioSpec(validation_percent=60, testing_percent=60), "must be at most 100"),
        (
            lambda: AudioSpec(on_bad_input="ignore"),
            "one of skip, stop. Received: on_bad_input='ign",
        ),
        (
            lambda: AugmentationSpec(speed=(2.0, 1.0)),
            "`speed` must be two numbers, the lower first",
        ),
        (lambda: AugmentationSpec(speed=(0.0, 1.0)), "`speed` must be positive"),
        (lambda: AugmentationSpec(gain_probability=1.5), r"`gain_probability` must be in \[0, 1\]"),
        (lambda: AugmentationSpec(equalizer_db=-1.0), "`equalizer_db` must be zero or more"),
    ],
)
def test_wrong_setting_is_named(make: object, message: str) -> None:
    """A setting that makes no sense is refused when it is made."""
    with pytest.raises(ValueError, match=message):
        make()
