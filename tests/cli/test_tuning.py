"""`rnnapp tune`: its mistakes, and what it prints for other machines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from .conftest import Done


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speech_comands"], "There is no task 'speech_comands'"),
        (["speech_commands", "--tune", "units=64..16"], "the lower one first. Received: 64..16"),
        (["speech_commands", "--tune", "unit=8..16"], "Did you mean model.units"),
        (["speech_commands", "--set", "units=8", "--tune", "units=8..16"], "cannot be fixed by"),
        (["speech_commands", "--search", "genetic"], "`search` must be one of random, bayesian"),
        (["speech_commands", "--objective", "best"], "`objective` must be one of quality, pareto"),
        (["speech_commands", "--max-size", "tiny"], "must be such as 60KB"),
        (["speech_commands", "--max-size", "9KB", "--no-export"], "bytes is measured on exports"),
        (["speech_commands", "--format", "web"], "`format` must be one of tflite_float"),
        (["speech_commands", "--max-quality-loss", "1"], "must be a share from 0 to less than 1"),
        (["speech_commands", "--trials", "0"], "`trials` must be above zero"),
        (["speech_commands", "--workers", "0"], "`workers` must be above zero"),
        (["speech_commands", "--search", "hyperband", "--tune", "epochs=2..9"], "hyperband sets"),
        (["speech_commands", "--hosts", "a,b", "--hours", "2"], "`hours` must be left out"),
        (["speech_commands", "--hosts", "a,b"], "each machine would make its own"),
        (["speech_commands", "--hosts", ",", "--data", "x"], "`hosts` must be names with commas"),
        (["speech_commands", "--kubernetes", "i", "--workers", "0"], "`workers` must be above"),
    ],
)
def test_mistakes_are_told_before_the_first_trial(
    call: Callable[..., Done],
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    done = call("tune", *arguments)
    assert done.code == 2 and message in " ".join(done.err.split())
    assert not list(tmp_path.iterdir())


def test_other_machines_are_told_what_to_run(call: Callable[..., Done], tmp_path: Path) -> None:
    """A line for the chief and for each worker, that a shell takes as it is."""
    out = tmp_path / "my search"
    asked = ("--data", tmp_path, "--out", out, "--hosts", "ada,bob", "--trials", 30)
    done = call("tune", "speech_commands", *asked)
    assert done.code == 0 and (out / "search.json").exists()
    assert (out / "workers").is_dir()  # where workers say that they live
    lines = [line for line in done.out.splitlines() if not line.startswith("#")]
    words = [shlex.split(line) for line in lines]
    assert [each[0] for each in words] == [
        "KERASTUNER_TUNER_ID=chief",
        "KERASTUNER_TUNER_ID=worker-1",
        "KERASTUNER_TUNER_ID=worker-2",
    ]
    assert all(str(out) in each for each in words)
    assert {"--trials=30", "--workers=2", "--conclude"} <= set(words[0])
    assert "KERASTUNER_ORACLE_IP=ada" in words[2] and "--conclude" not in words[2]
    assert "a disk that all of them share" in done.err


def test_a_cluster_is_given_a_manifest(call: Callable[..., Done], tmp_path: Path) -> None:
    """A Job for the chief and for each worker, with keras-tuner's environment."""
    image, out = "registry/rnnapp:1", tmp_path / "My search's"
    given = ("--kubernetes", image, "--workers", 3, "--out", out, "--data", tmp_path)
    done = call("tune", "speech_commands", *given)
    assert done.code == 0 and str(tmp_path) in done.out.partition("apiVersion")[0]
    service, chief, *workers = yaml.safe_load_all(done.out)
    name = service["metadata"]["name"]
    assert re.fullmatch("[a-z0-9-]+", name) and len(workers) == 3
    for number, job in enumerate([chief, *workers]):
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        own = {each["name"]: each["value"] for each in container["env"]}
        assert own["KERASTUNER_TUNER_ID"] == (f"worker-{number}" if number else "chief")
        assert own["KERASTUNER_ORACLE_IP"] == (name if number else "0.0.0.0")
        assert container["image"] == image and str(out) in container["command"]
        assert ("livenessProbe" in container) == bool(number)  # the chief gives no sign of life
        assert ("--conclude" in container["command"]) == (number == 0)
