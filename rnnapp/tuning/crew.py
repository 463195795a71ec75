"""Chief and workers on this machine: started, started again, killed when they hang."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from rnnapp.tuning.plan import TuningError, beat_of, worker_names

CHIEF, HERE = "chief", "127.0.0.1"
PATIENCE_SECONDS = 1200.0  # without a step of training, or an end of an export
GRACE_SECONDS = 10.0
# What keeps a process to one thread; TensorFlow's two pools, and those of libraries below it.
ONE_THREAD = dict.fromkeys(
    ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"
)


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
        workers: How many; more than one have a thread each.
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
        threads = ONE_THREAD if len(self.names) > 1 or name == CHIEF else {}
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


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HERE, 0))
        return found.getsockname()[1]
