"""A search on several machines: what to start where."""

from __future__ import annotations

import json
import os
import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from rnnapp.specs import require
from rnnapp.tuning.crew import PATIENCE_SECONDS, environment
from rnnapp.tuning.plan import beat_of, worker_names

FIRST_PORT, PORTS = 8471, 1000

NOTES = """\
The folder must be on a disk that all of them share, the data at the same path. Whatever is killed
is started again by its own line: a worker takes up its trial, the chief its search. A worker that
is not started again keeps its trial, and the chief waits for it; start the chief anew with
`--without worker-2`, say, to give that one's trial to others. Nobody notices here that a worker
hangs: its file FOLDER/workers/worker-2.beat is older than its last step of training then. Whoever
reaches the port can give the chief orders: keep it inside your own network. The chief says which
trials end, and leaves the best run and the report when all have; to have them as things are:
`python -m rnnapp.tuning FOLDER --conclude`."""


def commands(folder: Path, hosts: Sequence[str], trials: int) -> str:
    """The lines to run, a host after the other.

    Args:
        folder: The search's folder, by a path that all hosts know.
        hosts: Their names; the chief runs on the first, a worker on each.
        trials: How many in all.
    """
    require(bool(hosts), "hosts", "names with commas between, one at least", ",".join(hosts))
    workers, port = worker_names(len(hosts)), port_of(folder)
    lines = [
        f"# {hosts[0]}: the chief",
        _line("chief", "0.0.0.0", port, _chief(folder, trials, len(hosts))),
    ]
    for host, worker in zip(hosts, workers, strict=True):
        lines += [f"# {host}: {worker}", _line(worker, hosts[0], port, _words(folder))]
    return "\n".join(lines)


def port_of(folder: Path) -> int:
    """The chief's port, which is another for most other searches of the same host."""
    return FIRST_PORT + zlib.crc32(os.fsencode(folder)) % PORTS


def _chief(folder: Path, trials: int, workers: int) -> list[str]:
    return _words(folder, f"--trials={trials}", f"--workers={workers}", "--conclude")


def _words(folder: Path, *options: str) -> list[str]:
    return ["python", "-m", "rnnapp.tuning", str(folder), *options]


def _line(name: str, address: str, port: int, words: Sequence[str]) -> str:
    own = " ".join(f"{key}={value}" for key, value in environment(name, address, port).items())
    return f"{own} {shlex.join(words)}"


_HEAD = Template("""\
# The volume claim `$claim` holds $mount, with $folder as it was made here, and the data at the
# path they have here. When all Jobs have ended, the best run and the report are in $folder.
apiVersion: v1
kind: Service
metadata: {name: $search}
spec:
  selector: {rnnapp-search: $search, rnnapp-process: chief}
  ports: [{port: $port}]
""")
_JOB = Template("""\
---
apiVersion: batch/v1
kind: Job
metadata: {name: $search-$name}
spec:
  backoffLimit: 20
  template:
    metadata: {labels: {rnnapp-search: $search, rnnapp-process: $name}}
    spec:
      restartPolicy: OnFailure
      containers:
        - name: rnnapp
          image: $image
          command: [$command]
          env:
$environment
$probe          volumeMounts: [{name: shared, mountPath: $mount}]
      volumes: [{name: shared, persistentVolumeClaim: {claimName: $claim}}]
""")
# A worker that hangs is killed, and takes up its trial again.
_PROBE = Template("""\
          livenessProbe:
            exec: {command: [sh, -c, $alive]}
            initialDelaySeconds: 300
            periodSeconds: 60
""")
CLAIM = "rnnapp-tuning"


def manifest(folder: Path, image: str, workers: int, trials: int) -> str:
    """A Kubernetes manifest: a Job for the chief and for each worker, and the chief's Service.

    Args:
        folder: The search's folder; what it lies in is on the volume claim `CLAIM`.
        image: A container image with rnnapp in it.
        workers: How many.
        trials: How many in all.
    """
    port, search = port_of(folder), _name(folder)
    shared = {"search": search, "claim": CLAIM, "mount": str(folder.parent), "image": image}
    parts = [_HEAD.substitute(shared, folder=folder.name, port=port)]
    own = environment("chief", "0.0.0.0", port)
    parts.append(_job(shared, own, _chief(folder, trials, workers)))
    for name in worker_names(workers):
        own, beat = environment(name, search, port), shlex.quote(str(beat_of(folder, name)))
        alive = json.dumps(f"find {beat} -mmin -{PATIENCE_SECONDS / 60:.0f} | grep -q .")
        parts.append(_job(shared, own, _words(folder), _PROBE.substitute(alive=alive)))
    return "".join(parts)


def _name(folder: Path) -> str:
    """What objects of Kubernetes are called: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", f"tuning-{folder.name.lower()}")[:40].strip("-")


def _job(
    shared: Mapping[str, str], own: Mapping[str, str], words: Sequence[str], probe: str = ""
) -> str:
    lines = [f"            - {{name: {key}, value: {json.dumps(own[key])}}}" for key in own]
    return _JOB.substitute(
        shared,
        name=own["KERASTUNER_TUNER_ID"],
        command=", ".join(map(json.dumps, words)),
        environment="\n".join(lines),
        probe=probe,
        mount=json.dumps(shared["mount"]),
    )
