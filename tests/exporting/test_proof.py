"""What does not agree is not let out; integers that lose too much get parts of floats."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnnapp import FORMATS
from rnnapp.exporting import proof
from rnnapp.exporting.certificate import Check
from rnnapp.exporting.formats import LeftOutError, Source
from rnnapp.exporting.proof import ExportError, Proof
from rnnapp.exporting.runtimes import RUNTIMES, Runtime

PARTS = ["all but products", "gru_1", "logits", "conv_1"]  # the most sensitive first


def check(name: str, passed: bool) -> dict[str, Any]:
    """What a certificate says of a format."""
    judged = Check(
        name,
        "ai_edge_litert",
        "step",
        "windows",
        bound=None,
        max_quality_loss=0.01,
        quality=0.9 if passed else 0.5,
        model_quality=0.9,
    )
    return judged.to_dict()


class Judge:
    """Writers and certificates of formats, which pass from a number of float parts on."""

    def __init__(self, enough: dict[str, int]) -> None:
        self.enough = enough
        self.written, self.ranked = dict.fromkeys(enough, 0), 0

    def write(self, source: Source, folder: Path, names: list[str]) -> None:
        """Stands for a format's writer."""
        assert list(source.float_parts) == PARTS[: len(source.float_parts)]
        self.written |= dict.fromkeys(names, len(source.float_parts))

    def rank(self, source: Source) -> list[str]:
        """Stands for the ranking of a model's parts."""
        self.ranked += 1
        return PARTS

    def certify(
        self, folder: Path, formats: list[str], *_: object, known: Any = None, **__: object
    ) -> dict[str, Any]:
        """Stands for the certificate."""
        checks = [c for c in (known["checks"] if known else []) if c["format"] not in formats]
        checks += [check(name, self.written[name] >= self.enough[name]) for name in formats]
        passed = all(entry["passed"] for entry in checks)
        rest: dict[str, Any] = dict(unproved=[], not_run=[], max_quality_loss=0.01)
        return dict(checks=checks, passed=passed, **rest)


def source(folder: Path) -> Source:
    """A model that needs no more than an input."""
    model: Any = SimpleNamespace(inputs=[SimpleNamespace(name="features")])
    return Source("name", model, folder, [], 1, folder, folder, None, "", None, {})


def judged(enough: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Lets formats pass that have so many parts of floats."""
    judge = Judge(enough)
    monkeypatch.setattr(proof, "certify", judge.certify)
    for name in enough:
        rank = judge.rank if FORMATS[name].sensitive_parts else None
        replaced = dataclasses.replace(FORMATS[name], write=judge.write, sensitive_parts=rank)
        monkeypatch.setitem(FORMATS, name, replaced)
    return judge


def mixed(
    enough: dict[str, int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What becomes of formats that need so many parts of floats."""
    judge, reference = judged(enough, monkeypatch), Any
    first = judge.certify(folder, list(enough))
    found = proof._mixed(source(folder), folder, reference, first)  # type: ignore[arg-type]
    assert judge.ranked == any(kept for kept in judge.written.values())  # once, if at all
    return found


@pytest.mark.parametrize("enough", range(len(PARTS)))
def test_as_many_parts_stay_floats_as_it_takes(
    enough: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None where integers are good enough; what else has been certified is not done again."""
    certificate, kept = mixed({"tflite_float": 0, "step_int8": enough}, tmp_path, monkeypatch)
    assert certificate["passed"]
    assert kept == ({"step_int8": PARTS[:enough]} if enough else {})
    assert [c["format"] for c in certificate["checks"]] == ["tflite_float", "step_int8"]


def test_a_file_of_floats_alone_is_none_of_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every layer would have to stay, the format is refused."""
    certificate, _ = mixed({"step_int8": len(PARTS)}, tmp_path, monkeypatch)
    assert not certificate["passed"]


def test_what_is_no_integer_is_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong float file is wrong, whatever is done about it."""
    certificate, kept = mixed({"tflite_float": 1, "step_int8": 0}, tmp_path, monkeypatch)
    assert not certificate["passed"]
    assert not kept


def proved(
    enough: dict[str, int], names: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Proof:
    """What is let out of formats that need so many parts of floats."""
    judge = judged(enough, monkeypatch)
    monkeypatch.setattr(proof, "possible_formats", lambda *_: (list(enough), {}))
    monkeypatch.setattr(proof, "reference_of", lambda *_: None)
    monkeypatch.setattr(proof.Replay, "load", lambda *_: None)
    for name in enough:
        path = folder / FORMATS[name].path
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert not any(judge.written.values())
    return proof.prove(source(folder), folder, names, 0.01)


TOO_MANY = len(PARTS)


def test_all_is_what_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers that no float can save are left out, with the reason; the others are there."""
    enough = {"tflite_float": 0, "tflite_dynamic": 1, "step_int8": TOO_MANY}
    result = proved(enough, ["all"], tmp_path, monkeypatch)
    assert result.formats == ["tflite_float"]
    assert [path.name for path in (tmp_path / "device").iterdir()] == ["float.tflite"]
    assert result.refused["step_int8"].startswith("step_int8 in ai_edge_litert, signature step")
    assert set(result.refused) == {"tflite_dynamic", "step_int8"} and not result.float_parts
    assert result.certificate["passed"]
    assert [check["format"] for check in result.certificate["checks"]] == ["tflite_float"]


@pytest.mark.parametrize(
    ("enough", "names"),
    [
        ({"tflite_float": 0, "step_int8": TOO_MANY}, ["tflite_float", "step_int8"]),
        ({"tflite_float": 1, "step_int8": 0}, ["all"]),
    ],
    ids=["asked for", "floats"],
)
def test_what_must_agree_stops_the_export(
    enough: dict[str, int], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format that was named, and one that is wrong although it rounds nothing."""
    with pytest.raises(ExportError, match="does not agree with its model, so nothing was written"):
        proved(enough, names, tmp_path, monkeypatch)


def test_a_failure_on_the_way_leaves_the_others_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was certified does not go with what could not be made better."""
    judge = judged({"tflite_float": 0, "step_int8": TOO_MANY}, monkeypatch)
    first = judge.certify(tmp_path, ["tflite_float", "step_int8"])

    def fail(*_: object) -> list[str]:
        raise LeftOutError({"step_int8": MemoryError("no memory left")})

    planted = dataclasses.replace(FORMATS["step_int8"], write=fail)
    monkeypatch.setitem(FORMATS, "step_int8", planted)
    reference: Any = None
    assert proof._mixed(source(tmp_path), tmp_path, reference, first) == (first, {})


def test_what_nothing_can_prove_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before minutes of conversion, and with what is missing."""
    absent = Runtime(lambda path: nullcontext(), "no_such_package")  # type: ignore
    monkeypatch.setitem(RUNTIMES, "tflite_micro", absent)
    streaming = dataclasses.replace(source(tmp_path), no_step="")
    with pytest.raises(ValueError, match="'micro_int8' cannot be exported here: .*not installed"):
        proof.possible_formats(["micro_int8"], streaming)
    assert (
        "tflite_micro: not installed" in proof.possible_formats(["all"], streaming)[1]["micro_int8"]
    )


def test_a_refusal_says_which_formats_are_good() -> None:
    """One bad variant need not cost the others."""
    said = proof._refusal(["a", "b", "c"], {"b": ["b: differs", "b: keeps state"]})
    assert said.splitlines()[1:] == [
        "b: differs",
        "b: keeps state",
        "Leave out what fails: --formats a,c",
    ]
