"""keras-tuner's oracles, made to outlive kills, and what the chief and the workers do with them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from threadpoolctl import threadpool_limits

from rnnapp.runs import write_json
from rnnapp.tuning import records, table
from rnnapp.tuning.bayesian import Bayesian
from rnnapp.tuning.objectives import Metrics
from rnnapp.tuning.plan import Plan
from rnnapp.tuning.space import Choice, Tunable, defaults

CHIEF = "chief"
IDLE_SECONDS = 0.5
RunTrial = Callable[[int, Mapping[str, Any]], Metrics]
"""Runs the trial of a number with what the oracle has drawn, and gives its metrics."""


@dataclass(frozen=True)
class Budget:
    """When a search gives out no more trials; those that were begun are finished.

    Args:
        trials: How many there are in all; None for any number.
        until: In seconds of the epoch; None for any time.
    """

    trials: int | None = None
    until: float | None = None

    def spent(self, trials: int) -> bool:
        """Whether it is, after some trials."""
        late = self.until is not None and time.time() >= self.until
        return late or (self.trials is not None and trials >= self.trials)


class Durable:
    """What is added to an oracle of keras-tuner's.

    Its state is one file, written whole or not at all: keras-tuner's own are several, between which
    a kill loses a trial or has it run twice. A trial belongs to its worker's name until it ends,
    so that a worker that was started again, or outlived its chief, ends what it began.
    """

    plan: Plan
    path: Path
    budget: Budget
    workers: frozenset[str]
    before: int = 0  # trials that had ended when it was made: what failed then may be mended

    # keras-tuner's.
    trials: dict[str, Trial]
    ongoing_trials: dict[str, Trial]
    tuner_ids: set[str]
    end_order: list[str]
    _retry_queue: list[str]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """What to try next: the spec's own values first, so that all others are held to them."""
        if self.budget.spent(len(self.trials)) or records.failures_rule(list(self._failures())):
            return {"status": TrialStatus.STOPPED}
        if not self.trials and self.plan.search != "hyperband":
            values = defaults(self.plan.spec, self.plan.space)
            return {"status": TrialStatus.RUNNING, "values": values}
        self._score_all()
        with threadpool_limits(1):  # threads cost more than a Gaussian process of so few points
            return super().populate_space(trial_id)  # type: ignore[misc]

    def score_trial(self, trial: Trial) -> None:
        """Scores a trial, and all others with it: a failed one counts as the worst of them."""
        self._score_all()

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Ends a trial once: a worker that was given up for dead may come back with it."""
        if trial.trial_id not in self.end_order:
            super().end_trial(trial)  # type: ignore[misc]
            if is_chief() and (record := records.read(self.path.parent, int(trial.trial_id))):
                print(table.line(record, self.plan.metric[0]), flush=True)

    def save(self) -> None:
        """Writes the oracle and all its trials."""
        trials = [trial.get_state() for trial in self.trials.values()]
        state = {**self.get_state(), "trials": trials}  # type: ignore[attr-defined]
        write_json(self.path, state)

    def reload(self) -> None:
        """Goes on from what `save` wrote."""
        state = json.loads(self.path.read_text(encoding="utf-8"))
        self.trials = {each["trial_id"]: Trial.from_state(each) for each in state["trials"]}
        self.set_state(state)  # type: ignore[attr-defined]
        # A file written while a trial ended still calls it ongoing.
        running = {
            worker: trial
            for worker, trial in self.ongoing_trials.items()
            if trial.status == TrialStatus.RUNNING
        }
        self.ongoing_trials = {w: trial for w, trial in running.items() if w in self.workers}
        self.tuner_ids = set(self.ongoing_trials)
        orphans = [trial.trial_id for w, trial in running.items() if w not in self.workers]
        self._retry_queue = list(dict.fromkeys([*self._retry_queue, *orphans]))

    def _compute_values_hash(self, values: Mapping[str, Any]) -> str:
        """Takes values that make the same settings for the same."""
        space = self.plan.space.items()
        rounded = {path: each.nearest(values[path]) for path, each in space if path in values}
        return super()._compute_values_hash({**values, **rounded})  # type: ignore[misc]

    def _save_trial(self, trial: Trial) -> None:
        """Keeps trials in the one file."""
        self.save()

    def _score_all(self) -> None:
        done = [each for each in self.trials.values() if each.status == TrialStatus.COMPLETED]
        seed = (self.plan.seed, len(self.trials))
        for trial, score in zip(
            done, self.plan.objective.scores([*map(_metrics, done)], seed), strict=True
        ):
            trial.score, trial.best_step = score, 0

    def _failures(self) -> Iterable[bool]:
        """Of each trial that has ended since it was made, in this order, whether it failed."""
        ended = self.end_order[self.before :]
        return ("failed" in _metrics(self.trials[trial_id]) for trial_id in ended)


def _metrics(trial: Trial) -> Metrics:
    found = trial.metrics.metrics
    return {name: float(history.get_last_value()) for name, history in found.items()}


def make(plan: Plan, path: Path, budget: Budget, workers: Iterable[str] = ()) -> Any:
    """The oracle of a search, which goes on where its file says.

    Args:
        plan: The search.
        path: The oracle's file.
        budget: When it gives out no more trials.
        workers: Whose trials stay theirs, should the oracle be started again.

    Returns:
        An oracle of keras-tuner's.
    """
    kind, options = _kinds(plan, budget)[plan.search]
    oracle = type(f"Durable{kind.__name__}", (Durable, kind), {})(
        # Scores are told by `score_trial`; a cost is what every trial that has not failed has.
        objective=keras_tuner.Objective("told", "min"),
        hyperparameters=hyperparameters(plan),
        seed=plan.seed + 1,  # zero is none to keras-tuner
        max_consecutive_failed_trials=2**31,  # `records.failures_rule` says when
        **options,
    )
    oracle.plan, oracle.path, oracle.budget = plan, path, budget
    oracle.workers, oracle.verbose = frozenset(workers), 0
    if path.exists():
        oracle.reload()
        oracle.before = len(oracle.end_order)
    return oracle


def _kinds(plan: Plan, budget: Budget) -> dict[str, tuple[type, dict[str, Any]]]:
    """Oracles of keras-tuner's, and what each is made with."""
    epochs = plan.spec.train.epochs
    return {
        "random": (keras_tuner.oracles.RandomSearchOracle, {"max_trials": None}),
        "bayesian": (
            Bayesian,
            {"max_trials": None, "num_initial_points": max(4, (budget.trials or 30) // 3)},
        ),
        "hyperband": (
            keras_tuner.oracles.HyperbandOracle,
            {"max_epochs": epochs, "hyperband_iterations": 100},  # until the budget is spent
        ),
    }


def hyperparameters(plan: Plan) -> keras_tuner.HyperParameters:
    """The space as keras-tuner has it."""
    made, first = keras_tuner.HyperParameters(), defaults(plan.spec, plan.space)
    for path, tunable in plan.space.items():
        _declare(made, path, tunable, first[path])
    return made


def _declare(made: keras_tuner.HyperParameters, path: str, tunable: Tunable, first: Any) -> None:
    if isinstance(tunable, Choice):
        made.Choice(path, list(tunable.keys), default=first)
        return
    kind = made.Int if tunable.whole else made.Float
    sampling = "log" if tunable.log else "linear"
    kind(path, tunable.low, tunable.high, sampling=sampling, default=first)


def tuner(oracle: Any, folder: Path) -> BaseTuner:
    """keras-tuner's end of an oracle: the oracle itself, or what asks the chief's.

    The environment says which: KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT.
    """
    made = BaseTuner(oracle, directory=str(folder), project_name="oracle")
    made.save = oracle.save  # no files of its own
    return made


def work(oracle: Any, worker: str, run: RunTrial, idle: Callable[[], None] = lambda: None) -> None:
    """Runs trials until the oracle has no more.

    Args:
        oracle: The oracle, or what asks the chief's.
        worker: The name by which trials are its own.
        run: Runs one.
        idle: Called while there is none yet.
    """
    while (trial := oracle.create_trial(worker)).status != TrialStatus.STOPPED:
        if trial.status == TrialStatus.IDLE:
            idle()
            time.sleep(IDLE_SECONDS)
            continue
        metrics = run(int(trial.trial_id), trial.hyperparameters.values)
        oracle.update_trial(trial.trial_id, {**metrics, "told": 0.0})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)


def is_chief() -> bool:
    """Whether this process is keras-tuner's chief."""
    return os.environ.get("KERASTUNER_TUNER_ID") == CHIEF
