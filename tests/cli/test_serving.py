"""The command `serve`: what it starts with, and what it says of wrong use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnapp.cli.common import WRONG_USE
from rnnapp.serving.server import app
from rnnapp.serving.server.batching import BatchSpec
from rnnapp.serving.server.settings import ServerSpec
from rnnapp.serving.server.versions import Policy
from tests.cli.conftest import Done


def test_options_reach_the_server(
    call: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option that is lost would leave a server open, or slow."""
    begun: list[Any] = []
    monkeypatch.setattr(app, "serve", lambda *arguments: begun.append(arguments))
    for name in ("keys", "cert", "key"):
        (tmp_path / name).write_text("k" * 32)
    options = {
        "--host": "0.0.0.0",
        "--port": 1,
        "--rest-port": 2,
        "--name": "m",
        "--max-batch-size": 3,
        "--batch-timeout-ms": 4,
        "--max-queue": 5,
        "--batch-threads": 6,
        "--versions": 7,
        "--labels": "a=8, b=9",
        "--request-seconds": 10,
        "--max-body-mb": 0.5,
        "--max-streams": 11,
        "--stream-seconds": 13,
        "--grace-seconds": 12,
        "--api-key-file": tmp_path / "keys",
        "--tls-cert": tmp_path / "cert",
        "--tls-key": tmp_path / "key",
    }
    words = [str(word) for pair in options.items() for word in pair]
    assert call("serve", str(tmp_path), *words, "--trust").code == 0
    ((export, spec, _),) = begun
    assert export == tmp_path
    assert spec == ServerSpec(
        host="0.0.0.0",
        port=1,
        rest_port=2,
        name="m",
        batch=BatchSpec(3, 0.004, 5, 6),
        policy=Policy(7),
        labels={"a": 8, "b": 9},
        request_seconds=10,
        max_body=2**19,
        max_streams=11,
        stream_seconds=13,
        grace_seconds=12,
        api_keys=("k" * 32,),
        tls_cert=tmp_path / "cert",
        tls_key=tmp_path / "key",
        trust=True,
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "must be an export folder"),
        (["--labels", "a"], "as in `stable=1,canary=2`"),
        (["--max-batch-size", "0"], "`max_size` must be"),
        (["--port", "70000"], "`port` must be from 0 to 65535"),
        (["--tls-cert", "x.pem"], "given along with `tls_key`"),
        (["--name", "a/b"], "without / and :"),
        (["--api-key-file", "nowhere"], "nowhere"),
    ],
)
def test_wrong_use_is_told(
    call: Callable[..., Done], tmp_path: Path, options: list[str], told: str
) -> None:
    """Before TensorFlow is loaded, which takes seconds."""
    done = call("serve", str(tmp_path), *options)
    assert done.code == WRONG_USE and told in done.err
