"""What is best: quality, quality under bounds, a front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnapp.tuning import records
from rnnapp.tuning.objectives import AXES, Objective, front, parse_size
from rnnapp.tuning.records import Record

metric = st.floats(1e-3, 1e3)
trials = st.lists(
    st.one_of(
        st.fixed_dictionaries(dict.fromkeys(AXES, metric)),
        st.fixed_dictionaries({"cost": metric}),
        st.just({"failed": 1.0}),
    ),
    min_size=1,
    max_size=12,
)


def measured(number: int, cost: float, size: int, us: float) -> Record:
    """A trial that was trained, exported and measured."""
    settings = (f"model.units={size}",)
    return Record(number, "completed", settings, quality=1 - cost, cost=cost, bytes=size, us=us)


@given(trials)
def test_nothing_beats_the_front_and_the_front_beats_all_else(found: list[dict]) -> None:
    """By the definition of Pareto."""

    def beats(mine: dict, other: dict) -> bool:
        return mine != other and all(mine[axis] <= other[axis] for axis in AXES)

    places = front(found)
    whole = [place for place, each in enumerate(found) if set(AXES) <= each.keys()]
    assert set(places) <= set(whole) and bool(places) == bool(whole)
    for place in whole:
        beaten = any(beats(found[other], found[place]) for other in whole)
        assert beaten == (place not in places)
        assert not beaten or any(beats(found[each], found[place]) for each in places)


@given(trials, st.integers(0, 5))
def test_an_oracle_is_told_numbers_and_failures_are_the_worst(found: list[dict], seed: int) -> None:
    """keras-tuner takes no NaN, and must learn to keep off what fails."""
    for objective in (Objective(), Objective(max_bytes=10, max_us=3.0), Objective("pareto")):
        scores = objective.scores(found, (seed,))
        assert len(scores) == len(found)
        assert all(score == score and abs(score) < 1e9 for score in scores)
        failed = [s for s, each in zip(scores, found, strict=True) if "failed" in each]
        assert all(score == max(scores) for score in failed)


@given(st.fixed_dictionaries(dict.fromkeys(AXES, metric)), st.integers(0, 99))
def test_mixtures_prefer_what_is_better_in_everything(one: dict, seed: int) -> None:
    """Whatever the weights of the axes are."""
    better = {axis: value / 2 for axis, value in one.items()}
    first, second = Objective("pareto").scores([one, better], (seed,))
    assert second < first


def test_bounds_choose_the_best_within_and_the_smaller_of_two_alike() -> None:
    """The best of all may be too large; equal quality goes to the smaller file."""
    found = [measured(0, 0.1, 90, 9.0), measured(1, 0.2, 50, 5.0), measured(2, 0.2, 40, 5.0)]
    best = records.best(found, Objective(max_bytes=60))
    assert best is not None and best.number == 2
    assert records.best(found, Objective()) == found[0]
    assert records.best(found, Objective(max_us=1.0)) is None
    pruned = Record(3, "pruned", (), quality=0.99, cost=0.01)
    assert records.best([*found, pruned], Objective(max_bytes=60)) == found[2]
    assert records.best([*found, pruned], Objective("pareto")) == found[0]


def test_a_bound_that_nothing_met_is_named_with_the_nearest_trial() -> None:
    """What to give way on, and by how much."""
    found = [measured(0, 0.1, 61_000, 200.0), measured(1, 0.2, 90_000, 79.0)]
    said = records.unmet(found, Objective(max_bytes=70_000, max_us=80.0))
    assert "Each bound was met, but no trial met them all" in said
    said = records.unmet(found, Objective(max_bytes=60_000))
    assert "No trial met --max-size 60000 bytes. The nearest is trial 0: 61.0 kB" in said
    said = records.unmet(found, Objective(max_bytes=50_000, max_us=7.5))
    assert "No trial met --max-size 50000 bytes nor --max-step-us 7.5" in said


@pytest.mark.parametrize(
    ("text", "size"), [("60KB", 60_000), ("1.5 MB", 1_500_000), ("64KiB", 65_536), ("900", 900)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    """As people write them."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["big", "60 bananas", "", "1.2.3KB"])
def test_other_sizes_are_refused(text: str) -> None:
    """Not taken for something else."""
    with pytest.raises(ValueError, match="must be such as 60KB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "qualty"}, "`kind` must be one of quality, pareto"),
        ({"max_bytes": 0}, "`max_size` must be above zero"),
        ({"max_us": -1.0}, "`max_step_us` must be above zero"),
        ({"kind": "pareto", "max_us": 80.0}, "`objective` must be quality, where there are bounds"),
    ],
)
def test_what_is_no_objective_is_refused(fields: dict, message: str) -> None:
    """Before the first trial."""
    with pytest.raises(ValueError, match=message):
        Objective(**fields)


@given(st.lists(st.booleans(), max_size=20))
def test_failures_are_the_rule_only_if_they_are(failed: list[bool]) -> None:
    """A search goes on around them else."""
    rule = records.failures_rule(failed)
    assert rule == (
        (len(failed) >= 3 and all(failed)) or (len(failed) >= 6 and sum(failed) > len(failed) / 2)
    )
