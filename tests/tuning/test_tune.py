"""A whole search: its crew is killed, its best run goes on to be exported, its report tells."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnapp
from rnnapp import Run
from rnnapp.manifests import read_manifest
from rnnapp.tuning import oracles, records, table, tune
from rnnapp.tuning.__main__ import main
from rnnapp.tuning.crew import CHIEF, Crew, shares
from rnnapp.tuning.importance import importance
from rnnapp.tuning.objectives import Objective
from rnnapp.tuning.oracles import Budget
from rnnapp.tuning.plan import Plan, TuningError, alone, beat_of, trial_folder
from rnnapp.tuning.records import Record
from tests.conftest import TINY

from .fake import Fake, finished

ROOT = Path(__file__).parents[2]
FAKE = "tests.tuning.fake"


def plan(**fields: Any) -> Plan:
    """A search over two fields."""
    return Plan("speech_commands", only=("units", "cell"), search="random", **fields)


def searched(folder: Path, trials: int, **fields: Any) -> Path:
    """A search in this process, without a kill."""
    asked = plan(**fields)
    asked.begin(folder)
    oracle = oracles.make(asked, folder / "oracle.json", Budget(trials))
    oracles.work(oracles.tuner(oracle, folder).oracle, "worker-1", Fake(asked, folder, seconds=0))
    return folder


def wait_for(condition: Any, crew: Crew, seconds: float = 240) -> None:
    """Tends a crew until something has come to be."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, crew.log(CHIEF).read_text()
        crew.tend(0)
        time.sleep(0.05)


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where `python -m tests...` finds the fake trials."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield


@pytest.mark.slow
def test_kills_lose_no_trial_and_change_no_result(tmp_path: Path, at_root: None) -> None:
    """A worker twice and the chief once, in mid-trial, by SIGKILL: as if nothing had been."""
    trials, folder = 6, tmp_path / "killed"
    plan().begin(folder)

    def kill(name: str, since: float) -> float:
        """Kills a process once worker-1 has begun a trial, and waits for its successor."""
        wait_for(lambda: any(begun(record, since) for record in records.read_all(folder)), crew)
        pid, now = crew.processes[name].pid, time.time()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: crew.processes[name].pid != pid, crew)
        return now

    def begun(record: Record, since: float) -> bool:
        mine = record.worker == "worker-1" and record.state == "running"
        return mine and record.begun > since

    with Crew(folder, 2, trials, module=FAKE) as crew:
        cores = [os.sched_getaffinity(crew.processes[name].pid) for name in crew.names]
        assert cores[0] != cores[1] or os.cpu_count() == 1
        kill(CHIEF, since=kill("worker-1", since=kill("worker-1", since=0.0)))
        wait_for(lambda: not crew.tend(0), crew)
    once = sorted(map(int, (folder / "ended.txt").read_text().split()))
    assert once == [*range(trials)]
    found, whole = (
        records.read_all(each) for each in (folder, searched(tmp_path / "whole", trials))
    )
    assert [each.settings for each in found] == [each.settings for each in whole]
    assert {each.worker for each in found} == {"worker-1", "worker-2"}
    best, same = (records.best(each, Objective()) for each in (found, whole))
    assert best and same and best.number == same.number


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_its_trial_runs_again(
    tmp_path: Path, at_root: None
) -> None:
    """Nothing else would notice; the chief would wait for it for ever."""
    plan().begin(tmp_path)
    with Crew(tmp_path, 1, 3, module=FAKE, patience_seconds=120) as crew:
        wait_for(lambda: (tmp_path / "trials" / "0000").exists(), crew)
        pid = crew.processes["worker-1"].pid
        os.kill(pid, signal.SIGSTOP)
        long_ago = time.time() - 1000
        os.utime(beat_of(tmp_path, "worker-1"), (long_ago, long_ago))
        crew._started["worker-1"] = long_ago
        wait_for(lambda: crew.processes["worker-1"].pid != pid, crew)
        wait_for(lambda: not crew.tend(0), crew)
    assert sorted((tmp_path / "ended.txt").read_text().split()) == ["0", "1", "2"]


