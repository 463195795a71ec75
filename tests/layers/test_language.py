"""Softmaxes over large vocabularies are softmaxes, and tied vectors are one and the same."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp.layers import AdaptiveLogits, TiedEmbedding

FEATURES, VOCABULARY, TOKENS = 12, 20, 50
SUMS = {"rtol": 0, "atol": 1e-5}  # of float32 logarithms


def adaptive(cutoffs: tuple[int, ...]) -> tuple[AdaptiveLogits, tf.Tensor]:
    """A layer with drawn weights, and features for it."""
    layer = AdaptiveLogits(VOCABULARY, cutoffs, divisor=2)
    features = tf.random.stateless_normal((TOKENS, FEATURES), (0, 1))
    layer(features)
    draw = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(draw.uniform(-1, 1, weight.shape))
    return layer, features


@pytest.mark.parametrize("cutoffs", [(4,), (4, 9), (1, 2, 19), (20,), (5, 50)])
def test_adaptive_probabilities_sum_to_one(cutoffs: tuple[int, ...]) -> None:
    """Clusters share out the whole, wherever they begin; those beyond the vocabulary are none."""
    layer, features = adaptive(cutoffs)
    logs = layer(features)
    assert logs.shape == (TOKENS, VOCABULARY) == layer.compute_output_shape(features.shape)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(logs), axis=-1), np.ones(TOKENS), **SUMS)


def test_adaptive_probabilities_are_products() -> None:
    """By the definition, token by token, in plain NumPy."""
    layer, features = adaptive((4, 9))
    head = np.exp(tf.nn.log_softmax(layer.head(features)))
    for token in range(VOCABULARY):
        expected = head[:, token] if token < 4 else None
        for number, (low, high) in enumerate([(4, 9), (9, 20)]):
            if low <= token < high:
                fewer = features @ layer.projections[number].kernel
                scores = np.exp(fewer @ layer.tails[number].kernel)
                inside = scores[:, token - low] / scores.sum(axis=1)
                expected = head[:, 4 + number] * inside
        np.testing.assert_allclose(np.exp(layer(features)[:, token]), expected, **SUMS)


@pytest.mark.parametrize("cutoffs", [(4,), (4, 9), (20,)])
def test_training_sees_the_same_probabilities(cutoffs: tuple[int, ...]) -> None:
    """What training makes smaller is what evaluation measures, and so are its gradients."""
    layer, features = adaptive(cutoffs)
    token_ids = tf.constant(np.random.default_rng(1).integers(0, VOCABULARY, TOKENS), tf.int32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        nats = layer.nats(features, token_ids)
        whole = -tf.gather(layer(features), token_ids, batch_dims=1)
    np.testing.assert_allclose(nats, whole, **SUMS)
    sources = [features, *(weight.value for weight in layer.weights)]
    for ours, theirs in zip(
        tape.gradient(nats, sources), tape.gradient(whole, sources), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)  # sums over 50 tokens


def test_tied_vectors_are_one_weight(tmp_path: Path) -> None:
    """Read and predicted by the same vectors, before saving and after."""
    token_ids = keras.Input((None,), dtype="int32")
    tied = TiedEmbedding(VOCABULARY, FEATURES)
    model = keras.Model(token_ids, tied(tied(token_ids)))
    assert model.count_params() == VOCABULARY * (FEATURES + 1)
    model.save(tmp_path / "model.keras")
    for each in (model, keras.models.load_model(tmp_path / "model.keras")):
        (vectors, bias) = each.weights
        bias.assign(np.arange(VOCABULARY, dtype=np.float32))
        vectors.assign(np.random.default_rng(0).normal(size=vectors.shape))
        asked = np.array([[3, 5]])
        expected = vectors.numpy()[asked] @ vectors.numpy().T + bias.numpy()
        np.testing.assert_allclose(each(asked), expected, **SUMS)
