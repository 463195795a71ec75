"""What a search was asked for, and where its folder keeps what."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from rnnapp import overrides
from rnnapp.exporting.certificate import MAX_QUALITY_LOSS
from rnnapp.exporting.export import check_share
from rnnapp.exporting.formats import FORMATS
from rnnapp.runs import absolute, write_json
from rnnapp.specs import require
from rnnapp.tasks import RunSpec, task_named
from rnnapp.tuning import space
from rnnapp.tuning.objectives import Kind, Objective, parse_size

CHIEF_LOCK = "chief.lock"


class TuningError(RuntimeError):
    """A search came to no good end; the message says why, and what to do."""


@dataclass(frozen=True)
class Plan:
    """A search; `search.json` in its folder.

    Args:
        task: The task's name.
        data: As in `rnnapp.train`.
        settings: Assignments that every trial has.
        tune: Ranges, as `space_of` takes them.
        only: Keys of what alone is tuned; empty for all.
        search: keras-tuner's oracle: "random", "bayesian" (a Gaussian process, after a third of the
            trials at random) or "hyperband" (Li et al. 2018, arXiv:1603.06560).
        objective: What is best.
        export: Export each trial that is not pruned, and measure it.
        format: The export format that is measured; None for "step_int8" of a model that streams
            sounds, else "tflite_dynamic".
        max_quality_loss: By what share of its model's quality that file may be worse; a trial whose
            file is, fails.
        prune: Stop trials that are worse than the median of others at the same epoch; not where
            size or time count, since what is small and worse may be what is sought.
        seed: Of what is drawn; each training has the seed of its spec.
    """

    task: str
    data: str | None = None
    settings: tuple[str, ...] = ()
    tune: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    search: Literal["random", "bayesian", "hyperband"] = "bayesian"
    objective: Objective = Objective()
    export: bool = True
    format: str | None = None
    max_quality_loss: float = MAX_QUALITY_LOSS
    prune: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the fields against each other and against the task's spec."""
        overrides.settle_types(self)
        require(self.seed >= 0, "seed", "zero or more", self.seed)
        measured = self.objective.measured
        must = f"true: {measured} is measured on exports"
        require(self.export or not measured, "export", must, self.export)
        tuned = self.space
        own = "train.epochs" in tuned and self.search == "hyperband"
        require(not own, "tune", "without train.epochs, which hyperband sets itself", self.tune)
        check_share(self.max_quality_loss)
        if self.format is not None:
            files = [name for name, each in FORMATS.items() if each.path.endswith(".tflite")]
            require(self.format in files, "format", f"one of {', '.join(files)}", self.format)

    @functools.cached_property
    def spec(self) -> RunSpec:
        """What a trial is without its values."""
        return self.spec_with(())

    @classmethod
    def of(
        cls,
        task: str,
        data: str | os.PathLike | None = None,
        *,
        settings: Sequence[str] = (),
        ranges: Sequence[str] = (),
        only: Sequence[str] = (),
        objective: str = "quality",
        max_size: str | int | None = None,
        max_step_us: float | None = None,
        **others: Any,
    ) -> Plan:
        """A search by the arguments of `rnnapp.tune`."""
        kinds = get_args(Kind)
        require(objective in kinds, "objective", f"one of {', '.join(kinds)}", objective)
        bound = parse_size(max_size) if isinstance(max_size, str) else max_size
        sought = Objective(cast(Kind, objective), bound, max_step_us)
        found = None if data is None else absolute(data)
        return cls(
            task, found, tuple(settings), tuple(ranges), tuple(only), objective=sought, **others
        )

    def spec_with(self, assignments: Sequence[str]) -> RunSpec:
        """What a trial is with its values."""
        return task_named(self.task).spec(self.data, [*self.settings, *assignments])

    @property
    def metric(self) -> tuple[str, Literal["max", "min"]]:
        """The validation metric that is quality, and which way is better."""
        return task_named(self.task).objective

    @functools.cached_property
    def space(self) -> space.Space:
        """What is tuned."""
        return space.space_of(self.spec, self.settings, self.tune, self.only)

    @classmethod
    def open(cls, folder: Path) -> Plan:
        """Reads a search's folder."""
        path = folder / "search.json"
        require(path.is_file(), "out", "a folder of `rnnapp tune`", str(folder))
        return overrides.from_dict(cls, json.loads(path.read_text(encoding="utf-8")))

    def begin(self, folder: Path) -> None:
        """Makes the search's folder, or finds the same search in it, of whatever objective.

        Raises:
            ValueError: If the folder holds another search, or something else.
        """
        if not (folder / "search.json").exists():
            empty = not folder.exists() or not any(folder.iterdir())
            require(empty, "out", "a new folder, or that of the same search", str(folder))
            (folder / "workers").mkdir(parents=True, exist_ok=True)
            self.write(folder)
        else:
            self._require_as_begun(folder)

    def write(self, folder: Path) -> None:
        """Writes it into the search's folder, where chief and workers find it."""
        write_json(folder / "search.json", overrides.to_dict(self))

    def _require_as_begun(self, folder: Path) -> None:
        """Only what is best may be another matter: all that it is judged by was measured."""
        begun, asked = (overrides.to_dict(each) for each in (Plan.open(folder), self))
        changed = [
            f"{name}={begun[name]!r}"
            for name in asked
            if asked[name] != begun[name] and name != "objective"
        ]
        if changed:
            raise ValueError(
                f"{folder} holds a search that was begun with {', '.join(changed)}. Ask for the "
                "same to go on with it, or choose another folder by --out."
            )


def trial_folder(folder: Path, number: int) -> Path:
    """Where a trial is."""
    return folder / "trials" / f"{number:04d}"


def beat_of(folder: Path, worker: str) -> Path:
    """The file that a worker touches while it gets on."""
    return folder / "workers" / f"{worker}.beat"


@contextlib.contextmanager
def alone(lock: Path, who: str) -> Iterator[None]:
    """Holds a file of a search's folder, while no other process does.

    Raises:
        ValueError: If one does.
    """
    import fcntl

    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{lock.parent} must not be in use: {who} is at work in it.") from None
        yield


def worker_names(count: int) -> list[str]:
    """The names of workers, by which trials are theirs."""
    return [f"worker-{number}" for number in range(1, count + 1)]
