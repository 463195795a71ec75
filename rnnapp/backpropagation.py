"""Truncated back-propagation through time, over windows that continue each other."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from rnnapp.averaging import TriggeredAverage
from rnnapp.language import backward_model, head_of
from rnnapp.layers.carrying import CarryingModel
from rnnapp.layers.streaming import States
from rnnapp.specs import LanguageSpec, TrainSpec, require
from rnnapp.token_losses import mean_over_tokens, sampled_crossentropy

Batch = tuple[dict[str, tf.Tensor], tf.Tensor]


class TruncatedBackpropagation(keras.Model):
    """A language model in training: row i of each batch continues row i of the one before.

    States are variables, zeros where a pass begins and then what the last window left. What only
    training knows is here as well, so that the model itself stays plain: dropped recurrent weights,
    activation regularisation, softmaxes that look at some of the vocabulary, averaged weights. The
    figure `loss` is of tokens alone, in nats; of a pass without training it is the exact mean over
    all tokens, each predicted once, from those before it in its row.

    Of a bidirectional language model, each window is read from its end as well. That stack begins
    each window with zeros, since what follows a window is read after it; its own loss joins the
    training's, and no figure.

    Args:
        model: What `language_model` built of `spec`; its weights are the ones that are trained.
        spec: The model's settings.
        train: The training's.

    Raises:
        ValueError: If the training smooths labels, which no likelihood gains by; or if it averages
            the weights of a bidirectional model.
    """

    def __init__(self, model: keras.Model, spec: LanguageSpec, train: TrainSpec) -> None:
        super().__init__(name=f"{model.name}_training")
        smoothing = train.label_smoothing
        require(not smoothing, "label_smoothing", "0 for a language model", smoothing)
        asgd = train.optimizer == "asgd"
        must = "adamw for a bidirectional language model"
        require(not (spec.bidirectional and asgd), "optimizer", must, train.optimizer)
        self.model, self.spec, self.head = model, spec, head_of(model)
        self.backwards = backward_model(spec, model) if spec.bidirectional else None
        self.reader = _features(model)
        self.backward_reader = _features(self.backwards) if self.backwards else None
        initial = self.reader.initial_states(train.batch_size)
        self.states = {
            name: self.add_weight(shape=zeros.shape, trainable=False, name=name)
            for name, zeros in initial.items()
        }
        self.seed_generator = keras.random.SeedGenerator()
        self.average = None
        if asgd:
            self.average = TriggeredAverage(model.trainable_variables, train.averaging_patience)
        self.nats = keras.metrics.Mean(name="loss")
        self.forget()
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Nats a token."""
        return [self.nats]

    @property
    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What `fit` must be given."""
        return [Passes()]

    @property
    def beside(self) -> dict[str, keras.Model]:
        """What a run keeps beside its model, by name: what has learnt to read from the end."""
        return {"backwards": self.backwards} if self.backwards else {}

    def forget(self) -> None:
        """Sets all states to zeros, as a pass begins."""
        for state in self.states.values():
            state.assign(tf.zeros(state.shape))

    def finished(self) -> keras.Model:
        """The plain model, with averaged weights if they are averaged."""
        for weight, mean in self.average.mapping() if self.average else ():
            weight.assign(mean)
        return self.model

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """One window of every row, and one step of the optimizer."""
        inputs, targets = data
        token_ids, states = self._placed(inputs["token_ids"])
        with tf.GradientTape() as tape:
            nats, loss, states = self._learnt(self.reader, token_ids, targets, states)
            if self.backward_reader:
                text = tf.reverse(tf.concat([token_ids, targets[:, -1:]], axis=1), axis=[1])
                zeros = self.backward_reader.initial_states(text.shape[0])
                loss += self._learnt(self.backward_reader, text[:, :-1], text[:, 1:], zeros)[1]
        weights = self.trainable_variables
        gradients = [tf.convert_to_tensor(each) for each in tape.gradient(loss, weights)]
        self.optimizer.apply(gradients, weights)
        if self.average:
            self.average.update()
        self._carry(states)
        return self._measured(nats, targets)

    def test_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """One window of every row, by averaged weights if they are averaged."""
        inputs, targets = data
        with keras.StatelessScope(self.average.mapping() if self.average else ()):
            token_ids, states = self._placed(inputs["token_ids"])
            (_, features), states = self.reader(token_ids, states)
            nats = crossentropy(self.head(features), targets)
        self._carry(states)
        return self._measured(mean_over_tokens(nats, targets), targets)

    def _placed(self, token_ids: tf.Tensor) -> tuple[tf.Tensor, States]:
        """A window with its number of rows, and the states that the window before it left."""
        rows = next(iter(self.states.values())).shape[0]
        states = {name: state.value for name, state in self.states.items()}
        return tf.ensure_shape(token_ids, (rows, None)), states

    def _learnt(
        self, reader: CarryingModel, token_ids: tf.Tensor, targets: tf.Tensor, states: States
    ) -> tuple[tf.Tensor, tf.Tensor, States]:
        """Nats a token of a window, its whole loss, and the states behind it."""
        kernels = {}
        if self.spec.weight_drop:
            for layer in reader.model.layers:
                if isinstance(layer, keras.layers.RNN):
                    kernels[layer.name] = self._dropped(layer.cell.recurrent_kernel)
        (raw, dropped), states = reader(token_ids, states, True, kernels)
        nats = mean_over_tokens(self._training_nats(dropped, targets), targets)
        return nats, nats + self._activation_penalty(raw, dropped), states

    def _dropped(self, kernel: keras.Variable) -> tf.Tensor:
        """A kernel without the weights that this batch does without (DropConnect)."""
        # Keras' own dropout leaves the generator to XLA, whose choice takes a CPU longer than all
        # the rest of a step does.
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        draws = tf.random.stateless_uniform(kernel.shape, seed, alg="philox")
        kept = 1.0 - self.spec.weight_drop
        return tf.where(draws < kept, kernel / kept, 0.0)

    def _carry(self, states: States) -> None:
        for name, state in self.states.items():
            state.assign(states[name])

    def _training_nats(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """The loss of each token, (batch, timesteps), as the spec's softmax has it in training."""
        if self.spec.softmax == "full":
            return crossentropy(self.head(features), targets)
        flat, token_ids = tf.reshape(features, (-1, features.shape[-1])), tf.reshape(targets, [-1])
        if self.spec.softmax == "adaptive":
            nats = self.head.nats(flat, token_ids)
        else:
            nats = sampled_crossentropy(
                flat,
                token_ids,
                self._vectors,
                self.head.bias.shape[0],
                self.spec.num_sampled,
                self.seed_generator,
            )
        return tf.reshape(nats, tf.shape(targets))

    def _vectors(self, token_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The softmax's vectors and biases of some tokens."""
        bias = tf.gather(tf.convert_to_tensor(self.head.bias), token_ids)
        if self.spec.tied:
            return tf.gather(tf.convert_to_tensor(self.head.embeddings), token_ids), bias
        kernel = tf.convert_to_tensor(self.head.kernel)  # (features, vocabulary)
        return tf.gather(tf.transpose(kernel), token_ids), bias

    def _activation_penalty(self, raw: tf.Tensor, dropped: tf.Tensor) -> tf.Tensor:
        """AR of the outputs after dropout, and TAR of those before."""
        spec, penalty = self.spec, tf.zeros(())
        if spec.activation_regularization:
            penalty += spec.activation_regularization * tf.reduce_mean(dropped**2)
        if spec.temporal_regularization:
            change = raw[:, 1:] - raw[:, :-1]
            penalty += spec.temporal_regularization * tf.reduce_mean(change**2)
        return penalty

    def _measured(self, nats: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        self.nats.update_state(nats, tf.math.count_nonzero(targets, dtype=tf.float32))
        return {"loss": self.nats.result()}


def _features(model: keras.Model) -> CarryingModel:
    """What the last recurrent layer gives, before and after dropout."""
    after = model.get_layer("output_dropout")
    return CarryingModel(keras.Model(model.inputs, [after.input, after.output]))


class Passes(keras.callbacks.Callback):
    """Tells the model where passes over the data begin and end."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """A training pass begins."""
        self.model.forget()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """A validation pass begins."""
        self.model.forget()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Both have come to their end."""
        if self.model.average:
            self.model.average.note(float((logs or {})["val_loss"]))


def log_probabilities(
    model: keras.Model, dataset: tf.data.Dataset
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What a language model says to the windows of a dataset, its states carried between them.

    Args:
        model: What `language_model` built.
        dataset: Batches of as many rows each, as `CorpusPipeline.dataset` makes them.

    Yields:
        The targets of each batch, int32 (batch, timesteps), and their log-probabilities, float32.
    """
    reader, states = CarryingModel(model), None

    @tf.function(autograph=False, reduce_retracing=True)
    def read(token_ids: tf.Tensor, targets: tf.Tensor, states: States) -> tuple:
        logits, states = reader(token_ids, states)
        return -crossentropy(logits, targets), states

    for inputs, targets in dataset:
        states = reader.initial_states(len(targets)) if states is None else states
        said, states = read(inputs["token_ids"], targets, states)
        yield targets.numpy(), said.numpy()


def crossentropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Nats of each token: logits (..., vocabulary) and int32 (...) give (...)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
