"""Language models: from tokens to what may come next, at every timestep."""

from __future__ import annotations

import keras
from keras import KerasTensor

from rnnapp.layers import CELLS, MASK_VALUE, AdaptiveLogits, PadMarker, TiedEmbedding
from rnnapp.specs import LanguageSpec


def language_model(
    spec: LanguageSpec, vocabulary_size: int, *, name: str = "language_model"
) -> keras.Model:
    """A causal model from tokens to logits of the token that follows each.

    Args:
        spec: The model.
        vocabulary_size: Tokens, padding included; the most frequent first, where
            `spec.softmax` is not "full".
        name: The model's name.

    Returns:
        A functional model with inputs `token_ids`, int32 (batch, timesteps), and `lengths`, int32
        (batch,), the true length of each; and with output `logits`, float32 (batch, timesteps,
        vocabulary_size). What it says past a true length means nothing.
    """
    dim = spec.embedding.dim
    if spec.tied:
        embedding = TiedEmbedding(vocabulary_size, dim, name="embedding")
    else:
        embedding = keras.layers.Embedding(vocabulary_size, dim, name="embedding")
    if spec.softmax == "adaptive":
        head = AdaptiveLogits(vocabulary_size, spec.cutoffs, name="logits")
    else:
        head = embedding if spec.tied else keras.layers.Dense(vocabulary_size, name="logits")
    return _assembled(spec, embedding, head, name)


def backward_model(spec: LanguageSpec, model: keras.Model) -> keras.Model:
    """A model of text that is read from its end, with another's embedding and softmax.

    The two together are the bidirectional language model of Peters et al. 2018 (arXiv:1802.05365).

    Args:
        spec: The settings of both.
        model: What `language_model` built of them.

    Returns:
        A model of the same form with a recurrent stack of its own.
    """
    return _assembled(spec, model.get_layer("embedding"), head_of(model), f"{model.name}_backwards")


def head_of(model: keras.Model) -> keras.Layer:
    """The layer that gives a language model's logits; with `tied`, its embedding."""
    return model.output._keras_history.operation


def _assembled(
    spec: LanguageSpec, embedding: keras.Layer, head: keras.Layer, name: str
) -> keras.Model:
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    lengths = keras.Input((), dtype="int32", name="lengths")
    # Embedding
    x = embedding(token_ids)
    if spec.embedding.token_dropout:
        # One draw for all features of a timestep.
        x = keras.layers.Dropout(
            spec.embedding.token_dropout, noise_shape=(None, None, 1), name="token_dropout"
        )(x)
    x = keras.layers.SpatialDropout1D(spec.embedding.dropout, name="embedding_dropout")(x)
    # Recurrent stack
    x = _recurrent_stack(spec, x, lengths)
    x = keras.layers.SpatialDropout1D(spec.output_dropout, name="output_dropout")(x)
    # Head
    return keras.Model([token_ids, lengths], head(x), name=name)


def _recurrent_stack(spec: LanguageSpec, x: KerasTensor, lengths: KerasTensor) -> KerasTensor:
    """Recurrent layers with locked dropout between them, and the projection of the last one's."""
    masking = keras.layers.Masking(MASK_VALUE, name="masking")
    marked = PadMarker(name="pad_marker")(x, lengths)
    x, mask = masking(marked), masking.compute_mask(marked)
    for number in range(1, spec.num_layers + 1):
        if number > 1:
            x = keras.layers.SpatialDropout1D(spec.dropout, name=f"dropout_{number}")(x)
        units = spec.last_units if number == spec.num_layers else spec.units
        layer = CELLS[spec.cell](units, return_sequences=True, name=f"{spec.cell}_{number}")
        x = layer(x, mask=mask)
    if spec.projection:
        x = keras.layers.Dense(spec.embedding.dim, name="projection")(x)
    return x
