"""Training reads windows that continue each other, and knows what it drops and adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.text.corpus import CorpusPipeline, CorpusSpec
from rnnapp import token_losses
from rnnapp.backpropagation import TruncatedBackpropagation, log_probabilities
from rnnapp.language import language_model
from rnnapp.layers import CELLS
from rnnapp.layers.carrying import CarryingModel
from rnnapp.specs import EmbeddingSpec, LanguageSpec, TrainSpec

from .layers.conftest import shuffled
from .pipelines.conftest import lines

PLAY = "".join(f"Speaker {n}: what is {n * n}?\n" for n in range(50))
ROWS = 4
PLAIN: dict[str, Any] = {"units": 6, "dropout": 0.0, "output_dropout": 0.0}
SUMS = {"rtol": 0, "atol": 1e-5}  # of float32


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 50 lines."""
    return lines(tmp_path_factory.mktemp("text") / "play.txt", PLAY.encode())


def read(play: Path, sequence_length: int = 8) -> CorpusPipeline:
    """The text in windows."""
    spec = CorpusSpec(sequence_length=sequence_length, validation_percent=20)
    return CorpusPipeline(spec).fit(str(play))


def trained(pipeline: CorpusPipeline, train: dict | None = None, **fields: Any) -> Any:
    """A training whose model has drawn weights."""
    spec = LanguageSpec(**{**PLAIN, "embedding": EmbeddingSpec(5), **fields})
    model = shuffled(language_model(spec, len(pipeline.vocabulary)))
    made = TruncatedBackpropagation(
        model, spec, TrainSpec(batch_size=ROWS, label_smoothing=0.0, **(train or {}))
    )
    made.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    return made


def whole_text(trainer: Any, dataset: tf.data.Dataset) -> tuple[float, np.ndarray]:
    """The mean loss over rows read as wholes, and the states at their ends by Keras."""
    batches = [(x["token_ids"], y) for x, y in dataset.as_numpy_iterator()]
    token_ids, targets = (np.hstack(each) for each in zip(*batches, strict=True))
    lengths = (targets != 0).sum(axis=1).astype(np.int32)
    logits = trainer.model([token_ids, lengths])
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    return float(tf.reduce_sum(nats * (targets != 0)) / lengths.sum()), lengths


@pytest.mark.parametrize("cell", CELLS)
def test_a_pass_is_the_whole_text(play: Path, cell: str) -> None:
    """In training and in validation: carried from batch to batch, forgotten where a pass begins."""
    pipeline = read(play)
    trainer = trained(pipeline, cell=cell)
    training = pipeline.dataset("train", ROWS, training=True)
    validation = pipeline.dataset("validation", ROWS)
    history = trainer.fit(
        training.repeat(),
        steps_per_epoch=pipeline.num_batches("train", ROWS),
        validation_data=validation,
        epochs=2,  # at a learning rate of zero
        callbacks=trainer.callbacks,
        verbose=0,
        shuffle=False,
    ).history
    for name, dataset in (("loss", training), ("val_loss", validation)):
        expected, _ = whole_text(trainer, dataset)
        np.testing.assert_allclose(history[name], [expected, expected], **SUMS)


def test_perplexity_is_of_the_text_not_of_its_windows(play: Path) -> None:
    """Each token counts once, after all those before it, however long the windows are."""
    model = trained(read(play)).finished()
    said = {}
    for length in (8, 7, 1000):
        batches = log_probabilities(model, read(play, length).dataset("validation", 1))
        said[length] = np.concatenate([logs[targets != 0] for targets, logs in batches])
        assert len(said[length]) == read(play).splits["validation"]
        np.testing.assert_allclose(said[length], said[8], **SUMS)


