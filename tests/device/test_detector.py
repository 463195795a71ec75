"""Smoothing, threshold and refractory time: properties over any probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rnnapp.device import Detector, Event, fire, smooth, thresholds_for

LABELS = ["_silence_", "yes", "_unknown_", "no"]


@st.composite
def probabilities(draw: st.DrawFn) -> np.ndarray:
    """Rows (steps, 4) of a few levels, held for a while, so that crossings are many."""
    levels = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    rows = draw(hnp.arrays(np.float32, (draw(st.integers(0, 30)), 4), elements=levels))
    return np.repeat(rows, draw(st.integers(1, 4)), axis=0)


thresholds = st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.9, 1.0])


@st.composite
def detectors(draw: st.DrawFn) -> Detector:
    """A detector of any window, refractory time and thresholds."""
    return Detector(
        LABELS,
        threshold=draw(
            st.one_of(thresholds, st.fixed_dictionaries(dict.fromkeys(("yes", "no"), thresholds)))
        ),
        smoothing_ms=draw(st.integers(0, 80)),
        refractory_ms=draw(st.integers(0, 200)),
    )


@given(detector=detectors(), rows=probabilities())
def test_incremental_equals_batch(detector: Detector, rows: np.ndarray) -> None:
    """The evaluation must see what the device sees, to the bit."""
    one_by_one = [event for event in map(detector.update, rows) if event]
    assert detector.detect(rows) == one_by_one


@given(detector=detectors(), rows=probabilities(), cuts=st.lists(st.integers(0, 120)))
def test_any_chunks_equal_batch(detector: Detector, rows: np.ndarray, cuts: list[int]) -> None:
    """How many steps arrive at a time must not show."""
    chunks = np.split(rows, sorted(min(cut, len(rows)) for cut in cuts))
    assert [e for chunk in chunks for e in detector.feed(chunk)] == detector.detect(rows)


@given(rows=probabilities(), window=st.integers(1, 9))
def test_smoothing_is_the_mean_of_the_window(rows: np.ndarray, window: int) -> None:
    """The fixed-point sums are a plain moving average over what came, zeros before the start."""
    padded = np.concatenate([np.zeros((window - 1, 4)), rows])
    means = [padded[i : i + window].mean(axis=0) for i in range(len(rows))]
    # fixed point keeps 30 bits
    np.testing.assert_allclose(
        smooth(rows, window), np.reshape(means, rows.shape), rtol=0, atol=2**-30
    )


@given(detector=detectors(), rows=probabilities())
def test_refractory_time_is_never_violated(detector: Detector, rows: np.ndarray) -> None:
    """One utterance gives one event, whichever labels it crosses."""
    steps = np.array([round(event.time_s * 100) for event in detector.detect(rows)])
    assert (np.diff(steps) >= detector.refractory).all()


@given(detector=detectors(), rows=probabilities())
def test_events_are_crossings_of_the_foreground(detector: Detector, rows: np.ndarray) -> None:
    """Each event stands at its threshold or above, one step after it stood below."""
    smoothed = smooth(rows, detector.window)
    for event in detector.detect(rows):
        label, step = LABELS.index(event.label), round(event.time_s * 100) - 1
        assert event.label in ("yes", "no")
        assert event.probability == smoothed[step, label] >= detector.thresholds[label]
        assert step == 0 or smoothed[step - 1, label] < detector.thresholds[label]


@given(rows=probabilities(), low=thresholds, high=thresholds, refractory=st.integers(1, 20))
def test_first_event_comes_no_later_at_a_lower_threshold(
    rows: np.ndarray, low: float, high: float, refractory: int
) -> None:
    """What holds of a lower threshold: it hears whatever is heard, no later.

    The number of events is not monotone: a peak above a low threshold may hold several above a
    high one, so a sweep has to count them all.
    """
    low, high = min(low, high), max(low, high)
    first = [
        fire(rows, thresholds_for(LABELS, threshold), refractory)[:1, 0].tolist()
        for threshold in (low, high)
    ]
    assert not first[1] or (first[0] and first[0] <= first[1])


@given(rows=probabilities(), low=thresholds, high=thresholds)
def test_every_crossing_lies_above_the_lower_threshold_too(
    rows: np.ndarray, low: float, high: float
) -> None:
    """Each excursion above a high threshold lies within one above a lower threshold."""
    low, high = min(low, high), max(low, high)
    for step, label in fire(rows, thresholds_for(LABELS, high), 1):
        earlier = rows[: step + 1, label]
        starts = np.flatnonzero((earlier >= low) & (np.append(0, earlier[:-1]) < low))
        assert len(starts) and (earlier[starts[-1] :] >= low).all()


def test_a_held_word_fires_once() -> None:
    """A recurrent model may hold its answer long after the word."""
    rows = np.tile([0.0, 0, 0, 1], (500, 1))
    detector = Detector(LABELS, threshold=0.75, smoothing_ms=80, refractory_ms=200)
    assert detector.detect(rows) == [Event("no", time_s=0.06, probability=0.75)]


def test_the_likeliest_of_several_fires() -> None:
    """Labels that cross in the same step are decided by probability, not by their order."""
    rows = np.array([[0, 0.3, 0, 0.6]])
    (event,) = Detector(LABELS, threshold=0.2, smoothing_ms=0).detect(rows)
    assert event.label == "no"


def test_reset_starts_anew() -> None:
    """A second recording begins at 0 s, with no refractory time left from the first."""
    detector = Detector(LABELS, smoothing_ms=0)
    row = np.array([0.0, 1, 0, 0])
    first = detector.update(row)
    assert first and detector.update(row) is None
    detector.reset()
    assert detector.update(row) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "must lie above 0"),
        ({"threshold": 1.5}, "at most at 1"),
        ({"threshold": float("nan")}, "must lie above 0"),
        ({"threshold": {"yes": 0.5}}, r"each of \['yes', 'no'\]. Received: \['yes'\]"),
        ({"threshold": {"yes": 0.5, "no": 0.5, "_silence_": 0.5}}, "Received"),
        ({"step_ms": 0}, "`step_ms` must be positive"),
        ({"smoothing_ms": -1}, "must not be negative"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    """A typing error in a settings file must not make a deaf listener."""
    with pytest.raises(ValueError, match=message):
        Detector(LABELS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.0, np.nan, 0, 0], "between 0 and 1"),
        ([-5.0, 3, 0, 0], "between 0 and 1"),
        ([0.5, 0.5], "each of the 4 labels"),
    ],
)
def test_rows_that_are_no_probabilities_are_refused(row: list[float], message: str) -> None:
    """Logits or NaN would fire at random, or never."""
    with pytest.raises(ValueError, match=message):
        Detector(LABELS).update(np.array(row))
