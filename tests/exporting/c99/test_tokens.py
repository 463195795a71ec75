"""Models of token ids in C: what an embedding holds, and what it makes of ids that it lacks."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp import builders
from rnnapp.exporting.c99 import library, writer
from rnnapp.exporting.c99.program import UnsupportedLayerError
from rnnapp.exporting.signatures import step_specs
from rnnapp.layers import CELLS
from rnnapp.layers.streaming import StepModel
from rnnapp.specs import ConvSpec, EmbeddingSpec, RNNSpec

from ...layers.conftest import CONVOLUTIONS, shuffled
from ...layers.test_streaming import whole
from .conftest import EXACT, LABELS, answers, softmax, written
from .test_int8 import flash
from .test_writer import SANITIZED, built

VOCABULARY, DIM, STEPS = 30, 6, 60
UNKNOWN = 1  # as the tokenizers number it
OUTSIDE = [-(2**31), -1, VOCABULARY, 2**16 + 1, 2**31 - 1]


def token_model(cell: str, pooling: str, convolutions: tuple[ConvSpec, ...] = ()) -> keras.Model:
    """A small model of token ids that tells them apart, with all that training alone needs."""
    spec = RNNSpec(
        cell,
        units=4,
        num_layers=2,
        pooling=pooling,  # type: ignore[arg-type]
        num_heads=2,
        dropout=0.1,
        convolutions=convolutions,
        embedding=EmbeddingSpec(dim=DIM, token_dropout=0.1, dropout=0.1),
    )
    model = builders.many_to_one(spec, len(LABELS), vocabulary_size=VOCABULARY, window=5)
    for weight in shuffled(model).weights:
        weight.assign(2 * weight)
    return model


def ids(timesteps: int = STEPS, seed: int = 0) -> np.ndarray:
    """Token ids, int32 (1, timesteps), the first and the last of the vocabulary among them."""
    drawn = np.random.default_rng(seed).integers(0, VOCABULARY, (1, timesteps), np.int32)
    drawn[0, :2] = 0, VOCABULARY - 1
    return drawn


INT8 = 2e-2  # the bound of the format


@pytest.mark.parametrize(
    ("pooling", "convolutions"), [("last", ()), ("attention", CONVOLUTIONS)], ids=["last", "conv"]
)
@pytest.mark.parametrize("cell", CELLS)
def test_tokens_give_the_answers_of_keras(
    cell: str, pooling: str, convolutions: tuple[ConvSpec, ...], tmp_path: Path
) -> None:
    """At every step of a long stream, one token or two of them, with tables of each kind."""
    model, x = token_model(cell, pooling, convolutions), ids()
    (size,) = StepModel(model).input_shape
    expected = softmax(whole(model, x, size)[:, 0])
    assert len(expected) == STEPS // size and np.ptp(expected, axis=0).max() > INT8
    in_float, in_int8 = (answers(written(model, tmp_path / v, v), x) for v in writer.VARIANTS)
    np.testing.assert_allclose(in_float, expected, **EXACT)
    np.testing.assert_allclose(in_int8, expected, rtol=0, atol=INT8)
    assert np.abs(in_int8 - expected).max() > EXACT["atol"]  # it is int8 indeed


@pytest.mark.parametrize("variant", writer.VARIANTS)
def test_an_embedding_alone_is_its_table(variant: str, tmp_path: Path) -> None:
    """A soft token beside a loud one keeps its own precision, and none is another's."""
    source = keras.Input((None,), dtype="int32", name="token_ids")
    layer = keras.layers.Embedding(VOCABULARY, len(LABELS))
    model = shuffled(keras.Model(source, layer(source)))
    table = layer.embeddings.numpy() * np.geomspace(1e-3, 10, VOCABULARY)[:, None]
    layer.embeddings.assign(table)
    with library.load(written(model, tmp_path, variant)) as step:
        for token, vector in enumerate(table):
            logits = step.run("step", token_ids=np.array([[token]], np.int32))["logits"]
            assert logits.shape == (1, 1, len(LABELS))
            half_unit = 0.0 if variant == "float" else np.abs(vector).max() / 254
            np.testing.assert_allclose(logits[0, 0], vector, rtol=1e-6, atol=half_unit * 1.001)


