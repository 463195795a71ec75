"""Encoder-decoder models, and the two functions by which a trained one is asked."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import KerasTensor

from rnnapp.layers import CELLS, MASK_VALUE, Decoder, PadMarker
from rnnapp.specs import TranslationSpec

Tensors = dict[str, tf.Tensor]
NEXT = "next_"


def encoder_decoder(
    spec: TranslationSpec,
    source_vocabulary_size: int,
    target_vocabulary_size: int,
    *,
    name: str = "encoder_decoder",
) -> keras.Model:
    """A model from a source and the target so far to what follows in the target.

    Args:
        spec: The model.
        source_vocabulary_size: Tokens of the source language, padding (0) included.
        target_vocabulary_size: Tokens of the target language, likewise.
        name: The model's name.

    Returns:
        A functional model with the inputs `source_ids`, int32 (batch, source timesteps),
        `source_lengths`, int32 (batch,), and `target_ids`, int32 (batch, target timesteps), which
        begin with the begin token; and the output logits, float32 (batch, target timesteps,
        target_vocabulary_size).
    """
    source_ids = keras.Input((None,), dtype="int32", name="source_ids")
    source_lengths = keras.Input((), dtype="int32", name="source_lengths")
    target_ids = keras.Input((None,), dtype="int32", name="target_ids")
    # Encoder
    x = keras.layers.Embedding(
        source_vocabulary_size,
        spec.embedding_dim,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=spec.embedding_dim**-0.5),
        name="source_embedding",
    )(source_ids)
    # As the decoder's: small weights, which Adam's even steps move far; features of unit variance.
    x = keras.layers.Rescaling(spec.embedding_dim**0.5, name="unit_variance")(x)
    memory, states = _encoder(spec, x, source_lengths)
    # Decoder
    decoder = Decoder(
        target_vocabulary_size,
        spec.embedding_dim,
        spec.cell,
        spec.units,
        spec.num_layers,
        spec.attention,
        spec.luong_score,
        spec.tied,
        spec.dropout,
        spec.sampling_probability,
        spec.sampling_steps,
        name="decoder",
    )
    logits = decoder(target_ids, memory, source_lengths, states)
    return keras.Model([source_ids, source_lengths, target_ids], logits, name=name)


def _encoder(
    spec: TranslationSpec, x: KerasTensor, lengths: KerasTensor
) -> tuple[KerasTensor, list[KerasTensor]]:
    """Outputs (batch, timesteps, units), and each layer's final states, (batch, units) each."""
    masking = keras.layers.Masking(MASK_VALUE, name="masking")
    marked = PadMarker(name="pad_marker")(x, lengths)
    x, mask = masking(marked), masking.compute_mask(marked)
    states = []
    for number in range(1, spec.num_layers + 1):
        x = keras.layers.Dropout(spec.dropout, name=f"dropout_{number}")(x)
        half = CELLS[spec.cell](
            spec.units // 2,
            return_sequences=True,
            return_state=True,
            name=f"{spec.cell}_{number}",
        )
        layer = keras.layers.Bidirectional(half, name=f"encoder_{number}")
        x, *halves = layer(x, mask=mask)
        count = len(halves) // 2
        states += [
            keras.layers.Concatenate(name=f"state_{number}_{i}")([halves[i], halves[count + i]])
            for i in range(count)
        ]
    return keras.layers.Dropout(spec.dropout, name="memory")(x), states


class EncodeStep(tf.Module):
    """A trained encoder-decoder as the two functions that a search needs, of named tensors.

    What `encode` gives goes into `step`, each tensor under its own name. Those that `step` gives
    again, as `next_NAME`, are states, and take the place of NAME in the step that follows; the
    others stay. Both are functions of their arguments alone, and no token but the last is asked
    for, so a search may go on from any of them.

    Args:
        model: What `encoder_decoder` built.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.decoder: Decoder = model.get_layer("decoder")
        _, memory, lengths, *states = keras.tree.flatten(self.decoder.input)
        self._encoder = keras.Model(model.inputs[:2], [memory, *states])
        self.weights = [weight.value for weight in model.weights]  # tf.Module tracks these
        self._functions = {
            name: tf.function(getattr(self, name), autograph=False, reduce_retracing=True)
            for name in ("encode", "step")
        }

    def encode(self, source_ids: tf.Tensor, source_lengths: tf.Tensor) -> Tensors:
        """Reads sources.

        Args:
            source_ids: Int32 (batch, source timesteps), padded on the right by anything.
            source_lengths: True lengths, one at least, int32 (batch,).

        Returns:
            `memory` (batch, source timesteps, features), `keys` (batch, source timesteps, units)
            and `memory_lengths` (batch,), or `context` (batch, units) of a model without
            attention; and the decoder's initial states `state_0`, `state_1`, ..., (batch, units).
        """
        memory, *states = self._encoder([source_ids, source_lengths], training=False)
        named = {f"state_{number}": state for number, state in enumerate(states)}
        return {**self.decoder.remember(memory, source_lengths, states), **named}

    def step(self, token_ids: tf.Tensor, **remembered: tf.Tensor) -> Tensors:
        """Goes on by a token.

        Args:
            token_ids: What was said last, int32 (batch,); at first the begin token.
            **remembered: What `encode` gave, with the states of the step before.

        Returns:
            `logits` (batch, vocabulary_size) of the next token; the new states, `next_state_0`,
            ...; and of a model with attention `attention` (batch, source timesteps).
        """
        names = [name for name in remembered if name.startswith("state_")]
        states = [remembered[name] for name in sorted(names, key=lambda n: int(n[6:]))]
        logits, weights, changed = self.decoder.step(token_ids, remembered, states)
        attention = {} if weights is None else {"attention": weights}
        following = {f"{NEXT}state_{number}": state for number, state in enumerate(changed)}
        return {"logits": logits, **attention, **following}

    def encode_specs(self, batch: int | None, timesteps: int | None) -> dict[str, tf.TensorSpec]:
        """The specifications of what `encode` takes, by name; None for any size."""
        return {
            "source_ids": tf.TensorSpec((batch, timesteps), tf.int32, "source_ids"),
            "source_lengths": tf.TensorSpec((batch,), tf.int32, "source_lengths"),
        }

    def step_specs(self, batch: int | None, timesteps: int | None) -> dict[str, tf.TensorSpec]:
        """The specifications of what `step` takes, by name; None for any size."""
        encode = tf.function(self.encode, autograph=False)
        made = encode.get_concrete_function(**self.encode_specs(batch, timesteps))
        token_ids = tf.TensorSpec((batch,), tf.int32, "token_ids")
        remembered = made.structured_outputs.items()
        return {
            "token_ids": token_ids,
            **{name: tf.TensorSpec(x.shape, x.dtype, name) for name, x in remembered},
        }

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs "encode" or "step" on arrays, as runtimes of exported files do."""
        tensors: dict[str, Any] = {name: tf.constant(value) for name, value in inputs.items()}
        outputs = self._functions[signature](**tensors)
        return {name: value.numpy() for name, value in outputs.items()}
