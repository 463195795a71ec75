"""The decoder of an encoder-decoder: a whole target at once in training, a token a step after."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from rnnapp import specs
from rnnapp.layers import recurrence
from rnnapp.layers.attention import Attention, BahdanauAttention, LuongAttention

Tensors = dict[str, tf.Tensor]
Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("rnnapp")
class Decoder(keras.layers.Layer):
    """Says a target token by token, given what an encoder made of the source.

    With "bahdanau" the first layer's last state asks the memory, and the answer goes into that
    layer. With "luong" the top layer's output asks; the layers themselves then see the target
    alone, so that they run over all of it before any attention is computed, and attention over all
    steps is two products. With "none" the top layer's initial state, the encoder's summary, goes
    into the first layer at each step (Cho et al. 2014, arXiv:1406.1078). In each case logits are
    made of the top layer's output and the context.

    In training, tokens that the decoder is fed may be replaced by its own (scheduled sampling,
    Bengio et al. 2015, arXiv:1506.03099), by a first pass over the true target, in which all steps
    are still computed at once (Mihaylova and Martins 2019, arXiv:1906.07651).

    Args:
        vocabulary_size: Tokens, padding (0) included.
        embedding_dim: Size of the tokens' vectors, and of the layer under the logits.
        cell: One of `specs.CELLS`.
        units: Width of each recurrent layer.
        num_layers: Recurrent layers.
        attention: "bahdanau", "luong" or "none".
        luong_score: "general" or "dot"; see `LuongAttention`.
        tied: Use the tokens' vectors as the weights of the logits (Press and Wolf 2017,
            arXiv:1608.05859).
        dropout: Share of vectors, of outputs and of what logits are made of, dropped in training.
        sampling_probability: Share of tokens replaced by the decoder's own, in the end.
        sampling_steps: Training steps in which that share rises from zero.
        seed: Of dropout and sampling.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        cell: str,
        units: int,
        num_layers: int = 1,
        attention: str = "luong",
        luong_score: str = "general",
        tied: bool = True,
        dropout: float = 0.0,
        sampling_probability: float = 0.0,
        sampling_steps: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # lengths come as an argument; no mask is needed
        self.settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "embedding_dim": embedding_dim,
            "cell": cell,
            "units": units,
            "num_layers": num_layers,
            "attention": attention,
            "luong_score": luong_score,
            "tied": tied,
            "dropout": dropout,
            "sampling_probability": sampling_probability,
            "sampling_steps": sampling_steps,
            "seed": seed,
        }
        # Small enough for logits, where they are tied; on the way in they are scaled up again.
        drawn = keras.initializers.RandomNormal(stddev=embedding_dim**-0.5, seed=seed)
        self.embedding = keras.layers.Embedding(
            vocabulary_size, embedding_dim, embeddings_initializer=drawn, name="embedding"
        )
        kind = pkgutil.resolve_name(specs.CELLS[cell])
        self.rnns = [
            kind(units, return_sequences=True, name=f"{cell}_{number}")
            for number in range(1, num_layers + 1)
        ]
        self.attention = _attention(attention, luong_score, units)
        self.readout = keras.layers.Dense(embedding_dim, "tanh", name="readout")
        self.dropout = keras.layers.Dropout(dropout, seed=seed)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(
        self,
        target_ids_shape: Shape,
        memory_shape: Shape,
        lengths_shape: Shape,
        states_shape: Sequence[Shape],
    ) -> None:
        """Makes the weights, for a memory (batch, timesteps, features)."""
        s = self.settings
        units, dim, size = s["units"], s["embedding_dim"], s["vocabulary_size"]
        context = memory_shape[-1] if self.attention else units
        assert context is not None
        before = 0 if s["attention"] == "luong" else context  # of what goes into the first layer
        self.embedding.build(target_ids_shape)
        for number, rnn in enumerate(self.rnns):
            rnn.build((None, None, units if number else dim + before))
        if self.attention:
            queries, keys = (None, None, units), (None, None, units)
            self.attention.build(queries, keys, memory_shape, lengths_shape)
        self.readout.build((None, None, units + context))
        if not s["tied"]:
            self.kernel = self.add_weight(shape=(size, dim), name="kernel")
        self.bias = self.add_weight(shape=(size,), initializer="zeros", name="bias")
        self.trained_steps = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="trained_steps"
        )
        self.built = True

    def call(
        self,
        target_ids: tf.Tensor,
        memory: tf.Tensor,
        lengths: tf.Tensor,
        states: Sequence[tf.Tensor],
        training: bool = False,
    ) -> tf.Tensor:
        """Maps the target, as it is fed, to the logits of what follows each of its tokens.

        Args:
            target_ids: Int32 (batch, target timesteps), the begin token first.
            memory: The encoder's outputs, (batch, source timesteps, features).
            lengths: True lengths of the sources, int32 (batch,).
            states: Initial states, layer by layer, (batch, units) each.
            training: Drop out, and sample.

        Returns:
            Logits, float32 (batch, target timesteps, vocabulary_size). Nothing is masked in them:
            no step sees those after it, so padding on the right changes none before it.
        """
        remembered = self.remember(memory, lengths, states)
        if training and self.settings["sampling_probability"]:
            target_ids = self._sampled(target_ids, remembered, states)
        return self._logits(self._outputs(target_ids, remembered, states, training), training)

    def remember(
        self, memory: tf.Tensor, lengths: tf.Tensor, states: Sequence[tf.Tensor]
    ) -> Tensors:
        """What each step needs of the source, and no step changes.

        Returns:
            `memory`, `keys` and `memory_lengths`; or without attention `context`, (batch, units).
        """
        # Tensors of their own: where one is an input or another output as well, converters merge
        # them, and LiteRT's CompiledModel, 2.3, returns what happens to be in memory, or nothing.
        if self.attention is None:
            heard = tf.cast(lengths > 0, memory.dtype)[:, None]  # a factor that is not folded away
            return {"context": states[-len(states) // len(self.rnns)] * heard}
        own = tf.minimum(lengths, tf.shape(memory)[1])
        return {"memory": memory, "keys": self.attention.keys(memory), "memory_lengths": own}

    def step(
        self, token_ids: tf.Tensor, remembered: Tensors, states: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor | None, list[tf.Tensor]]:
        """One step, as outside training.

        Args:
            token_ids: The tokens that were said last, int32 (batch,).
            remembered: As `remember` gave it.
            states: As the step before gave them, layer by layer, (batch, units) each.

        Returns:
            Logits, (batch, vocabulary_size); the weights of attention, (batch, source timesteps),
            or None; and the new states.
        """
        x = self._embedded(token_ids[:, None])  # (batch, 1, dim)
        early = self.settings["attention"] != "luong"
        if early:
            context, weights = self._context(states[0][:, None], remembered)
            x = tf.concat([x, context], axis=-1)
        changed: list[tf.Tensor] = []
        for rnn, own in zip(self.rnns, self._by_layer(states), strict=True):
            named = {str(number): state for number, state in enumerate(own)}
            x, new = recurrence.step(rnn, x, named)
            changed += new.values()
        if not early:
            context, weights = self._context(x, remembered)
        logits = self._logits(tf.concat([x, context], axis=-1)[:, 0])
        return logits, None if weights is None else weights[:, 0], changed

    def _outputs(
        self, target_ids: tf.Tensor, remembered: Tensors, states: Any, training: bool
    ) -> tf.Tensor:
        """The top layer's outputs beside the contexts, (batch, timesteps, units + features)."""
        x = self.dropout(self._embedded(target_ids), training=training)
        by_layer = [*zip(self.rnns, self._by_layer(states), strict=True)]
        kind = self.settings["attention"]
        if kind == "bahdanau":
            x, context = self._looped(x, remembered, by_layer.pop(0)[1])
            x = self.dropout(x, training=training)
        elif kind == "none":
            one, _ = self._context(x, remembered)
            context = tf.repeat(one, tf.shape(x)[1], axis=1)  # (batch, timesteps, units)
            x = tf.concat([x, context], axis=-1)
        for rnn, initial in by_layer:
            x = rnn(x, initial_state=initial, training=training)
            x = self.dropout(x, training=training)
        if kind == "luong":
            context, _ = self._context(x, remembered)
        return tf.concat([x, context], axis=-1)

    def _embedded(self, token_ids: tf.Tensor) -> tf.Tensor:
        """The tokens' vectors, (batch, timesteps, dim), with features of unit variance at first."""
        # Keras' own call first turns negative indices round, which few runtimes can.
        return (
            tf.gather(self.embedding.embeddings, token_ids) * self.settings["embedding_dim"] ** 0.5
        )

    def _looped(
        self, x: tf.Tensor, remembered: Tensors, initial: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The first layer step by step, for what it hears depends on its own state."""
        cell = self.rnns[0].cell

        def advance(carried: list[tf.Tensor], x: tf.Tensor) -> list[tf.Tensor]:
            _, _, *states = carried
            context, _ = self._context(states[0][:, None], remembered)
            heard = tf.concat([x, context[:, 0]], axis=-1)  # (batch, dim + features)
            output, states = cell(heard, states if len(states) > 1 else states[0])
            return [output, context[:, 0], *keras.tree.flatten(states)]

        none = tf.zeros_like(remembered["memory"][:, 0])
        begun = [tf.zeros_like(initial[0]), none, *initial]
        outputs, contexts, *_ = tf.scan(advance, tf.transpose(x, [1, 0, 2]), begun)
        return tf.transpose(outputs, [1, 0, 2]), tf.transpose(contexts, [1, 0, 2])

    def _context(self, query: tf.Tensor, remembered: Tensors) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The context of each query, (batch, queries or 1, features), and its weights."""
        if self.attention is None:
            return remembered["context"][:, None], None
        return self.attention(
            query, remembered["keys"], remembered["memory"], remembered["memory_lengths"]
        )

    def _logits(self, outputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(..., units + features) -> (..., vocabulary_size), as one product over all timesteps."""
        x = self.dropout(self.readout(outputs), training=training)
        kernel = self.embedding.embeddings if self.settings["tied"] else self.kernel
        flat = tf.reshape(x, (-1, x.shape[-1]))
        logits = tf.matmul(flat, kernel, transpose_b=True) + self.bias
        if len(x.shape) == 2:
            return logits
        return tf.reshape(logits, (-1, tf.shape(x)[1], logits.shape[-1]))

    def _sampled(self, target_ids: tf.Tensor, remembered: Tensors, states: Any) -> tf.Tensor:
        """The target with some tokens replaced by what the decoder takes for most probable."""
        s = self.settings
        risen = tf.cast(self.trained_steps / s["sampling_steps"], tf.float32)
        share = s["sampling_probability"] * tf.minimum(risen, 1.0)
        self.trained_steps.assign_add(1)
        true = target_ids[:, 1:]
        drawn = keras.random.uniform(tf.shape(true), seed=self.seed_generator) < share

        def mixed() -> tf.Tensor:
            outputs = self._outputs(target_ids[:, :-1], remembered, states, training=False)
            said = tf.argmax(self._logits(outputs), axis=-1, output_type=tf.int32)
            said = tf.where(drawn & (true != 0), said, true)
            return tf.concat([target_ids[:, :1], said], axis=1)

        return tf.cond(tf.reduce_any(drawn), mixed, lambda: target_ids)

    def _by_layer(self, states: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
        """The states of each layer."""
        count = len(states) // len(self.rnns)
        return [list(states[i : i + count]) for i in range(0, len(states), count)]

    def compute_mask(self, *arguments: Any, **masks: Any) -> None:
        """None: a loss tells padding by the targets."""

    def compute_output_shape(
        self,
        target_ids_shape: Shape,
        memory_shape: Shape,
        lengths_shape: Shape,
        states_shape: Sequence[Shape],
    ) -> Shape:
        """(batch, target timesteps, vocabulary_size)."""
        return *target_ids_shape, self.settings["vocabulary_size"]

    def get_config(self) -> dict[str, Any]:
        """The layer's arguments."""
        return {**super().get_config(), **self.settings}


def _attention(name: str, luong_score: str, units: int) -> Attention | None:
    """The attention of that name; None for "none"."""
    makers = {
        "bahdanau": lambda: BahdanauAttention(units, name="attention"),
        "luong": lambda: LuongAttention(units, luong_score, name="attention"),
        "none": lambda: None,
    }
    if name not in makers:
        valid = ", ".join(makers)
        raise ValueError(f"`attention` must be one of {valid}. Received: attention={name!r}")
    return makers[name]()
