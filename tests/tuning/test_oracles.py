"""keras-tuner's oracles over many trials, killed and gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from rnnapp.tuning import oracles, records
from rnnapp.tuning.objectives import Objective
from rnnapp.tuning.oracles import Budget
from rnnapp.tuning.plan import Plan

from .fake import Fake

SEARCHES = ("random", "bayesian", "hyperband")
pytestmark = pytest.mark.filterwarnings(
    # Of a Gaussian process that few trials say little to.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


class Killed(BaseException):
    """What a kill is to the code that it hits."""


def plan(search: str = "random", **fields: Any) -> Plan:
    """A search over three fields."""
    only = ("units", "learning_rate", "cell")
    return Plan("speech_commands", settings=("epochs=9",), only=only, search=search, **fields)


def search(plan: Plan, folder: Path, trials: int, **how: Any) -> Fake:
    """Runs trials in this process."""
    folder.mkdir(exist_ok=True)
    oracle = oracles.make(plan, folder / "oracle.json", Budget(trials), ["worker-1"])
    fake = Fake(plan, folder, seconds=0, **how)
    oracles.work(oracles.tuner(oracle, folder).oracle, "worker-1", fake)
    return fake


def settings(folder: Path) -> list[tuple[str, ...]]:
    """What was tried, in order."""
    return [record.settings for record in records.read_all(folder)]


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_tries_as_often_as_it_may(kind: str, tmp_path: Path) -> None:
    """The same for a seed, other settings for another, the spec itself first."""
    assert search(plan(kind), tmp_path / "a", 7).ran == [*range(7)]
    search(plan(kind), tmp_path / "b", 7)
    search(plan(kind, seed=1), tmp_path / "c", 7)
    first, same, other = (settings(tmp_path / name) for name in "abc")
    assert first == same != other
    assert len(set(first)) == 7 or kind == "hyperband"  # which tries the good ones for longer
    assert "model.units=64" in first[0] or kind == "hyperband"


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_goes_on_with_a_larger_budget(kind: str, tmp_path: Path) -> None:
    """What was tried is not tried again."""
    search(plan(kind), tmp_path / "a", 4)
    assert search(plan(kind), tmp_path / "a", 4).ran == []
    assert search(plan(kind), tmp_path / "a", 6).ran == [4, 5]
    search(plan(kind), tmp_path / "b", 6)
    assert settings(tmp_path / "a") == settings(tmp_path / "b")


@pytest.mark.parametrize("kind", ["random", "bayesian"])
def test_nothing_is_tried_twice(kind: str, tmp_path: Path) -> None:
    """Numbers that are drawn differ where their settings do not: here are five, 8 to 40 by 8."""
    small = Plan("speech_commands", tune=("units=8..40",), only=("units",), search=kind)
    search(small, tmp_path, 20)
    found = settings(tmp_path)
    assert len(found) == len(set(found)) and 4 <= len(found) <= 5


def kill_at_write(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the process when the oracle's file is about to be written for the nth time."""
    write, count = oracles.write_json, iter(range(1, 10**6))

    def writing(path: Path, values: Any) -> None:
        if next(count) == number:
            raise Killed
        write(path, values)

    monkeypatch.setattr(oracles, "write_json", writing)


