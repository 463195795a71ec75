"""An answer has its time, and so has the end of a server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnapp.serving import Client, Code, ServingError
from rnnapp.serving.server.app import running
from rnnapp.serving.server.batching import BatchSpec
from tests.serving.conftest import ask, client, local


def test_deadlines_are_kept(words: Path) -> None:
    """A request whose time is up is answered so, and runs no more."""
    with running(words, local(batch=BatchSpec(timeout=5.0))) as server:
        silence = np.zeros((1, 2400), np.float32)
        for protocol in ("grpc", "rest"):
            with client(server, protocol) as asking, pytest.raises(ServingError) as caught:
                asking.signatures()
                asking.predict(silence, timeout=0.3)
            assert caught.value.code is Code.DEADLINE_EXCEEDED
    with running(words, local(batch=BatchSpec(timeout=5.0), request_seconds=0.2)) as server:
        body = {"instances": silence.tolist()}
        status, document = ask(f"{server.url}/v1/models/words:predict", body)
        assert status == 504 and "No answer within 0.2 s" in document["error"]


@pytest.mark.slow
def test_the_command_answers_what_is_under_way_and_ends(words: Path, tmp_path: Path) -> None:
    """SIGTERM is how every supervisor ends a server."""
    code = "from rnnapp.cli import main; main()"
    options = ["--port", "0", "--rest-port", "0", "--batch-timeout-ms", "1500"]
    command = [sys.executable, "-c", code, "serve", str(words), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        address, url = (process.stdout.readline().split()[1] for _ in range(2))
        answers: list[Any] = []
        silence = np.zeros((1, 2400), np.float32)

        def ask_rest() -> None:
            answers.append(ask(f"{url}:predict", {"instances": silence.tolist()}))

        def ask_grpc() -> None:
            with Client(address, "words", retries=0) as asking:
                answers.append(asking.predict(silence))

        threads = [threading.Thread(target=target) for target in (ask_rest, ask_grpc)]
        for thread in threads:
            thread.start()
        time.sleep(0.75)  # they wait for company
        assert not answers
        process.terminate()
        for thread in threads:
            thread.join()
        assert len(answers) == 2 and process.wait(20) == 0