@given(st.integers(1, 9), st.integers(1, 9))
def test_workers_share_the_cores(cores: int, workers: int) -> None:
    """Each has some, all are used, and none by two while there are enough."""
    found = shares([*range(10, 10 + cores)], workers)
    used = [core for share in found for core in share]
    assert len(found) == workers and all(found)
    assert set(used) == {*range(10, 10 + cores)}
    assert len(used) == max(cores, workers)


def test_a_crew_that_only_dies_is_given_up(tmp_path: Path) -> None:
    """With the last words of who died, instead of a loop."""
    plan().begin(tmp_path)
    why = pytest.raises(TuningError, match="(?s)die again and again.*no_such_module")
    with Crew(tmp_path, 1, 3, module="rnnapp.no_such_module") as crew, why:
        wait_for(lambda: False, crew)
    assert all(process.poll() is not None for process in crew.processes.values())


@pytest.mark.slow
def test_a_search_leaves_a_best_run_that_exports(tones: Path, tmp_path: Path) -> None:
    """Two workers, real trials: trained, exported, measured; the report has its pictures."""
    small = [each for each in TINY if not each.startswith(("epochs", "units", "batch_size"))]
    done = rnnapp.tune(
        "speech_commands",
        tones,
        tmp_path / "search",
        settings=[*small, "epochs=2", "batch_size=16"],
        ranges=["units=8..24"],
        only=["units"],
        trials=3,
        workers=2,
    )
    assert [record.state for record in done.trials] == ["completed"] * 3
    assert all(record.bytes and record.us and record.quantized for record in done.trials)
    assert done.best.quality == max(record.quality or 0.0 for record in done.trials)
    assert Run.open(done.run).spec.model.units == done.best.values["model.units"]
    assert done.test["examples"] == 32
    export = trial_folder(done.folder, done.best.number) / "export"
    assert set(read_manifest(export)["formats"]) == {"saved_model", "step_int8"}
    assert {"report.html", "learning_curves.png", "trade_offs.png"} <= {
        path.name for path in done.folder.iterdir()
    }
    exported = rnnapp.export(done.run, tmp_path / "exported", formats=["tflite_float"])
    assert (exported / "device" / "float.tflite").exists()


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for the best run and its test: fake trials leave no run behind."""
    monkeypatch.setattr(tune, "_keep", lambda folder, best: {"accuracy": 0.9})


def test_a_report_tells_what_was_tried(tmp_path: Path, kept: None) -> None:
    """With pictures of their own, and figures as in the records."""
    done = tune.conclude(searched(tmp_path / "a", 12))
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert f"Best: trial {done.best.number}" in page and "accuracy 0.9" in page
    for name in ("trade_offs", "parallel_coordinates", "importance"):
        assert (tmp_path / "a" / f"{name}.png").stat().st_size > 5000
    for record in done.trials:
        assert f"<td>{record.values['model.units']}</td>" in page
    assert done.front and done.best in done.front


def test_a_chief_says_which_trials_end_and_leaves_the_best(
    tmp_path: Path, kept: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another machine nobody else does."""
    folder = tmp_path / "a"
    plan().begin(folder)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", CHIEF)

    def search(oracle: oracles.Durable) -> None:
        """As the workers of a chief would."""
        oracles.work(oracle, "worker-1", Fake(plan(), folder, seconds=0))

    monkeypatch.setattr(
        oracles, "tuner", lambda oracle, _: SimpleNamespace(search=partial(search, oracle))
    )
    main([str(folder), "--trials=3", "--conclude"])
    said = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=2)[:2] for line in said[1:4]] == [
        ["Trial", str(n)] for n in range(3)
    ]
    assert said[4].startswith("The best is trial") and (folder / "report.html").exists()


