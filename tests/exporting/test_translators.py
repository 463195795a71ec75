"""Encoder-decoders in exports: every signature is judged, and each fault is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp import Run, device, export, train, verify
from rnnapp.device.interpreter import TensorInfo
from rnnapp.exporting.certificate import certify, failures
from rnnapp.exporting.formats import FORMATS
from rnnapp.exporting.reference import reference_of
from rnnapp.exporting.runtimes import RUNTIMES, Runtime, SavedModel
from rnnapp.exporting.translators import Clocked, TranslatorReference, translates
from rnnapp.manifests import read_manifest
from rnnapp.replay import Replay

from ..conftest import TINY_TRANSLATOR

Arrays = dict[str, np.ndarray]
Spoiler = Callable[[str, Arrays, Arrays, int], Arrays]


class Spoilt:
    """An artefact in a runtime whose outputs are changed."""

    def __init__(self, loaded: Clocked, spoil: Spoiler, signatures: list[str]) -> None:
        self.name, self.signatures = loaded.name, signatures
        self._loaded, self._spoil, self._calls = loaded, spoil, 0

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """As the artefact."""
        return self._loaded.inputs(signature)

    def run(self, signature: str, /, **inputs: np.ndarray) -> Arrays:
        """As the artefact, but spoilt."""
        self._calls += 1
        return self._spoil(signature, inputs, self._loaded.run(signature, **inputs), self._calls)


@pytest.fixture(scope="module")
def reference(translator: Run) -> TranslatorReference:
    """What Keras says."""
    model = translator.load_model()
    assert translates(model)
    made = reference_of(model, Replay.load(translator.folder / "replay.npz"), 1, False)
    assert isinstance(made, TranslatorReference)
    return made


@pytest.fixture
def certified(
    translator_exported: Path, reference: TranslatorReference, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict]:
    """The certificate of the export's SavedModel, spoilt in some way."""

    def make(spoil: Spoiler, missing: str = "") -> dict:
        def load(folder: Path) -> nullcontext:
            loaded = SavedModel(folder)
            kept = [each for each in loaded.signatures if each != missing]
            return nullcontext(Spoilt(loaded, spoil, kept))  # type: ignore[arg-type]

        monkeypatch.setitem(RUNTIMES, "saved_model", Runtime(load, "tensorflow"))
        return certify(translator_exported, ["saved_model"], reference, lambda done, total: None)

    return make


def untouched(signature: str, inputs: Arrays, outputs: Arrays, calls: int) -> Arrays:
    """What the artefact gave."""
    return outputs


def test_all_signatures_are_judged(certified: Callable[..., dict]) -> None:
    """Sources of every length, raw sentences, and each token of pairs."""
    checks = {check["signature"]: check for check in certified(untouched)["checks"]}
    assert set(checks) == {"serving_default", "encode", "step"}
    assert all(check["passed"] and check["max_difference"] < 1e-5 for check in checks.values())
    assert checks["step"]["comparisons"] > 3 * checks["serving_default"]["comparisons"]
    for signature in ("serving_default", "step"):
        assert checks[signature]["measure"] == "perplexity"
        assert 1 < checks[signature]["quality"] < 3  # it has learnt
    assert checks["encode"]["quality"] is None  # of sources that say nothing


def forgetful(signature: str, inputs: Arrays, outputs: Arrays, calls: int) -> Arrays:
    """The states stay as they were."""
    kept = {f"next_{name}": value for name, value in inputs.items() if name.startswith("state_")}
    return outputs | kept


def deaf(signature: str, inputs: Arrays, outputs: Arrays, calls: int) -> Arrays:
    """Padding is attended to."""
    if "memory_lengths" not in outputs:
        return outputs
    return outputs | {"memory_lengths": np.full_like(outputs["memory_lengths"], 99)}


def drifting(signature: str, inputs: Arrays, outputs: Arrays, calls: int) -> Arrays:
    """Another answer at each call, by far less than the bound."""
    if "logits" not in outputs:
        return outputs
    first = np.arange(outputs["logits"].shape[-1]) == 0
    return outputs | {"logits": outputs["logits"] + np.float32(1e-6) * calls * first}


