"""A trial ends as a record, whatever becomes of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnapp import Run
from rnnapp.keeper import TrainingError
from rnnapp.runs import write_json
from rnnapp.tuning import records, table, trials
from rnnapp.tuning.objectives import Objective
from rnnapp.tuning.plan import Plan, beat_of, trial_folder
from rnnapp.tuning.pruning import Watch, hopeless, running_best
from rnnapp.tuning.records import Record
from rnnapp.tuning.trials import MAX_ATTEMPTS, Trials
from tests.conftest import TINY

VALUES = {"model.units": 40, "train.learning_rate": 0.0012345678}


def plan(**fields: Any) -> Plan:
    """A search over two fields, without exports."""
    fields = {"only": ("units", "learning_rate"), "export": False, **fields}
    return Plan("speech_commands", **fields)


def training(quality: float | None = 0.75) -> Callable[..., Run]:
    """What leaves a run behind as `train` does, and learns nothing."""

    def train(task: str, data: Any, out: Path, **asked: Any) -> Run:
        training.calls.append({"out": out, **asked})  # type: ignore[attr-defined]
        run = Run(out, plan().spec_with(asked["settings"]))
        out.mkdir(parents=True, exist_ok=True)
        run.write_spec()
        figures = {"val_accuracy": quality, "epochs": 3, "parameters": 9, "seconds": 1.5}
        write_json(out / "metrics.json", {"training": figures})
        run.model_path.touch()
        return run

    training.calls = []  # type: ignore[attr-defined]
    return train


def failing(error: BaseException) -> Callable[..., Run]:
    """A training that fails."""

    def train(*_: Any, **__: Any) -> Run:
        raise error

    return train


def test_a_trial_is_an_ordinary_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the search's settings and its own, in few digits; and it is run once."""
    monkeypatch.setattr(trials, "train", training())
    run = Trials(plan(settings=("dropout=0.2",)), tmp_path)
    assert run(3, VALUES) == {"cost": 0.25}
    record = records.read(tmp_path, 3)
    assert record and (record.state, record.quality, record.epochs) == ("completed", 0.75, 3)
    assert record.settings == ("model.units=40", "train.learning_rate=0.00123")
    (call,) = training.calls  # type: ignore[attr-defined]
    assert call["out"] == trial_folder(tmp_path, 3) / "run" and not call["resume"]
    assert call["settings"] == ["dropout=0.2", *record.settings]
    assert run(3, VALUES) == {"cost": 0.25} and len(training.calls) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("The loss is no longer a number"), "TrainingError: The loss is no longer"),
        (MemoryError("no room"), "MemoryError: no room"),
        (ValueError("`units` must be even"), "ValueError: `units` must be even"),
    ],
)
def test_a_failure_is_the_trial_s_alone(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With where it failed and why; a worker goes on with the next."""
    monkeypatch.setattr(trials, "train", failing(error))
    assert Trials(plan(), tmp_path)(0, VALUES) == {"failed": 1.0}
    record = records.read(tmp_path, 0)
    assert record and (record.state, record.stage) == ("failed", "training")
    assert record.error.startswith(reason)


@pytest.mark.parametrize("quality", [None, float("inf")])
def test_a_quality_that_is_no_number_is_a_failure(
    quality: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras can train on with a validation loss of NaN, or a perplexity beyond all numbers."""
    monkeypatch.setattr(trials, "train", training(quality))
    assert Trials(plan(), tmp_path)(0, VALUES) == {"failed": 1.0}


@pytest.mark.parametrize(
    ("objective", "state", "metrics", "said"),
    [
        (Objective(), "completed", {"cost": 0.25}, "was not measured: it failed in export: "),
        (Objective(max_bytes=9000), "failed", {"failed": 1.0}, "failed in export: "),
    ],
)
def test_an_export_that_fails_counts_where_files_count(
    objective: Objective,
    state: str,
    metrics: dict[str, float],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was trained well; of a bound it is not known whether it is met."""
    monkeypatch.setattr(trials, "train", training())
    monkeypatch.setattr(trials.measuring, "export_trial", failing(RuntimeError("converter")))
    assert Trials(plan(export=True, objective=objective), tmp_path)(0, VALUES) == metrics
    record = records.read(tmp_path, 0)
    assert record and (record.state, record.quality) == (state, 0.75)
    assert record.fault == said + "RuntimeError: converter"
    assert record.fault in table.line(record, "val_accuracy")
    assert records.best([record], objective) == (record if state == "completed" else None)


def test_a_trial_that_was_killed_is_resumed_and_given_up_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its checkpoint; but one that takes all memory would kill worker after worker."""
    monkeypatch.setattr(trials, "train", training())
    settings = ("model.units=40", "train.learning_rate=0.00123")
    Record(0, "running", settings).write(tmp_path)
    (trial_folder(tmp_path, 0) / "run").mkdir()
    (trial_folder(tmp_path, 0) / "run" / "spec.json").touch()
    assert Trials(plan(), tmp_path)(0, VALUES) == {"cost": 0.25}
    assert training.calls[0]["resume"]  # type: ignore[attr-defined]
    Record(1, "running", settings, attempts=MAX_ATTEMPTS).write(tmp_path)
    assert Trials(plan(), tmp_path)(1, VALUES) == {"failed": 1.0}
    record = records.read(tmp_path, 1)
    assert record and "its process died 3 times" in record.error


def test_a_stop_is_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stops a search each evening does not lose its longest trial."""
    monkeypatch.setattr(trials, "train", failing(KeyboardInterrupt()))
    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(KeyboardInterrupt):
            Trials(plan(), tmp_path)(0, VALUES)
    record = records.read(tmp_path, 0)
    assert record and (record.state, record.attempts) == ("running", 0)


def test_the_median_rule_spares_the_good_and_waits_for_others() -> None:
    """Worse than half of four others at the same epoch, by the best so far."""
    others = [[9.0, cost] for cost in (1.0, 2.0, 3.0, 4.0)]
    assert hopeless([9.0, 2.6], others) and not hopeless([9.0, 2.5], others)
    assert not hopeless([1.0, 9.0], others)  # it was better before
    assert not hopeless([9.0, 9.0], others[1:])
    assert not hopeless([9.0, 9.0], [*others[1:], [0.1]])  # has not come so far
    assert hopeless([float("nan")] * 2, others)
    assert running_best([1.0, 3.0, 2.0], "max") == [1.0, 3.0, 3.0]


def test_a_pruned_run_is_a_finished_run(tones: Path, tmp_path: Path) -> None:
    """Stopped after the epoch in which it fell behind, with its best model and its history."""
    for number in range(4):
        folder = trial_folder(tmp_path, number) / "run"
        folder.mkdir(parents=True)
        (folder / "history.csv").write_text("epoch,val_accuracy\n1,1.1\n2,1.1\n")
    small = [each for each in TINY if not each.startswith(("epochs", "units"))]
    asked = plan(settings=(*small, "epochs=4"), data=str(tones), only=("units",))
    metrics = Trials(asked, tmp_path)(4, {"model.units": 8})
    record = records.read(tmp_path, 4)
    assert record and (record.state, record.epochs) == ("pruned", 1)
    assert metrics == {"cost": record.cost}
    run = Run.open(trial_folder(tmp_path, 4) / "run")
    assert run.load_model().count_params() == record.parameters
    assert beat_of(tmp_path, "worker-1").exists()


class Model:
    """What a callback stops."""

    stop_training = False


def test_a_hopeless_training_is_stopped_and_a_hopeful_one_is_not(tmp_path: Path) -> None:
    """By what the runs of the search have written down; accuracy is better when it is higher."""
    for number, accuracies in enumerate([[0.5] * 8, [0.6] * 8, [0.7] * 8, [0.8] * 8, [0.1, 0.2]]):
        folder = trial_folder(tmp_path, number) / "run"
        folder.mkdir(parents=True)
        with (folder / "history.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["epoch", "val_accuracy"])
            rows.writerows(enumerate(accuracies, 1))
    run = Trials(plan(), tmp_path)
    for number, stops in ((4, True), (3, False), (0, False)):
        curves = run._curves(trial_folder(tmp_path, number) / "run")
        watch = Watch(lambda: None, ("val_accuracy", "max"), 8, curves)
        watch.set_model(Model())
        watch.on_epoch_end(0)  # an eighth is too early to tell
        assert not watch.pruned
        watch.on_epoch_end(1)
        assert watch.pruned == watch.model.stop_training == stops
    assert Trials(plan(prune=False), tmp_path)._curves(tmp_path) is None
    assert Trials(plan(search="hyperband"), tmp_path)._curves(tmp_path) is None
    small = plan(objective=Objective(max_bytes=9000), export=True)  # what is small learns less
    assert Trials(small, tmp_path)._curves(tmp_path) is None
