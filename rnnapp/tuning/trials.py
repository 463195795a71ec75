"""A trial: a run that is trained, exported and measured, whatever becomes of it."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from rnnapp.runs import Run
from rnnapp.training import train
from rnnapp.tuning import measuring, records
from rnnapp.tuning.objectives import Metrics
from rnnapp.tuning.plan import Plan, beat_of, trial_folder
from rnnapp.tuning.pruning import Watch, curve
from rnnapp.tuning.records import Record
from rnnapp.tuning.space import settings_of

MAX_ATTEMPTS = 3  # of a trial whose process dies: of memory, most likely


class Trials:
    """Runs the trials of a search, one at a time, in its folder.

    Args:
        plan: The search.
        folder: Its folder.
        worker: Whose name they bear.
    """

    def __init__(self, plan: Plan, folder: Path, worker: str = "worker-1") -> None:
        self.plan, self.folder, self.worker = plan, folder, worker
        self._beat = beat_of(folder, worker)

    def __call__(self, number: int, values: Mapping[str, Any]) -> Metrics:
        """Runs a trial, or goes on with it; one that is finished is not run again.

        Args:
            number: Of the trial.
            values: What the oracle has drawn; hyperband's own are among them.

        Returns:
            Its metrics.
        """
        known = records.read(self.folder, number)
        if known and known.finished:
            return known.metrics
        record = Record(
            number,
            "running",
            (*settings_of(self.plan.space, values), *self._rounds(values)),
            self.worker,
            known.attempts + 1 if known else 1,
            time.time(),
        )
        record.write(self.folder)
        record = self._ended(record)
        record.write(self.folder)
        return record.metrics

    def beat(self) -> None:
        """Gives a sign of life."""
        self._beat.parent.mkdir(parents=True, exist_ok=True)
        self._beat.touch()

    def _rounds(self, values: Mapping[str, Any]) -> list[str]:
        """The epochs that hyperband gives a trial, which goes on from an earlier one's weights."""
        if "tuner/epochs" not in values:
            return []
        begun, epochs = values["tuner/initial_epoch"], values["tuner/epochs"]
        earlier = values.get("tuner/trial_id")
        start = [f'train.start="{self._run(int(earlier)).resolve()}"'] if earlier else []
        return [f"train.epochs={epochs - begun}", *start]

    def _run(self, number: int) -> Path:
        return trial_folder(self.folder, number) / "run"

    def _ended(self, record: Record) -> Record:
        """The finished record of a trial; what Python can catch is a failure of the trial alone."""
        self._stage, self._seconds = "start", dict[str, float]()
        begun = time.monotonic()
        try:
            _require_few_attempts(record)
            with self._at("training"):
                record = self._trained(record)
            if self.plan.export and record.state != "pruned":
                record = self._measured_if_it_can_be(record)
            ended = "completed" if record.state == "running" else record.state
            record = dataclasses.replace(record, state=ended)
        except KeyboardInterrupt:  # not the trial's fault, so not its attempt
            dataclasses.replace(record, attempts=record.attempts - 1).write(self.folder)
            raise
        except Exception as error:  # of any kind: the search goes on around it
            traceback.print_exc()
            record = self._with_fault(dataclasses.replace(record, state="failed"), error)
        finally:
            keras.backend.clear_session()
            gc.collect()
        total = round(time.monotonic() - begun, 3)
        return dataclasses.replace(record, seconds={**self._seconds, "total": total})

    @contextlib.contextmanager
    def _at(self, stage: str) -> Iterator[None]:
        """Notes at what a trial is, and for how long it was."""
        self.beat()
        self._stage, begun = stage, time.monotonic()
        yield
        self._seconds[stage] = round(time.monotonic() - begun, 3)

    def _trained(self, record: Record) -> Record:
        """The record of a trained run; one that was begun goes on, one that was finished stays."""
        folder, (monitor, direction) = self._run(record.number), self.plan.metric
        epochs = self.plan.spec_with(record.settings).train.epochs
        watch = Watch(self.beat, self.plan.metric, epochs, self._curves(folder))
        if not (folder / "model.keras").exists():
            train(
                self.plan.task,
                self.plan.data,
                folder,
                settings=[*self.plan.settings, *record.settings],
                resume=(folder / "spec.json").exists(),
                callbacks=[watch],
            )
        figures = Run.open(folder).metrics()["training"]
        self._seconds["epochs"] = figures["seconds"]
        quality = figures[monitor]
        if quality is None or not math.isfinite(quality):
            raise ValueError(f"{monitor} was no finite number in any epoch")
        return dataclasses.replace(
            record,
            state="pruned" if watch.pruned else "running",
            quality=quality,
            # Of a perplexity its nats, which bounds are held against as error rates are.
            cost=1 - quality if direction == "max" else math.log(quality),
            epochs=figures["epochs"],
            parameters=figures["parameters"],
        )

    def _curves(self, own: Path) -> Callable[[], tuple[list[float], list[list[float]]]] | None:
        """The curve of a training, and those that it is held against."""
        by_itself = self.plan.search == "hyperband"
        if not self.plan.prune or by_itself or self.plan.objective.measured:
            return None
        monitor, _ = self.plan.metric

        def curves() -> tuple[list[float], list[list[float]]]:
            others = [path for path in self.folder.glob("trials/*/run") if path != own]
            found = [curve(path / "history.csv", monitor) for path in (own, *others)]
            return found[0], found[1:]

        return curves

    def _measured_if_it_can_be(self, record: Record) -> Record:
        """The record of an exported run; where quality alone counts, it counts without a file."""
        try:
            return self._measured(record)
        except Exception as error:
            if self.plan.objective.measured:
                raise
            traceback.print_exc()
            return self._with_fault(record, error)

    def _with_fault(self, record: Record, error: Exception) -> Record:
        reason = f"{type(error).__name__}: {error}"[:2000]
        return dataclasses.replace(record, stage=self._stage, error=reason)

    def _measured(self, record: Record) -> Record:
        """The record of an exported run."""
        run, out = Run.open(self._run(record.number)), self._run(record.number).parent / "export"
        with self._at("export"):
            path, quantized = measuring.export_trial(
                run, out, self.plan.format, self.plan.max_quality_loss
            )
        with self._at("measuring"):
            us = measuring.latency_us(path)
        return dataclasses.replace(record, bytes=path.stat().st_size, us=us, quantized=quantized)


def _require_few_attempts(record: Record) -> None:
    """A trial that kills its process would do so for ever."""
    if record.attempts > MAX_ATTEMPTS:
        raise RuntimeError(
            f"its process died {MAX_ATTEMPTS} times in it, for want of memory perhaps"
        )
