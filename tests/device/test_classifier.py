"""Whole clips, on a model whose right answers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.device import Classifier, Listener, load

from .conftest import LABELS, RATE, TONES, silence, tone


@pytest.fixture(scope="module")
def classifier(tones_path: Path) -> Classifier:
    """A classifier keeps nothing from clip to clip, so that tests share it."""
    return Classifier(tones_path)


def test_the_whole_clip_equals_streaming(classifier: Classifier) -> None:
    """The last step of a clip must answer as `predict` does on all of it."""
    clip = np.concatenate([silence(0.3), tone("high", 0.5), silence(0.2)])
    streamed = Listener(classifier.model).probabilities(clip)[-1]
    # float32 sums in another order, through a softmax of slope below 10
    np.testing.assert_allclose(classifier.predict(clip), streamed, atol=1e-5)


def test_short_clips_are_padded_on_the_right(classifier: Classifier) -> None:
    """As the pipeline does in training."""
    clip = tone("low", 0.9)
    padded = np.concatenate([clip, silence(0.1)])
    np.testing.assert_array_equal(classifier.predict(clip), classifier.predict(padded))


@given(before=st.floats(0, 3), after=st.floats(0, 3))
@settings(max_examples=20, deadline=None)
def test_the_word_is_found_in_long_clips(
    classifier: Classifier, before: float, after: float
) -> None:
    """The stretch with the most energy is kept, wherever it lies."""
    clip = tone("top", 1.0)
    longer = np.concatenate([silence(before), clip, silence(after)])
    np.testing.assert_array_equal(classifier.predict(longer), classifier.predict(clip))


@pytest.mark.parametrize("name", TONES)
@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_clips_of_any_rate_are_classified(classifier: Classifier, name: str, rate: int) -> None:
    """Audio in memory has the rate that it was made at."""
    times = np.arange(rate) / rate
    samples = 0.3 * np.sin(2 * np.pi * TONES[name] * times).astype(np.float32)
    assert LABELS[int(np.argmax(classifier.predict(samples, rate)))] == name


def test_a_stream_on_the_same_model_is_left_alone(classifier: Classifier) -> None:
    """A clip may be asked about while a stream runs."""
    listener = Listener(classifier.model)
    listener.feed(tone("mid", 0.3))
    states = listener.stepper.states["hidden"].copy()
    classifier.predict(tone("high", 1.0), RATE)
    np.testing.assert_array_equal(listener.stepper.states["hidden"], states)


def test_a_model_without_a_step_will_do(convert_tones: Callable[..., bytes]) -> None:
    """One that reads backwards has none, and knows clips all the same."""
    classifier = Classifier(convert_tones(("predict",)), labels=LABELS)
    assert LABELS[int(np.argmax(classifier.predict(tone("mid", 1.0))))] == "mid"


def test_what_classifies_no_clips_is_refused(
    convert_tones: Callable[..., bytes], tones_path: Path
) -> None:
    """Before the first clip, by name."""
    with pytest.raises(ValueError, match=r"signature `predict`\. It has: step"):
        Classifier(convert_tones(("step",)), labels=LABELS)
    with pytest.raises(ValueError, match="there must be as many labels"):
        Classifier(load(tones_path), labels=LABELS[1:])
