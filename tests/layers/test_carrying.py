"""Windows that continue each other are one sequence to the model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp.language import language_model
from rnnapp.layers import CELLS, RunningMean
from rnnapp.layers.carrying import CarryingModel
from rnnapp.layers.streaming import NotCausalError
from rnnapp.specs import EmbeddingSpec, LanguageSpec

from .conftest import FEATURES, shuffled

VOCABULARY, BATCH, TIMESTEPS = 9, 3, 13
# The same float32 sums in another order, over a dozen steps.
LOGITS = {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize("softmax", ["full", "adaptive"])
@pytest.mark.parametrize("cell", CELLS)
def test_windows_equal_the_whole_sequence(cell: str, softmax: str) -> None:
    """Wherever a text is cut, carried states make up for it."""
    spec = LanguageSpec(
        cell,
        units=5,
        embedding=EmbeddingSpec(4),
        softmax=softmax,
        cutoffs=(3, 6),  # type: ignore
    )
    model = shuffled(language_model(spec, VOCABULARY))
    token_ids = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, TIMESTEPS), np.int32)
    whole = model([token_ids, np.full(BATCH, TIMESTEPS, np.int32)])
    reader = CarryingModel(model)
    for cuts in ([], [1], [5, 6], range(1, TIMESTEPS)):
        states, logits = reader.initial_states(BATCH), []
        for window in np.split(token_ids, list(cuts), axis=1):
            made, states = reader(tf.constant(window), states)
            logits.append(made)
        np.testing.assert_allclose(np.concatenate(logits, axis=1), whole, **LOGITS)


def test_only_recurrent_layers_are_carried() -> None:
    """Another state would be forgotten at each border, and nobody told."""
    source = x = keras.Input((None, FEATURES))
    for layer in (RunningMean(5), keras.layers.GRU(2, return_sequences=True)):
        x = layer(x)
    with pytest.raises(ValueError, match="Only recurrent layers may keep states.*running_mean"):
        CarryingModel(keras.Model(source, x))


def test_a_model_that_reads_backwards_has_nothing_to_carry() -> None:
    """The reason comes from the layer that needs the future."""
    source = keras.Input((None, FEATURES))
    backwards = keras.layers.GRU(2, return_sequences=True, go_backwards=True)
    with pytest.raises(NotCausalError, match="go_backwards=True"):
        CarryingModel(keras.Model(source, backwards(source)))
