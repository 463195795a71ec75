"""What native libraries say of themselves stays off the terminal; what fails does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SAYS = r"""
import os, sys
from multiprocessing import resource_tracker
from rnnapp.cli import native_logs

with native_logs.unheard():
    resource_tracker.ensure_running()  # a child that lives as long as this process
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\n")
    os.write(2, b"I0000 00:00:1795280655.451333    8442 port.cc:153] oneDNN custom operations\n")
    os.write(2, b"E0000 00:00:1795280657.860562 8442 cuda_platform.cc:52] failed call to cuInit\n")
    os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
    os.write(2, b"F0000 00:00:1795280657.860562 8442 a.cc:52] Check failed\n")
    os.write(2, b"Error: it failed\nlast, without an end")
    print("from Python", file=sys.stderr)
os.write(2, b"INFO: [accelerator_registry.cc:43] DestroyAccelerator\n")
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize("level", [None, "0"])
def test_greetings_are_not_heard(level: str | None) -> None:
    """Unless they are asked for; Python's words and fatal ones are heard in any case."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    done = subprocess.run(
        [sys.executable, "-c", SAYS],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=60,
    )
    for heard in ("F0000", "Error: it failed", "last, without an end", "from Python", "after"):
        assert heard in done.stderr
    for greeting in ("I0000", "E0000", "WARNING: All", "INFO: Created", "DestroyAccelerator"):
        assert (greeting in done.stderr) == (level is not None)


def test_last_words_are_heard() -> None:
    """A library that aborts the process says why before."""
    dies = (
        "import os\nfrom rnnapp.cli import native_logs\n"
        "with native_logs.unheard():\n"
        "    os.write(2, b'F0000 00:00:17.8 8442 a.cc:52] Check failed\\n'); os.abort()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", dies], capture_output=True, env=environment)
    assert done.returncode < 0 and b"Check failed" in done.stderr
