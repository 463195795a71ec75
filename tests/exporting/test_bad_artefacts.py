"""Artefacts that are not what their model is, planted on the way, do not leave the export."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from rnnapp import FORMATS, export
from rnnapp.exporting import saved_model
from rnnapp.exporting.formats import Source
from rnnapp.exporting.proof import ExportError

from .conftest import untrained


class Counting(tf.Module):
    """A model whose answer grows a little with each call, far within the bound."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.weights = [weight.value for weight in source.model.weights]
        self.model, self.calls = source.model, tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec((None, None), name="waveform")], autograph=False)
    def predict(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """The model's probabilities, and how often it was asked."""
        lengths = tf.fill([tf.shape(waveform)[0]], tf.shape(waveform)[1])
        more = 1e-7 * self.calls.assign_add(1.0)
        return {"probabilities": tf.nn.softmax(self.model([waveform, lengths])) + more}


def keeps_state(source: Source, folder: Path, names: list[str]) -> None:
    """Writes `Counting` as the SavedModel."""
    module, place = Counting(source), folder / FORMATS["saved_model"].path
    tf.saved_model.save(module, str(place), signatures={"serving_default": module.predict})


def is_another(source: Source, folder: Path, names: list[str]) -> None:
    """Writes the SavedModel of another model."""
    other = keras.models.clone_model(source.model)
    other.set_weights([1.05 * weight for weight in source.model.get_weights()])
    saved_model.save(other, folder / FORMATS["saved_model"].path, source.labels, None)


@pytest.mark.parametrize(
    ("write", "message"),
    [(keeps_state, "keeps state between calls"), (is_another, "differs by .* allowed are 1e-05")],
)
def test_an_export_that_does_not_agree_is_not_written(
    write: Callable, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bad artefact reaches a folder that someone serves from."""
    planted = dataclasses.replace(FORMATS["saved_model"], write=write, runtimes=("saved_model",))
    monkeypatch.setitem(FORMATS, "saved_model", planted)
    run = untrained(tmp_path / "run")
    way_out = "look at the model first, by `rnnapp evaluate RUN`"
    with pytest.raises(ExportError, match=f"(?s)nothing was written:.*{message}.*{way_out}"):
        export(run, tmp_path / "export", formats=["saved_model"])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
