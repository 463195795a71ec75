"""Language models keep their contract, and drop what they say, in training alone."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp.language import language_model
from rnnapp.layers import CELLS
from rnnapp.layers.streaming import StepModel
from rnnapp.specs import EmbeddingSpec, LanguageSpec

from .layers.conftest import shuffled

VOCABULARY, TIMESTEPS = 9, 7
LOGITS = {"rtol": 0, "atol": 1e-5}  # the same float32 sums in another order
DROPPING = LanguageSpec(
    units=6,
    embedding=EmbeddingSpec(5, token_dropout=0.3, dropout=0.3),
    dropout=0.3,
    output_dropout=0.3,
    weight_drop=0.3,
)
ENDS = [
    {},
    {"tied": True},
    {"tied": True, "projection": True},
    {"projection": True},
    {"softmax": "adaptive", "cutoffs": (3, 5)},
    {"softmax": "sampled"},
]


def model_of(spec: LanguageSpec) -> keras.Model:
    """A model with drawn weights."""
    return shuffled(language_model(spec, VOCABULARY))


def texts(count: int) -> np.ndarray:
    """Token ids, int32 (count, TIMESTEPS)."""
    return np.random.default_rng(0).integers(1, VOCABULARY, (count, TIMESTEPS), np.int32)


def changed(**fields: object) -> LanguageSpec:
    """A small spec with some fields changed."""
    small = {"units": 6, "embedding": EmbeddingSpec(5), **fields}
    return LanguageSpec(**small)  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", ENDS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_a_token_is_predicted_from_those_before_it(cell: str, ends: dict) -> None:
    """Neither padding nor the future moves a logit: what a model may not know, it does not."""
    model, token_ids = model_of(changed(cell=cell, **ends)), texts(2)
    lengths = np.array([TIMESTEPS, 4], np.int32)
    logits = model([token_ids, lengths])
    assert logits.shape == (2, TIMESTEPS, VOCABULARY) and logits.dtype == "float32"
    other = token_ids.copy()
    other[:, 4:] = 0
    np.testing.assert_allclose(model([other, lengths])[:, :4], logits[:, :4], **LOGITS)
    np.testing.assert_allclose(model([token_ids, lengths + 0])[1, :4], logits[1, :4], **LOGITS)


@pytest.mark.parametrize("ends", ENDS, ids=str)
def test_steps_equal_the_whole_text(ends: dict, tmp_path: Path) -> None:
    """A phone writes as the model would, also after it was saved."""
    model, token_ids = model_of(changed(**ends)), texts(2)
    model.save(tmp_path / "model.keras")
    whole = model([token_ids, np.full(2, TIMESTEPS, np.int32)])
    stepper = StepModel(keras.models.load_model(tmp_path / "model.keras"))
    states, logits = stepper.initial_states(2), []
    for t in range(TIMESTEPS):
        made, states = stepper(token_ids[:, t : t + 1], states)
        logits.append(made)
    np.testing.assert_allclose(np.concatenate(logits, axis=1), whole, **LOGITS)


def test_nothing_is_dropped_outside_training() -> None:
    """A model answers twice the same, and as one that never dropped anything."""
    inputs = [texts(4), np.full(4, TIMESTEPS, np.int32)]
    dropping, plain = model_of(DROPPING), model_of(changed(dropout=0.0, output_dropout=0.0))
    plain.set_weights([w.numpy() for w in dropping.weights if w.trainable])
    np.testing.assert_array_equal(dropping(inputs), dropping(inputs))
    np.testing.assert_array_equal(dropping(inputs), plain(inputs))
    assert np.ptp([dropping(inputs, training=True).numpy().sum() for _ in range(3)]) > 0


@pytest.mark.parametrize("name", ["embedding_dropout", "dropout_2", "output_dropout"])
def test_dropout_is_locked(name: str) -> None:
    """A window loses the same features at every timestep, and each text others (Gal 2016)."""
    layer = model_of(DROPPING).get_layer(name)
    dropped = np.asarray(layer(np.ones((64, TIMESTEPS, 50), np.float32), training=True)) == 0
    assert (dropped == dropped[:, :1]).all()
    assert len(np.unique(dropped[:, 0], axis=0)) == 64
    # 3,200 draws: four deviations of a share of 0.3
    assert dropped.mean() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 3200) ** 0.5)


def test_a_dropped_token_is_dropped_whole() -> None:
    """No word is half unknown."""
    layer = model_of(DROPPING).get_layer("token_dropout")
    dropped = np.asarray(layer(np.ones((64, 50, 5), np.float32), training=True)) == 0
    assert (dropped == dropped[..., :1]).all()
    assert dropped.mean() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 3200) ** 0.5)


def test_tied_models_are_as_wide_as_their_vectors() -> None:
    """Or their features could not be compared with them, unless they are projected to that."""
    for fields, units in (
        ({"tied": True}, [6, 5]),
        ({"tied": True, "projection": True}, [6, 6]),
        ({}, [6, 6]),
    ):
        model = model_of(changed(**fields))
        assert [model.get_layer(f"lstm_{n}").units for n in (1, 2)] == units


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "rnn"}, "`cell` must be one of simple_rnn, lstm, gru. Received: cell='rnn'"),
        ({"units": 0}, "`units` must be a positive integer. Received: units=0"),
        ({"weight_drop": 1.0}, r"`weight_drop` must be in \[0, 1\)"),
        ({"temporal_regularization": -1.0}, "`temporal_regularization` must be zero or more"),
        ({"softmax": "noise"}, "`softmax` must be one of full, sampled, adaptive"),
        ({"cutoffs": (5, 5)}, "`cutoffs` must be rising, from 1 upwards"),
        ({"cutoffs": ()}, "`cutoffs` must be rising"),
        ({"tied": True, "softmax": "adaptive"}, "`tied` must be false with softmax=adaptive"),
    ],
)
def test_wrong_settings_are_named(fields: dict, message: str) -> None:
    """Before anything is built."""
    with pytest.raises(ValueError, match=message):
        LanguageSpec(**fields)


def test_settings_that_train_only_do_not_change_the_model() -> None:
    """So that one trained with them is exported like any other."""
    plain = [type(layer) for layer in model_of(changed()).layers]
    for field in ({"weight_drop": 0.5}, {"softmax": "sampled"}, {"activation_regularization": 2.0}):
        assert [type(layer) for layer in model_of(changed(**field)).layers] == plain
