"""Chief and workers on this machine: started, started again, killed when they hang."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rnnapp.tuning.plan import TuningError, beat_of, worker_names

CHIEF, HERE = "chief", "127.0.0.1"
PATIENCE_SECONDS = 1200.0  # without a step of training, or an end of an export
GRACE_SECONDS = 10.0
# How many threads TensorFlow's two pools have, and those of libraries below it.
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def environment(name: str, address: str, port: int) -> dict[str, str]:
    """keras-tuner's environment of a process."""
    return {
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": address,
        "KERASTUNER_ORACLE_PORT": str(port),
    }


class Crew:
    """A chief and its workers, as processes of this one.

    Args:
        folder: The search's folder.
        workers: How many; several share out the cores, one each at least.
        trials: As in `Budget`.
        until: As in `Budget`.
        patience_seconds: How long a worker may give no sign of life.
        module: What Python runs.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        trials: int | None = None,
        until: float | None = None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        module: str = "rnnapp.tuning",
    ) -> None:
        self.folder, self.patience_seconds = folder, patience_seconds
        self.names, self.port = worker_names(workers), _free_port()
        self._cores = dict(zip(self.names, shares(_cores(), workers), strict=True))
        options = {"--trials": trials, "--until": until, "--workers": workers}
        given = [f"{name}={value}" for name, value in options.items() if value is not None]
        self._command = [sys.executable, "-m", module, str(folder), *given]
        self.processes: dict[str, subprocess.Popen] = {}
        self._started: dict[str, float] = {}
        self._deaths, self._progress = 0, -1

    def __enter__(self) -> Crew:
        for name in (CHIEF, *self.names):
            self._start(name)
        return self

    def __exit__(self, *_: object) -> None:
        """Asks workers to end, and kills what does not; the chief has all written down."""
        self._signal(CHIEF, signal.SIGKILL)
        for name in self.names:
            self._signal(name, signal.SIGTERM)
        ends = time.monotonic() + GRACE_SECONDS
        for name, process in self.processes.items():
            try:
                process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._signal(name, signal.SIGKILL)
                process.wait()

    def log(self, name: str) -> Path:
        """Where a process writes what it has to say."""
        return self.folder / "workers" / f"{name}.log"

    def tend(self, finished: int) -> bool:
        """Starts again what has died, and kills what hangs.

        Args:
            finished: Trials that are; a crew that only dies is given up.

        Returns:
            Whether any worker is still at work.

        Raises:
            TuningError: If processes die, and no trial ends.
        """
        if finished > self._progress:
            self._deaths, self._progress = 0, finished
        if not any(self.processes[name].poll() != 0 for name in self.names):
            return False
        for name in (CHIEF, *self.names):
            code = self.processes[name].poll()
            if code is None and name != CHIEF and self._silent(name) > self.patience_seconds:
                self._signal(name, signal.SIGKILL)
            elif code or (code == 0 and name == CHIEF):  # workers wait for it
                self._deaths += 1
                self._require_progress(name)
                self._start(name)
        return True

    def _start(self, name: str) -> None:
        count = len(self._cores[name]) if name in self._cores else 1
        alone = [name] == self.names
        threads = {} if alone else dict.fromkeys(THREADS, str(count))
        hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if name == CHIEF else {}
        defaults = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true", **threads}
        # A proxy for the world is none for this machine.
        own = {**environment(name, HERE, self.port), "no_grpc_proxy": HERE, **hidden}
        self._started[name] = time.time()
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self._command, f"--parent={os.getpid()}"],
                env={**defaults, **os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Control-C is not for it; a kill takes children along
            )
        if name in self._cores and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                # Its reading of data has threads of its own, which would take the others' cores.
                os.sched_setaffinity(self.processes[name].pid, self._cores[name])

    def _silent(self, name: str) -> float:
        """Seconds since a worker's last sign of life."""
        beat = beat_of(self.folder, name)
        last = beat.stat().st_mtime if beat.exists() else 0.0
        return time.time() - max(last, self._started[name])

    def _require_progress(self, name: str) -> None:
        if self._deaths > 4 * (1 + len(self.names)):
            said = self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
            raise TuningError(
                f"Processes of the search die again and again, and no trial ends. The last words "
                f"of {name}, in {self.log(name)}:\n" + "\n".join(said[-12:])
            )

    def _signal(self, name: str, number: int) -> None:
        process = self.processes.get(name)
        if process and process.poll() is None:
            os.killpg(process.pid, number)


def shares(cores: Sequence[int], workers: int) -> list[list[int]]:
    """Which cores each worker has: all are used, and none by two while there are enough."""
    return [[*cores[place::workers]] or [cores[place % len(cores)]] for place in range(workers)]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [*range(os.cpu_count() or 1)]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HERE, 0))
        return found.getsockname()[1]