@pytest.mark.parametrize(
    ("variant", "vocabulary"), [("float", VOCABULARY), ("int8", VOCABULARY), ("int8", 1)]
)
def test_ids_outside_of_the_vocabulary_are_unknown(
    variant: str, vocabulary: int, tmp_path: Path
) -> None:
    """What a newer tokenizer, or a fault, may hand over must not read what lies beside a table."""
    source = keras.Input((None,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(vocabulary, DIM)(source)
    model = shuffled(keras.Model(source, keras.layers.GRU(len(LABELS))(x)))
    folder = written(model, tmp_path, variant)
    unknown = min(UNKNOWN, vocabulary - 1)
    assert f"taken for {unknown}, the unknown token" in (folder / "model.h").read_text()
    text = " ".join(map(str, OUTSIDE))
    done = subprocess.run(
        [built(folder, *SANITIZED)], input=text.encode(), capture_output=True, check=True
    )
    known = answers(folder, np.full((1, len(OUTSIDE)), unknown, np.int32))
    lines = [f"{LABELS[p.argmax()]} {p.max():.4f}" for p in known]
    assert done.stdout.decode().splitlines() == lines and not done.stderr


@pytest.mark.parametrize("variant", writer.VARIANTS)
def test_the_example_reads_token_ids(variant: str, tmp_path: Path) -> None:
    """Several a step, without a warning or an error of memory; what is left over is no step."""
    folder, x = written(token_model("lstm", "attention", CONVOLUTIONS), tmp_path, variant), ids(20)
    text = "\n".join(map(str, [*x[0], 7])) + " end"
    done = subprocess.run(
        [built(folder, *SANITIZED)], input=text.encode(), capture_output=True, check=True
    )
    lines = [f"{LABELS[p.argmax()]} {p.max():.4f}" for p in answers(folder, x)]
    assert len(lines) == 10 and done.stdout.decode().splitlines() == lines and not done.stderr


@pytest.mark.parametrize("cell", CELLS)
def test_each_timestep_has_logits_of_its_own(cell: str, tmp_path: Path) -> None:
    """A language model: what comes next, at every token, by the signature of other formats."""
    source = x = keras.Input((None,), dtype="int32", name="token_ids")
    layers = keras.layers.Embedding(VOCABULARY, DIM), CELLS[cell](4, return_sequences=True)
    for layer in (*layers, keras.layers.Dense(VOCABULARY)):
        x = layer(x)
    model, tokens = shuffled(keras.Model(source, x)), [f"token {i}" for i in range(VOCABULARY)]
    writer.write(model, tokens, tmp_path, "float")
    expected = softmax(keras.ops.convert_to_numpy(model(ids())))[0]
    np.testing.assert_allclose(np.concatenate(answers(tmp_path, ids())), expected, **EXACT)
    specs = step_specs(StepModel(model), 1)
    with library.load(tmp_path) as step:
        infos = step.inputs("step")
        assert [(name, info.shape) for name, info in infos.items()] == [
            (name, tuple(spec.shape)) for name, spec in specs.items()
        ]
        dtypes = [np.dtype(spec.dtype.as_numpy_dtype) for spec in specs.values()]
        assert [info.dtype for info in infos.values()] == dtypes
        assert dtypes[0] == np.int32
        assert step.outputs("step")["logits"].shape == (1, 1, VOCABULARY)


def test_int8_tables_are_small(tmp_path: Path) -> None:
    """A byte for each number, and a scale for each token."""
    source = keras.Input((None,), dtype="int32", name="token_ids")
    model = keras.Model(source, keras.layers.Embedding(VOCABULARY, len(LABELS))(source))
    sizes = [flash(written(model, tmp_path / v, v)) for v in writer.VARIANTS]
    assert sizes == [4 * VOCABULARY * len(LABELS), VOCABULARY * (len(LABELS) + 4)]


def test_steps_of_wrong_types_are_refused(tmp_path: Path) -> None:
    """The same ids as another integer, or floats, would be read as other numbers."""
    model = token_model("gru", "last")
    with pytest.raises(UnsupportedLayerError, match="input must be float32.*Received: int32"):
        writer.write_front(model, tmp_path / "front")
    source = keras.Input((None,), dtype="int64")
    embedded = keras.layers.Embedding(VOCABULARY, len(LABELS))(source)
    with pytest.raises(UnsupportedLayerError, match="int32 for an embedding. Received: int64"):
        written(keras.Model(source, embedded), tmp_path / "int64")
    with library.load(written(model, tmp_path / "int32")) as step:
        states = {name: np.zeros(info.shape) for name, info in step.inputs("step").items()}
        states.pop("token_ids")
        run = partial(step.run, "step", **states)
        answers_of = [run(token_ids=np.array([[7]], dtype)) for dtype in (np.int32, np.int64)]
        np.testing.assert_array_equal(*(answer["logits"] for answer in answers_of))
