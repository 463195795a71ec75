"""A process of a search: the chief, who says what to try, or a worker, who tries it.

    python -m rnnapp.tuning FOLDER [--trials N] [--until SECONDS] [--workers N]
                                   [--without WORKER] [--conclude] [--parent PID]
    python -m rnnapp.tuning FOLDER --conclude    the best run and the report, as things are

Which of them it is, and where the chief is, stands in keras-tuner's environment:
KERASTUNER_TUNER_ID (`chief`, `worker-1`, ...), KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT.
The folder is one that `rnnapp tune` made, on a disk that all processes share. Started again, each
goes on where it was. A chief with `--conclude` leaves the best run and the report at the end.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rnnapp.tuning import oracles
from rnnapp.tuning.oracles import Budget, RunTrial
from rnnapp.tuning.plan import CHIEF_LOCK, Plan, TuningError, alone, beat_of, worker_names

ORPHANED, GRACE_SECONDS = 3, 5


def main(
    arguments: Sequence[str] | None = None,
    runner: Callable[[Plan, Path, str], RunTrial] | None = None,
) -> None:
    """Is a chief or a worker until the search ends.

    Args:
        arguments: Of the command line.
        runner: Makes what runs trials, of the plan, its folder and the worker's name; `Trials` by
            default.
    """
    parser = argparse.ArgumentParser("rnnapp.tuning")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--until", type=float)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--without", action="append", default=[], metavar="WORKER")
    parser.add_argument("--parent", type=int)
    parser.add_argument("--conclude", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.conclude and not oracles.is_chief():
        _conclude(asked.folder)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a trial notes that it was stopped
    if asked.parent:
        threading.Thread(target=_die_with, args=(asked.parent,), daemon=True).start()
    budget = Budget(asked.trials, asked.until)
    workers = [name for name in worker_names(asked.workers) if name not in asked.without]
    try:
        _take_part(asked.folder, budget, workers, runner)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if asked.conclude:
        _conclude(asked.folder)


def _take_part(
    folder: Path,
    budget: Budget,
    workers: Sequence[str],
    runner: Callable[[Plan, Path, str], RunTrial] | None,
) -> None:
    plan, name = Plan.open(folder), os.environ["KERASTUNER_TUNER_ID"]
    if oracles.is_chief():
        with alone(folder / CHIEF_LOCK, "another chief"):
            oracle = oracles.make(plan, folder / "oracle.json", budget, workers)
            print(f"The chief waits for workers; {len(oracle.trials)} trials so far.", flush=True)
            oracles.tuner(oracle, folder).search()
        return
    beat = beat_of(folder, name)
    beat.touch()
    oracle = oracles.make(plan, folder / "nowhere" / "oracle.json", budget)  # the chief has it
    make = runner or _trials
    asked = oracles.tuner(oracle, folder).oracle
    oracles.work(asked, name, make(plan, folder, name), idle=beat.touch)


def _conclude(folder: Path) -> None:
    from rnnapp.tuning.tune import conclude

    try:
        done = conclude(folder)
    except TuningError as error:
        raise SystemExit(str(error)) from None
    print(f"The best is trial {done.best.number}: {done.run}; see {folder / 'report.html'}")


def _trials(plan: Plan, folder: Path, worker: str) -> RunTrial:
    from rnnapp.tuning.trials import Trials  # what a chief needs not load

    return Trials(plan, folder, worker)


def _die_with(parent: int) -> None:
    """Ends this process when its parent has ended: nobody would look after it."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)  # its trial notes that it was stopped
    time.sleep(GRACE_SECONDS)
    os._exit(ORPHANED)


if __name__ == "__main__":
    main()
