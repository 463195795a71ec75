"""Both attentions give what their equations say, to true timesteps alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.layers import BahdanauAttention, LuongAttention
from rnnapp.layers.attention import Attention

BATCH, QUERIES, TIMESTEPS, UNITS = 3, 2, 6, 4
KINDS = {
    "bahdanau": lambda: BahdanauAttention(UNITS),
    "luong": lambda: LuongAttention(UNITS),
    "dot": lambda: LuongAttention(UNITS, "dot"),
}


def drawn(seed: int, features: int = UNITS) -> tuple[tf.Tensor, tf.Tensor]:
    """Queries and a memory."""
    generator = np.random.default_rng(seed)
    query = generator.standard_normal((BATCH, QUERIES, UNITS)).astype(np.float32)
    memory = generator.standard_normal((BATCH, TIMESTEPS, features)).astype(np.float32)
    return tf.constant(query), tf.constant(memory)


def attend(
    layer: Attention, query: tf.Tensor, memory: tf.Tensor, lengths: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Contexts and weights."""
    if not layer.built:
        layer.build(query.shape, (BATCH, TIMESTEPS, UNITS), memory.shape, (BATCH,))
    context, weights = layer(query, layer.keys(memory), memory, tf.constant(lengths))
    return context.numpy(), weights.numpy()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, TIMESTEPS), min_size=BATCH, max_size=BATCH),
    seed=st.integers(0, 99),
)
def test_weights_are_shares_of_true_timesteps(kind: str, lengths: list[int], seed: int) -> None:
    """They sum to one, are exactly zero on padding, and what is padded with changes nothing."""
    layer, (query, memory) = KINDS[kind](), drawn(seed)
    context, weights = attend(layer, query, memory, lengths)
    valid = np.arange(TIMESTEPS) < np.array(lengths)[:, None]
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)  # float32
    assert (weights[~np.repeat(valid[:, None], QUERIES, axis=1)] == 0).all()
    np.testing.assert_allclose(context, weights @ memory.numpy(), atol=1e-6)
    other = tf.where(valid[..., None], memory, 7.0)
    for ours, theirs in zip((context, weights), attend(layer, query, other, lengths), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-6)  # another sum of zeros


def test_scores_are_the_papers() -> None:
    """v . tanh(W q + U m + b), q . W m and q . m, to scale, written out with NumPy."""
    query, memory = drawn(0)
    q, m = query.numpy()[:, :, None], memory.numpy()[:, None]
    layers = {kind: make() for kind, make in KINDS.items()}
    scores = {}
    for kind, layer in layers.items():
        attend(layer, query, memory, [TIMESTEPS] * BATCH)
        scores[kind] = layer.score(query, layer.keys(memory)).numpy()
    additive, general = layers["bahdanau"], layers["luong"]
    inner = q @ additive.of_query.kernel.numpy() + m @ additive.of_memory.kernel.numpy()
    expected = {
        "bahdanau": np.tanh(inner) @ additive.vector.numpy(),  # its bias is zero at first
        "luong": (q * (m @ general.of_memory.kernel.numpy())).sum(axis=-1) / UNITS**0.5,
        "dot": (q * m).sum(axis=-1) / UNITS**0.5,
    }
    for kind, values in expected.items():
        np.testing.assert_allclose(scores[kind], values, atol=1e-5)


@pytest.mark.parametrize("kind", ["general", "dot"])
@pytest.mark.parametrize("units", [16, 256])
def test_wide_layers_do_not_begin_with_their_minds_made_up(kind: str, units: int) -> None:
    """Scores of one size for any width: weights near zero and one would have no gradient."""
    keras.utils.set_random_seed(0)
    layer = LuongAttention(units, kind)
    query, memory = (keras.random.normal((50, 20, units)) for _ in range(2))
    layer.build(query.shape, memory.shape, memory.shape, (50,))
    scores = layer.score(query, layer.keys(memory)).numpy()
    assert 0.8 < scores.std() < 1.2


def test_bad_settings_are_named() -> None:
    """A score that does not exist, and one that the widths forbid."""
    with pytest.raises(ValueError, match="`kind` must be one of general, dot. Received: kind='x'"):
        LuongAttention(UNITS, "x")
    query, memory = drawn(0, features=UNITS + 1)
    with pytest.raises(ValueError, match="`units` must be 5, the width of the memory"):
        attend(KINDS["dot"](), query, memory, [1] * BATCH)
