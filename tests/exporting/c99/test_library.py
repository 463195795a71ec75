"""A C program is loaded as any other artefact, where there is a compiler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnnapp.exporting.c99 import library
from rnnapp.exporting.signatures import step_specs
from rnnapp.layers.streaming import StepModel

from ...layers.conftest import CONVOLUTIONS
from .conftest import LABELS, softmax, waveform_model


def test_the_signature_is_that_of_the_other_formats(program: Path) -> None:
    """Names, order and shapes: whoever steps one format can step this one."""
    model = waveform_model("mfcc", "lstm", "attention", CONVOLUTIONS)
    specs = {name: tuple(spec.shape) for name, spec in step_specs(StepModel(model), 1).items()}
    with library.load(program) as step:
        assert step.signatures == ["step"]
        inputs, outputs = step.inputs("step"), step.outputs("step")
        assert {name: info.shape for name, info in inputs.items()} == specs
        assert list(inputs)[0] == "samples"
        following = {f"next_{name}": specs[name] for name in list(specs)[1:]}
        classes = {"logits": (1, len(LABELS)), "probabilities": (1, len(LABELS))}
        assert {name: info.shape for name, info in outputs.items()} == classes | following
        assert {info.dtype for info in (inputs | outputs).values()} == {np.dtype(np.float32)}
        zeros = {name: np.zeros(shape, np.float32) for name, shape in specs.items()}
        answer = step.run("step", **zeros)
        assert {name: value.shape for name, value in answer.items()} == classes | following
        np.testing.assert_allclose(answer["probabilities"], softmax(answer["logits"]), atol=1e-6)
        with pytest.raises(ValueError, match="must have the signature `predict`. It has: step"):
            step.run("predict", **zeros)
        with pytest.raises(
            ValueError, match=r"The inputs must be .*Received: .*'samples': \(1, 9\)"
        ):
            step.run("step", **{**zeros, "samples": np.zeros((1, 9), np.float32)})


def test_a_machine_without_a_compiler_says_so(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate lists the runtime as not run; and CC may name a compiler, with arguments."""
    assert library.missing() is None
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    assert library.missing() == "no C compiler: install gcc or clang, or name one by CC"
    with pytest.raises(library.CompilationError, match="cannot be compiled: no C compiler"):
        library.load(program).__enter__()
    monkeypatch.setenv("CC", "cc -DRNN_H")  # which hides the kernels' header
    assert library.missing() is None
    with pytest.raises(
        library.CompilationError, match="(?s)-DRNN_H.*It said: .*rnn_log_mel_settings"
    ):
        library.load(program).__enter__()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    assert library.missing()
