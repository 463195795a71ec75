"""LiteRT's CompiledModel: what it keeps, and what it says that is no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel

from rnnapp.exporting import compiled


def test_a_refused_file_is_told_why(tmp_path: Path) -> None:
    """Native code gives its reasons to the standard error alone."""
    path = tmp_path / "model.tflite"
    path.write_bytes(b"none at all")
    with (
        pytest.raises(RuntimeError, match="LiteRT said: ERROR: .*should be 'TFL3'"),
        compiled.load(path),
    ):
        pass


def test_buffers_are_made_once_for_each_model(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model that is closed takes no other's buffers with it."""
    create, models = CompiledModel.create_input_buffer_by_name, []

    def counted(model: CompiledModel, signature: str, name: str) -> Any:
        models.append(model)
        return create(model, signature, name)

    monkeypatch.setattr(CompiledModel, "create_input_buffer_by_name", counted)
    path = exported / "device" / "float.tflite"
    with compiled.load(path) as kept:
        ((name, info),) = kept.inputs("predict").items()
        inputs = {name: np.ones(info.shape, info.dtype)}
        kept.run("predict", **inputs)
        with compiled.load(path) as other:
            other.run("predict", **inputs)
        kept.run("predict", **inputs)
    assert len(models) == len(set(map(id, models))) == 2