def test_bounds_that_nothing_meets_end_in_a_report_all_the_same(tmp_path: Path) -> None:
    """The figures say how far off they were."""
    folder = searched(tmp_path / "a", 4, objective=Objective(max_bytes=100))
    with pytest.raises(TuningError, match="No trial met --max-size 100 bytes. The nearest is"):
        tune.conclude(folder)
    assert "No trial met" in (folder / "report.html").read_text(encoding="utf-8")


def test_failures_that_are_the_rule_are_told_by_their_reasons(tmp_path: Path) -> None:
    """Three of three by one reason is one line."""
    plan().begin(tmp_path / "a")
    for number in range(3):
        begun = Record(number, "running", ("model.units=16", 'model.cell="gru"'))
        finished(begun, failed=True).write(tmp_path / "a")
    with pytest.raises(TuningError, match="3 of 3 trials failed.*\ntrial 0, 1, 2 in training: Val"):
        tune.conclude(tmp_path / "a")


def test_what_failed_before_does_not_stop_a_search_again(tmp_path: Path, kept: None) -> None:
    """A disk that was not there is there now: the same command goes on."""
    asked, folder, ran = plan(), tmp_path / "a", []
    asked.begin(folder)
    for failing, trials in ((frozenset(range(9)), 9), (frozenset[int](), 5)):
        since = time.time()
        oracle = oracles.make(asked, folder / "oracle.json", Budget(trials))
        fake = Fake(asked, folder, seconds=0, failing=failing)
        oracles.work(oracles.tuner(oracle, folder).oracle, "worker-1", fake)
        ran.append(fake.ran)
    assert ran == [[0, 1, 2], [3, 4]]
    assert tune.conclude(folder, since).best.number in (3, 4)


def test_another_bound_picks_among_the_trials_of_a_search(tmp_path: Path, kept: None) -> None:
    """All that it is judged by was measured; other settings would be another search."""
    folder = searched(tmp_path / "a", 6)
    first = tune.conclude(folder).best
    assert first.bytes is not None
    bounded = plan(objective=Objective(max_bytes=first.bytes - 1))
    bounded.begin(folder)
    bounded.write(folder)
    second = tune.conclude(folder).best
    assert second.bytes is not None and second.bytes < first.bytes
    with pytest.raises(ValueError, match="was begun with seed=0"):
        plan(seed=1).begin(folder)


def test_importance_finds_what_mattered_and_admits_what_it_cannot_tell(tmp_path: Path) -> None:
    """Units alone make the cost; of eight noisy trials nobody can tell."""
    found = records.read_all(searched(tmp_path / "a", 30))
    mattered = importance(found, plan().space)
    assert mattered and [*mattered.drops][0] == "model.units" and mattered.explained > 0.5
    assert importance(found[:5], plan().space) is None
    shuffled = [
        Record(each.number, "completed", each.settings, cost=cost, quality=1 - cost)
        for each, cost in zip(found[:8], (0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6), strict=True)
    ]
    unsure = importance(shuffled, plan().space)
    assert unsure and unsure.explained <= 0.1 and "The bars are noise" in unsure.verdict


def test_people_see_each_trial_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each that ends, where there is no terminal for a table."""
    folder = searched(tmp_path / "a", 3)
    found = records.read_all(folder)
    with table.following(folder, Objective(), "val_accuracy", 3) as show:
        show(found[:1])
        show(found)
        show(found)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["Trial", str(n)] for n in range(3)]
    assert table.status(found, 5, 90) == "3 of 5 trials done; 2 min"


def test_two_searches_do_not_share_a_folder(tmp_path: Path) -> None:
    """They would give out each trial twice."""
    refused = pytest.raises(ValueError, match="must not be in use")
    with alone(tmp_path / "lock", "one"), refused, alone(tmp_path / "lock", "another"):
        pass
