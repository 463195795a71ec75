"""The command `bench serving`: what reaches the load test, and what it says of wrong use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnapp.cli import bench
from rnnapp.cli.common import CHECK_FAILED, WRONG_USE
from rnnapp.serving.load.loops import NOT_SENT
from rnnapp.serving.load.measuring import LoadSpec
from rnnapp.serving.load.report import PERCENTILES, Load
from tests.cli.conftest import Done

URL = "http://127.0.0.1:9"


def test_options_reach_the_load_test(
    call: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its figures one JSON object and a picture."""
    begun: list[Any] = []
    latency = dict.fromkeys(PERCENTILES, 1.0)
    loads = [Load(None, 9.0, 9, latency, 0.0, {}), Load(4.0, 3.0, 5, latency, 0.0, {NOT_SENT: 2})]

    def measure(*arguments: Any) -> list[Load]:
        begun.append(arguments)
        return loads

    monkeypatch.setattr(bench, "_measure", measure)
    (tmp_path / "key").write_text("s" * 32 + "\n")
    options = {
        "--model": "m",
        "--signature": "padded",
        "--input": "a.json",
        "--lengths": "3..5",
        "--clients": 2,
        "--seconds": 0.5,
        "--shares": "0.1,0.2",
        "--rates": "7, 8",
        "--max-in-flight": 6,
        "--timeout": 4,
        "--api-key-file": tmp_path / "key",
        "--ca-cert": tmp_path / "ca",
        "--seed": 1,
        "--out": tmp_path / "load.png",
    }
    words = [str(word) for pair in options.items() for word in pair]
    done = call("bench", "serving", URL, *words, "--json")
    assert done.code == 0 and done.json["loads"][1]["errors"] == {NOT_SENT: 2}
    (url, name, spec, unit, client) = begun[0]
    assert (url, name, unit) == (URL, "m", None)
    assert client == {"timeout": 4, "api_key": "s" * 32, "ca_cert": tmp_path / "ca"}
    assert spec == LoadSpec(
        clients=2,
        seconds=0.5,
        shares=(0.1, 0.2),
        rates=(7.0, 8.0),
        max_in_flight=6,
        signature="padded",
        inputs=(Path("a.json"),),
        lengths=(3, 5),
        seed=1,
    )
    assert (tmp_path / "load.png").is_file()
    shown = call("bench", "serving", URL, *words).out
    assert "2 clients" in shown and "2 requests were not sent, since 6 were" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["exprot"], "`target` must be an export folder, or a URL"),
        ([URL], "`model` must be the name of the model"),
        (["ftp://x:1", "--model", "m"], "`url` must be"),
        ([".", "--model", "m"], "`model` must be left out"),
        (["."], "must be an export folder"),
        (["."], "manifest.json"),
        ([URL, "--protocol", "soap"], "`protocol` must be grpc or rest"),
        ([URL, "--shares", "half"], "`--shares` must be numbers"),
        ([URL, "--rates", "0"], "`rates` must be positive"),
        ([URL, "--lengths", "5.."], "must be as in"),
        ([URL, "--lengths", "5..3"], "`lengths` must be"),
        ([URL, "--clients", "0"], "`clients` must be"),
        ([URL, "--out", "nowhere/load.png"], "`out` must be a .png file"),
        ([URL, "--out", "load.pdf"], "`out` must be a .png file"),
        ([URL, "--api-key-file", "nowhere"], "nowhere"),
    ],
)
def test_wrong_use_is_told(
    call: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    """Before anything is asked."""
    monkeypatch.chdir(tmp_path)
    done = call("bench", "serving", *arguments)
    assert done.code == WRONG_USE and told in done.err


def test_a_server_that_is_not_there_is_told(call: Callable[..., Done]) -> None:
    """As a failure, not as a traceback."""
    done = call("bench", "serving", URL, "--model", "m", "--timeout", "5")
    assert done.code == CHECK_FAILED and "error: UNAVAILABLE" in done.err