@pytest.mark.parametrize("number", range(1, 13))
def test_no_kill_loses_a_trial_or_counts_one_twice(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the chief is in its bookkeeping: every trial ends once, by the same settings."""
    search(plan(), tmp_path / "whole", 3)
    with monkeypatch.context() as killing, pytest.raises(Killed):
        kill_at_write(number, killing)
        search(plan(), tmp_path / "killed", 3)
    search(plan(), tmp_path / "killed", 3)
    ended = (tmp_path / "killed" / "ended.txt").read_text().split()
    assert sorted(ended) == ["0", "1", "2"]
    assert settings(tmp_path / "killed") == settings(tmp_path / "whole")
    again = oracles.make(plan(), tmp_path / "killed" / "oracle.json", Budget(3), ["worker-1"])
    assert sorted(again.end_order) == ["0000", "0001", "0002"]
    assert again.create_trial("worker-1").status == "STOPPED"


def test_a_chief_that_comes_back_leaves_trials_to_their_workers(tmp_path: Path) -> None:
    """Two workers in one run folder would spoil it; those that are gone give theirs up."""
    path = tmp_path / "oracle.json"
    begun = oracles.make(plan(), path, Budget(9), ["worker-1", "worker-2"])
    oracles.tuner(begun, tmp_path)
    mine, theirs = begun.create_trial("worker-1"), begun.create_trial("worker-2")
    again = oracles.make(plan(), path, Budget(9), ["worker-1", "worker-2"])
    assert again.create_trial("worker-1").trial_id == mine.trial_id
    assert again.create_trial("worker-2").trial_id == theirs.trial_id
    fewer = oracles.make(plan(), path, Budget(9), ["worker-1"])
    assert fewer.create_trial("worker-1").trial_id == mine.trial_id
    fewer.update_trial(mine.trial_id, {"told": 0.0, "cost": 1.0})
    mine.status = "COMPLETED"
    fewer.end_trial(mine)
    assert fewer.create_trial("worker-1").trial_id == theirs.trial_id


@pytest.mark.parametrize("kind", SEARCHES)
def test_failures_are_searched_around(kind: str, tmp_path: Path) -> None:
    """Some are no reason to stop; keras-tuner's own rule of three in a row is off."""
    fake = search(plan(kind), tmp_path, 12, failing=frozenset({3, 4, 5}))
    assert fake.ran == [*range(12)]
    states = [record.state for record in records.read_all(tmp_path)]
    assert states.count("failed") == 3


@pytest.mark.parametrize(
    ("failing", "ends"), [({0, 1, 2}, 3), ({0, 2, 3, 5}, 6), ({1, 2, 4, 5}, 6)]
)
def test_a_search_stops_where_failures_are_the_rule(
    failing: set[int], ends: int, tmp_path: Path
) -> None:
    """Three of three, or more than half of six."""
    assert search(plan(), tmp_path, 20, failing=frozenset(failing)).ran == [*range(ends)]


def test_time_that_is_up_begins_no_trial(tmp_path: Path) -> None:
    """A budget of hours."""
    oracle = oracles.make(plan(), tmp_path / "oracle.json", Budget(until=0.0))
    fake = Fake(plan(), tmp_path, seconds=0)
    oracles.work(oracles.tuner(oracle, tmp_path).oracle, "worker-1", fake)
    assert fake.ran == []


def test_a_bayesian_search_learns_where_bounds_are(tmp_path: Path) -> None:
    """Quality peaks at 100 units, which weigh 40 kB: under 20 kB, the best is near 50 units."""
    sought = plan("bayesian", objective=Objective(max_bytes=20_000))
    search(sought, tmp_path, 18)
    best = records.best(records.read_all(tmp_path), sought.objective)
    assert best is not None and best.bytes is not None and 16_000 <= best.bytes <= 20_000


def test_a_front_is_sought_along_its_length(tmp_path: Path) -> None:
    """Small models as well as good ones: fewer units trade quality for size, down to 16."""
    sought = plan("bayesian", objective=Objective("pareto"))
    search(sought, tmp_path, 18)
    units = [each.values["model.units"] for each in records.on_front(records.read_all(tmp_path))]
    assert len(units) >= 5 and min(units) <= 24 and max(units) >= 80


def test_hyperband_goes_on_from_earlier_weights(tmp_path: Path) -> None:
    """Its longer trials train the epochs that are missing, from the run that earned them."""
    from rnnapp.tuning.trials import Trials

    trials = Trials(plan("hyperband"), tmp_path)
    drawn = {"tuner/epochs": 9, "tuner/initial_epoch": 3, "tuner/trial_id": "0004"}
    start = tmp_path / "trials" / "0004" / "run"
    assert trials._rounds(drawn) == ["train.epochs=6", f'train.start="{start}"']
    assert trials._rounds({"tuner/epochs": 3, "tuner/initial_epoch": 0}) == ["train.epochs=3"]


def test_the_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    """Trials of two searches would be compared as if they were of one."""
    plan().begin(tmp_path / "a")
    plan().begin(tmp_path / "a")
    with pytest.raises(ValueError, match="was begun with seed=0"):
        plan(seed=1).begin(tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="`out` must be a new folder"):
        plan().begin(tmp_path / "a")


def test_a_trial_ends_once(tmp_path: Path) -> None:
    """A worker that was given up for dead comes back, when another has its trial."""
    path = tmp_path / "oracle.json"
    begun = oracles.make(plan(), path, Budget(9), ["worker-1", "worker-2"])
    oracles.tuner(begun, tmp_path)
    lost = begun.create_trial("worker-2")
    again = oracles.make(plan(), path, Budget(9), ["worker-1"])
    assert again.create_trial("worker-1").trial_id == lost.trial_id
    for cost in (0.25, 0.75):
        again.update_trial(lost.trial_id, {"cost": cost, "told": 0.0})
        lost.status = "COMPLETED"
        again.end_trial(lost)
    assert again.end_order == [lost.trial_id]