@pytest.mark.parametrize(
    ("spoil", "signature", "message"),
    [
        (forgetful, "step", "differs by"),
        (deaf, "encode", "differs by"),
        (drifting, "step", "gave another answer to the same input"),
    ],
)
def test_a_spoilt_artefact_fails(
    certified: Callable[..., dict], spoil: Spoiler, signature: str, message: str
) -> None:
    """With the reason, where it shows."""
    found = failures(certified(spoil))["saved_model"]
    assert any(f"signature {signature} " in line and message in line for line in found)


@pytest.mark.parametrize("missing", ["step", "encode", "serving_default"])
def test_a_missing_signature_is_a_fault(certified: Callable[..., dict], missing: str) -> None:
    """A search needs two of them, and servers are asked raw sentences."""
    result = certified(untouched, missing)
    found = failures(result)["saved_model"]
    assert found == [f"saved_model in saved_model, signature {missing}: is missing"]


def test_pairs_end_where_they_end(reference: TranslatorReference) -> None:
    """Each true token is answered once, the end among them, and padding never."""
    pairs, replay = reference.cases()["pairs"], reference.replay
    assert pairs.fed is not None and pairs.targets is not None
    told = replay.targets[: len(pairs.fed)]
    assert len(pairs.expected) == (told != 0).sum() == (pairs.fed != 0).sum()
    np.testing.assert_array_equal(pairs.targets, told[told != 0])
    assert (pairs.fed[:, 0] == 2).all() and not (pairs.fed == 3).any()


def test_forms_without_a_search_are_refused(translator_exported: Path, translator: Run) -> None:
    """Integers, C and pages are for streams and sounds; each says why not."""
    from rnnapp.exporting.folder import source_of
    from rnnapp.exporting.proof import possible_formats

    model: keras.Model = translator.load_model()
    source = source_of(translator, model, translator_exported)
    for name in ("step_int8", "micro_int8", "c99_float"):
        with pytest.raises(ValueError, match="reads a whole source first"):
            possible_formats([name], source)
    with pytest.raises(ValueError, match="it is for waveforms"):
        possible_formats(["web"], source)
    possible, refused = possible_formats(["all"], source)
    assert {"saved_model", "tflite_float", "tflite_dynamic"} <= set(possible)
    assert set(possible) | set(refused) == set(FORMATS)


def test_sixteen_bits_halve_decoders_too(translator_exported: Path) -> None:
    """Though none of a decoder's layers is called by its own name."""
    whole, half = (
        (translator_exported / FORMATS[name].path).stat().st_size
        for name in ("tflite_float", "tflite_float16")
    )
    assert whole - half > 2 * 32 * 96  # the recurrent weights of the decoder, two bytes each


def test_a_file_searches_with_the_beam_of_its_run(
    translator: Run, translator_exported: Path
) -> None:
    """As many hypotheses in a step as the run's search follows."""
    file = device.load(translator_exported / "device" / "float.tflite")
    assert file.inputs("step")["token_ids"].shape == (translator.spec.evaluation.beam_size,)
    assert file.inputs("encode")["source_ids"].shape[0] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "attention"),
    [("simple_rnn", "luong"), ("lstm", "bahdanau"), ("gru", "none"), ("lstm", "none")],
)
def test_every_kind_of_translator_agrees(
    cell: str, attention: str, phrases: Path, tmp_path: Path
) -> None:
    """Every cell and every attention, in every format; what they say after a step or two."""
    settings = [
        *TINY_TRANSLATOR,
        *("epochs=1", "num_layers=2", f"cell={cell}", f"attention={attention}"),
    ]
    run = train("translation", phrases, tmp_path / "run", settings=settings)
    folder = export(run, tmp_path / "export")
    made = read_manifest(folder)["formats"]
    assert made == ["saved_model", "tflite_float", "tflite_dynamic", "tflite_float16"]
    assert verify(folder)["passed"]
