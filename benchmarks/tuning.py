"""What a search over settings finds in half an hour, and what a second worker is worth.

    python benchmarks/tuning.py search  --data VOICES --out tuned [--minutes 30]
    python benchmarks/tuning.py workers --data VOICES --out pairs [--trials 6] [--rounds 2]

VOICES is a folder of recordings, such as `rnnapp quickstart` makes. `search` looks for better
settings of speech commands with two workers, and then tries the best trial and the task's own
settings, which are trial 0, on the test split; its sizes are of the integer step. `workers` makes
the same trials, of a random search, with one worker and with two, of a core each, by turns. Both
print what trials take beyond training, export and measuring.

One run each, on two cores, of the voices that `rnnapp quickstart` makes. `search`: in 30 minutes 18
trials were begun, of which 10 were pruned; the task's own settings have 87.8 % of the test split,
the best trial 93.9 %, an LSTM of 224 units. `workers --set epochs=5 --rounds 1`: 50.7 trials an
hour of one worker, 86.5 of two, 1.71 times as many, although one of the two had nothing to do for
the last third of the time; beyond training, export and measuring a trial takes 3.5 s, at most 3.7.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Annotated

import typer

from rnnapp import Run, evaluate, tune
from rnnapp.tuning.crew import THREADS
from rnnapp.tuning.plan import trial_folder
from rnnapp.tuning.records import Record, shown_size

TASK = "speech_commands"
app = typer.Typer(help=__doc__, add_completion=False)
Data = Annotated[Path, typer.Option(help="A folder of recordings.")]
Out = Annotated[Path, typer.Option(help="A folder for the searches.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")]
Ranges = Annotated[list[str] | None, typer.Option("--tune", metavar="KEY=RANGE")]


@app.command()
def search(
    data: Data,
    out: Out,
    minutes: float = 30.0,
    objective: str = "quality",
    max_size: str | None = None,
    set_: Settings = None,
    ranges: Ranges = None,
) -> None:
    """Settings of speech commands, in a budget of time."""
    done = tune(
        TASK,
        data,
        out,
        hours=minutes / 60,
        workers=2,
        objective=objective,
        max_size=max_size,
        settings=set_ or (),
        ranges=ranges or (),
    )
    for title, record in (("the task's own settings", done.trials[0]), ("the best", done.best)):
        figures = evaluate(Run.open(trial_folder(out, record.number) / "run"))
        print(
            f"{title}: validation {record.quality:.1%}, test {figures['accuracy']:.1%}, "
            f"{shown_size(record.bytes)}, {record.us} µs a step\n  {' '.join(record.settings)}"
        )
    states = [record.state for record in done.trials]
    print({state: states.count(state) for state in set(states)})
    _print_overhead(done.trials)


@app.command()
def workers(data: Data, out: Out, trials: int = 6, rounds: int = 2, set_: Settings = None) -> None:
    """Trials an hour of one worker and of two."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    cores = sorted(os.sched_getaffinity(0))
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        for count, found in rates.items():
            os.sched_setaffinity(0, cores[:count])
            done = tune(
                TASK,
                data,
                out / f"{count}-{turn}",
                trials=trials,
                workers=count,
                search="random",
                prune=False,
                settings=set_ or (),
            )
            found.append(_per_hour(done.trials))
            _print_overhead(done.trials)
    one, two = (statistics.mean(found) for found in rates.values())
    print(f"trials an hour: {one:.1f} of one worker, {two:.1f} of two: {two / one:.2f} times")


def _per_hour(trials: list[Record]) -> float:
    """From the first begin to the last end."""
    ends = max(record.begun + record.seconds["total"] for record in trials)
    return 3600 * len(trials) / (ends - min(record.begun for record in trials))


def _print_overhead(trials: list[Record]) -> None:
    """Of a trial, what is no training of an epoch, no export and no measuring."""
    named = ("epochs", "export", "measuring")
    beyond = [
        record.seconds["total"] - sum(record.seconds.get(name, 0.0) for name in named)
        for record in trials
        if record.state == "completed"
    ]
    print(
        f"a trial takes {statistics.median(beyond):.1f} s beyond training, export and measuring "
        f"(median of {len(beyond)}; at most {max(beyond):.1f} s)"
    )


if __name__ == "__main__":
    app()