def test_gradients_stop_at_a_windows_border(play: Path) -> None:
    """Truncated: the step's gradient is that of its window, from states that are given."""
    pipeline = read(play)
    trainer = trained(pipeline)
    batches = [*pipeline.dataset("train", ROWS, training=True).take(2)]
    trainer.train_step(batches[0])
    states = {name: tf.identity(state.value) for name, state in trainer.states.items()}
    assert all(np.any(state) for state in states.values())
    weights = [weight.value for weight in trainer.model.trainable_variables]
    inputs, targets = batches[1]
    with tf.GradientTape() as tape:
        (_, features), _ = trainer.reader(inputs["token_ids"], states)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, trainer.head(features))
        loss = tf.reduce_mean(nats)
    expected = tape.gradient(loss, weights)
    trainer.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
    before = [weight.numpy() for weight in trainer.model.trainable_variables]
    trainer.train_step(batches[1])
    after = [weight.numpy() for weight in trainer.model.trainable_variables]
    for old, new, gradient in zip(before, after, expected, strict=True):
        np.testing.assert_allclose(old - new, tf.convert_to_tensor(gradient), **SUMS)


def test_weights_are_dropped_for_a_batch_in_training_alone(
    play: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share that is said, scaled for what is left, others for each batch; the rest stays."""
    pipeline = read(play)
    trainer = trained(pipeline, weight_drop=0.4, units=32, cell="gru")
    seen: list[dict[str, np.ndarray]] = []
    read_on = CarryingModel.__call__

    def spy(self: Any, ids: Any, states: Any, training: bool = False, kernels: Any = None) -> Any:
        seen.append({name: kernel.numpy() for name, kernel in (kernels or {}).items()})
        return read_on(self, ids, states, training, kernels)

    monkeypatch.setattr(CarryingModel, "__call__", spy)
    batch = next(iter(pipeline.dataset("train", ROWS, training=True)))
    trainer.train_step(batch)
    trainer.train_step(batch)
    trainer.test_step(batch)
    first, second, outside = seen
    assert outside == {} and list(first) == ["gru_1", "gru_2"]
    for name, kernel in first.items():
        own = trainer.model.get_layer(name).cell.recurrent_kernel.numpy()
        kept = kernel != 0
        np.testing.assert_allclose(kernel[kept], own[kept] / 0.6, rtol=1e-6)
        # 3,072 draws: four deviations of a share of 0.4
        assert 1 - kept.mean() == pytest.approx(0.4, abs=4 * (0.4 * 0.6 / own.size) ** 0.5)
        assert (kept != (second[name] != 0)).any()


def test_penalties_join_the_loss_but_not_the_figure(play: Path) -> None:
    """AR is of outputs after dropout, TAR of what they change by before it; nats stay nats."""
    pipeline = read(play)
    batch = next(iter(pipeline.dataset("train", ROWS, training=True)))
    trainer = trained(pipeline, activation_regularization=2.0, temporal_regularization=3.0)
    raw = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 6)), tf.float32)
    penalty = trainer._activation_penalty(raw, 2 * raw)
    expected = 2 * np.mean((2 * raw) ** 2) + 3 * np.mean(np.diff(raw, axis=1) ** 2)
    np.testing.assert_allclose(penalty, expected, rtol=1e-6)
    figure = trainer.train_step(batch)["loss"]
    np.testing.assert_allclose(figure, trained(pipeline).train_step(batch)["loss"], **SUMS)
    trainer.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
    plain = trained(pipeline)
    plain.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
    for each in (trainer, plain):
        each.train_step(batch)
    kernels = [each.model.get_layer("lstm_2").cell.kernel.numpy() for each in (trainer, plain)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize(
    ("softmax", "tied"), [("sampled", False), ("sampled", True), ("adaptive", False)]
)
def test_large_softmaxes_train_what_is_measured(
    play: Path, softmax: str, tied: bool, projection: bool
) -> None:
    """Whatever training looks at, its loss is near the exact one that validation gives."""
    pipeline = read(play)
    batch = next(iter(pipeline.dataset("train", ROWS, training=True)))
    keras.utils.set_random_seed(0)  # of the draws: one in a thousand is more than 0.02 off
    form = {"softmax": softmax, "tied": tied, "projection": projection}
    trainer = trained(pipeline, **form, num_sampled=20_000, cutoffs=(6, 12))
    estimated = float(trainer.train_step(batch)["loss"])
    trainer.forget()
    trainer.nats.reset_state()
    # Twenty thousand draws leave an error of some thousandths; "adaptive" is exact.
    assert estimated == pytest.approx(float(trainer.test_step(batch)["loss"]), abs=0.02)


@pytest.mark.parametrize(
    "ends", [{}, {"tied": True}, {"tied": True, "projection": True}, {"projection": True}], ids=str
)
@pytest.mark.parametrize("cell", CELLS)
def test_each_window_is_read_from_its_end_too(play: Path, cell: str, ends: dict) -> None:
    """By a stack of its own that learns reversed text, with the one embedding and softmax."""
    pipeline = read(play)
    inputs, targets = next(iter(pipeline.dataset("train", ROWS, training=True)))
    trainer = trained(pipeline, cell=cell, bidirectional=True, num_layers=1, **ends)
    shuffled(trainer.backwards)
    plain = trained(pipeline, cell=cell, num_layers=1, **ends)
    plain.model.set_weights(trainer.model.get_weights())
    name = "embedding"
    own = [
        weight
        for layer in trainer.backwards.layers
        if layer not in trainer.model.layers  # the stack, and a projection
        for weight in layer.trainable_variables
    ]
    assert own
    token_ids = tf.concat([inputs["token_ids"][:, :1], targets], axis=1)[:, ::-1]
    lengths = tf.fill([ROWS], targets.shape[1])
    with tf.GradientTape() as tape:
        logits = trainer.backwards([token_ids[:, :-1], lengths])
        nats = keras.losses.sparse_categorical_crossentropy(token_ids[:, 1:], logits, True)
        loss = tf.reduce_mean(nats)
    weights = [*own, trainer.model.get_layer(name).embeddings]
    *gradients, of_embedding = (tf.convert_to_tensor(g) for g in tape.gradient(loss, weights))
    before = [weight.numpy() for weight in own]
    figures = []
    for each in (trainer, plain):
        each.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
        figures.append(each.train_step((inputs, targets))["loss"])
    np.testing.assert_allclose(figures[0], figures[1], **SUMS)  # of reading forwards
    for weight, old, gradient in zip(own, before, gradients, strict=True):
        np.testing.assert_allclose(weight, old - gradient, **SUMS)
    both, forwards = (each.model.get_layer(name).embeddings for each in (trainer, plain))
    np.testing.assert_allclose(both, forwards - of_embedding, **SUMS)


def test_a_bidirectional_model_is_not_averaged(play: Path) -> None:
    """Averages are of one model's validation."""
    with pytest.raises(ValueError, match="`optimizer` must be adamw for a bidirectional"):
        trained(read(play), {"optimizer": "asgd"}, bidirectional=True, num_layers=1)


def test_padding_does_not_count() -> None:
    """A mean over tokens, not over places."""
    values, token_ids = tf.constant([[1.0, 2, 9], [3, 9, 9]]), tf.constant([[5, 1, 0], [2, 0, 0]])
    assert float(token_losses.mean_over_tokens(values, token_ids)) == 2
    assert float(token_losses.mean_over_tokens(values, token_ids * 0)) == 0


def test_smoothed_labels_are_refused(play: Path) -> None:
    """They would be left out in silence, and no likelihood gains by them."""
    with pytest.raises(ValueError, match="`label_smoothing` must be 0 for a language model"):
        pipeline = read(play)
        spec = LanguageSpec(**PLAIN)
        model = language_model(spec, len(pipeline.vocabulary))
        TruncatedBackpropagation(model, spec, TrainSpec(label_smoothing=0.1))


def test_validation_is_of_averaged_weights(play: Path) -> None:
    """And so is the model that is left, while training goes on with its own."""
    pipeline = read(play)
    trainer = trained(pipeline, {"optimizer": "asgd"})
    batch = next(iter(pipeline.dataset("train", ROWS, training=True)))
    plain = float(trainer.test_step(batch)["loss"])
    weights = [weight.numpy() for weight in trainer.model.trainable_variables]
    for mean in trainer.average.means:
        mean.assign(mean * 0)
    trainer.forget()
    trainer.nats.reset_state()
    uniform = float(np.log(len(pipeline.vocabulary)))
    assert float(trainer.test_step(batch)["loss"]) == pytest.approx(uniform, abs=1e-5) != plain
    for weight, before in zip(trainer.model.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(weight, before)
    assert not any(np.any(weight) for weight in trainer.finished().trainable_variables)
