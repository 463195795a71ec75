"""The command `predict`: over lists, into files, by servers; and what it says of wrong use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnapp.cli.common import CHECK_FAILED, WRONG_USE
from rnnapp.prediction import Predictor
from rnnapp.remote import Remote

from .conftest import Done


def test_an_archive_is_written_down(
    call: Callable[..., Done], reader_exported: Path, tmp_path: Path
) -> None:
    """By several processes what one says; bad inputs are counted, and the call goes on."""
    texts = ["a good film", str(tmp_path / "absent.txt"), *(f"film number {n}" for n in range(9))]
    (tmp_path / "list.txt").write_text("\n".join(texts))
    listed = (reader_exported, "--input-list", tmp_path / "list.txt")
    shown = call("predict", *listed, "--json")
    out = tmp_path / "a.jsonl"
    done = call("predict", *listed, "--out", out, "--workers", 2)
    assert done.code == shown.code == CHECK_FAILED
    assert done.out == f"{out}: 10 answered, 1 could not be used: their `error` says why\n"
    written = out.read_bytes()
    assert [json.loads(line) for line in written.splitlines()] == shown.json["answers"]
    assert "--resume" in call("predict", *listed, "--out", out).err
    out.write_bytes(written[: len(written) // 2])
    again = call("predict", *listed, "--out", out, "--resume", "--json")
    assert again.json == {"out": str(out), "answered": 10, "failed": 1}
    assert out.read_bytes() == written
    stopped = call("predict", *listed, "--out", out.with_suffix(".csv"), "--on-bad-input", "stop")
    assert stopped.code == WRONG_USE and "absent.txt" in stopped.err


def test_a_server_that_is_away_is_told(call: Callable[..., Done]) -> None:
    """Without a traceback, as what fails and is no mistake of the user's."""
    done = call("predict", "--server", "127.0.0.1:9", "--timeout", "0.5", "a text")
    assert done.code == CHECK_FAILED and "UNAVAILABLE" in done.err or "DEADLINE" in done.err


def test_options_reach_the_client(
    call: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is lost would be a request refused; a certificate, a server trusted."""
    seen: list[Remote] = []

    def open_(self: Remote) -> Predictor:
        seen.append(self)
        return Predictor(list, lambda batch: [{"text": each} for each in batch])

    monkeypatch.setattr(Remote, "open", open_)
    (tmp_path / "key").write_text("k" * 32)
    options = {
        "--server": "https://a:1",
        "--model": "m",
        "--export": tmp_path,
        "--set": "seed=1",
        "--api-key-file": tmp_path / "key",
        "--ca-cert": tmp_path / "ca.pem",
        "--timeout": 2,
    }
    flat = [word for pair in options.items() for word in pair]
    assert call("predict", *flat, "a text").out == "a text  a text\n"
    assert seen == [
        Remote("https://a:1", "m", tmp_path, ("seed=1",), "k" * 32, tmp_path / "ca.pem", 2)
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "A run or an export folder must be named first"),
        (["x"], "An INPUT must be given, or an --input-list"),
        (["--server", "a:1"], "An INPUT must be given, or an --input-list"),
        (["x", "y", "--model", "m"], "`--server` must be given with"),
        (["x", "--input-list", "nowhere.txt"], "nowhere.txt"),
        (["--server", "ftp://a", "b"], "`url` must be host:port"),
        (["x", "y", "--on-bad-input", "z"], "one of skip, stop"),
        (["x", "y", "--workers", "0"], "`workers` must be a positive integer"),
        (["x", "y", "--out", "a.txt"], "must end in one of"),
        (["x", "y", "--resume"], "`--out` must be given with --resume"),
    ],
)
def test_wrong_use_is_told(call: Callable[..., Done], arguments: list[str], said: str) -> None:
    """Before a model is loaded."""
    done = call("predict", *arguments)
    assert done.code == WRONG_USE and said in done.err
