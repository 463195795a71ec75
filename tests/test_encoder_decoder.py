"""Encoder-decoders: a step is what the whole is, padding is nothing, and no setting is ignored."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp import device
from rnnapp.device.beam_search import Search
from rnnapp.device.fixed import FixedShapes
from rnnapp.encoder_decoder import EncodeStep, encoder_decoder
from rnnapp.exporting import lowering
from rnnapp.exporting.runtimes import SavedModel
from rnnapp.layers import CELLS
from rnnapp.specs import DecodingSpec, TranslationSpec
from rnnapp.token_losses import TokenCrossentropy

from .layers.conftest import shuffled

SOURCES, TARGETS = 11, 9  # vocabularies
BEGIN, END = 2, 3
ATTENTIONS = ("bahdanau", "luong", "none")

# Each cell and each attention once: what is theirs alone does not depend on the other.
PAIRS = [("gru", attention) for attention in ATTENTIONS] + [
    (cell, "luong") for cell in CELLS if cell != "gru"
]

# What float32 loses over some steps, summed in another order.
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5}

Arrays = dict[str, np.ndarray]


def small(**settings: Any) -> TranslationSpec:
    """Settings of a tiny model."""
    return TranslationSpec(**{"units": 6, "embedding_dim": 4, "num_layers": 2, **settings})


@functools.cache
def model_of(cell: str, attention: str, **settings: Any) -> keras.Model:
    """A tiny model with drawn weights."""
    spec = small(cell=cell, attention=attention, **settings)
    return shuffled(encoder_decoder(spec, SOURCES, TARGETS))


def batch(seed: int = 0, lengths: tuple[int, ...] = (5, 2, 4), timesteps: int = 6) -> Arrays:
    """Sources padded on the right, and targets."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(4, SOURCES, (len(lengths), max(lengths)))
    valid = np.arange(max(lengths)) < np.array(lengths)[:, None]
    targets = draw.integers(4, TARGETS, (len(lengths), timesteps))
    targets[:, 0] = BEGIN
    return {
        "source_ids": np.where(valid, ids, 0).astype(np.int32),
        "source_lengths": np.array(lengths, np.int32),
        "target_ids": targets.astype(np.int32),
    }


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    """Each cell."""
    return request.param


@pytest.fixture(params=ATTENTIONS)
def attention(request: pytest.FixtureRequest) -> str:
    """Each attention."""
    return request.param


def stepped(translator: Any, inputs: Arrays) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits of all target timesteps, one by one, and the weights of attention of each."""
    sources = {name: inputs[name] for name in ("source_ids", "source_lengths")}
    remembered, logits, weights = translator.run("encode", **sources), [], []
    for token_ids in inputs["target_ids"].T:
        outputs = translator.run("step", token_ids=token_ids, **remembered)
        logits.append(outputs["logits"])
        weights += [outputs["attention"]] if "attention" in outputs else []
        states = {name: outputs.get(f"next_{name}") for name in remembered}
        remembered |= {name: value for name, value in states.items() if value is not None}
    return np.stack(logits, axis=1), weights


def test_steps_give_the_logits_of_the_whole(cell: str, attention: str) -> None:
    """What training sees at once, a search sees token by token; attention is over true tokens."""
    model, inputs = model_of(cell, attention), batch()
    logits, weights = stepped(EncodeStep(model), inputs)
    np.testing.assert_allclose(logits, model(inputs), **CLOSE)
    valid = np.arange(5) < inputs["source_lengths"][:, None]
    for shares in weights:
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
        assert (shares[~valid] == 0).all()
    assert len(weights) == (0 if attention == "none" else inputs["target_ids"].shape[1])


def test_sources_and_targets_begin_alike() -> None:
    """Features of unit variance, from weights so small that steps of training move them soon."""
    spec = small(embedding_dim=64, num_layers=1)
    model = encoder_decoder(spec, 1000, 1000)
    ids = np.arange(1000, dtype=np.int32)[None]
    decoder = model.get_layer("decoder")
    features = {
        "source": model.get_layer("unit_variance")(model.get_layer("source_embedding")(ids)),
        "target": decoder._embedded(ids),
    }
    weights = {
        "source": model.get_layer("source_embedding").embeddings,
        "target": decoder.embedding.embeddings,
    }
    for name in features:
        assert np.std(features[name]) == pytest.approx(1, abs=0.05), name
        assert np.std(weights[name]) == pytest.approx(64**-0.5, rel=0.05), name


def test_padding_changes_nothing(cell: str, attention: str) -> None:
    """Longer padding of sources, by any token; of targets; and other sentences beside."""
    model, inputs = model_of(cell, attention), batch()
    expected = model(inputs).numpy()
    sources = np.pad(inputs["source_ids"], [(0, 0), (0, 3)])
    beyond = np.arange(8) >= inputs["source_lengths"][:, None]
    padded = {
        "source_ids": np.where(beyond, 7, sources).astype(np.int32),
        "source_lengths": inputs["source_lengths"],
        "target_ids": np.pad(inputs["target_ids"], [(0, 0), (0, 2)]),
    }
    np.testing.assert_allclose(model(padded)[:, :6], expected, **CLOSE)
    for row, size in enumerate(inputs["source_lengths"]):
        alone = {name: value[row : row + 1] for name, value in inputs.items()}
        alone["source_ids"] = alone["source_ids"][:, :size]
        np.testing.assert_allclose(model(alone)[0], expected[row], **CLOSE)


def test_no_logit_knows_the_tokens_after_it(attention: str) -> None:
    """A decoder that saw what it should say would learn nothing."""
    model, inputs = model_of("gru", attention), batch()
    changed = {**inputs, "target_ids": inputs["target_ids"].copy()}
    changed["target_ids"][:, 3] = 4 + (changed["target_ids"][:, 3] - 3) % (TARGETS - 4)
    before, after = model(inputs).numpy(), model(changed).numpy()
    np.testing.assert_allclose(after[:, :3], before[:, :3], **CLOSE)
    assert (np.abs(after[:, 3:] - before[:, 3:]).max(axis=(1, 2)) > 1e-3).all()


def test_every_word_of_the_source_matters(attention: str) -> None:
    """To the first word of the target, through memory or state."""
    model, inputs = model_of("gru", attention), batch(lengths=(5,))
    expected = model(inputs).numpy()
    for place in range(5):
        changed = {**inputs, "source_ids": inputs["source_ids"].copy()}
        changed["source_ids"][0, place] = 4 + (changed["source_ids"][0, place] - 3) % (SOURCES - 4)
        assert np.abs(model(changed) - expected).max() > 1e-4


@pytest.mark.parametrize(("cell", "attention"), PAIRS)
def test_a_saved_model_answers_alike(cell: str, attention: str, tmp_path: Path) -> None:
    """Settings and weights come back, and so do both functions."""
    model, inputs = model_of(cell, attention), batch()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    np.testing.assert_array_equal(
        stepped(EncodeStep(loaded), inputs)[0], stepped(EncodeStep(model), inputs)[0]
    )
    decoder = model.get_layer("decoder")
    assert loaded.get_layer("decoder").get_config() == decoder.get_config()


OTHER: dict[str, Any] = {
    "cell": "lstm",
    "units": 8,
    "num_layers": 1,
    "embedding_dim": 6,
    "attention": "bahdanau",
    "luong_score": "dot",
    "tied": False,
    "dropout": 0.4,
    "sampling_probability": 0.5,
    "sampling_steps": 7,
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TranslationSpec)])
def test_each_setting_changes_the_model(name: str) -> None:
    """A setting that nothing reads would lie."""
    other = dataclasses.replace(small(), **{name: OTHER[name]})
    models = [encoder_decoder(spec, SOURCES, TARGETS) for spec in (small(), other)]
    shapes = [[weight.shape for weight in model.weights] for model in models]
    settings = [model.get_layer("decoder").get_config() for model in models]
    assert shapes[0] != shapes[1] or settings[0] != settings[1]


def trained(steps: int, **settings: Any) -> tuple[keras.Model, list[float]]:
    """A model that learnt for some steps to say sequences backwards, and its losses."""
    keras.utils.set_random_seed(0)
    model = encoder_decoder(
        small(units=32, embedding_dim=16, num_layers=1, dropout=0.0, **settings), SOURCES, SOURCES
    )
    model.compile(keras.optimizers.Adam(0.01, clipnorm=1.0), TokenCrossentropy())
    losses = []
    for step in range(steps):
        inputs, targets = reversing(step)
        losses.append(float(model.train_on_batch(inputs, targets)))
    return model, losses


def reversing(seed: int, count: int = 64) -> tuple[Arrays, np.ndarray]:
    """Sequences, and the same ones backwards."""
    lengths = np.random.default_rng(seed).integers(1, 7, count)
    inputs = batch(seed, tuple(lengths.tolist()))
    backwards = np.zeros((count, 7), np.int32)
    for row, (ids, size) in enumerate(zip(inputs["source_ids"], lengths, strict=True)):
        backwards[row, : size + 1] = [*ids[:size][::-1], END]
    begin = np.full((count, 1), BEGIN, np.int32)
    fed = np.where(backwards == END, 0, backwards)[:, :-1]
    return {**inputs, "target_ids": np.hstack([begin, fed])}, backwards


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_a_tiny_model_learns_to_reverse(attention: str) -> None:
    """New sequences too, token by token; and attention runs backwards over them."""
    model, _ = trained(250, attention=attention)
    inputs, targets = reversing(10_000)
    find = Search(BEGIN, END, beam_size=2, forbidden=(0, BEGIN))
    sources = (inputs["source_ids"], inputs["source_lengths"])
    found = [best for (best,) in find(EncodeStep(model), *sources, [10] * len(targets))]
    expected = [[token for token in row if token not in (0, END)] for row in targets.tolist()]
    right = np.mean([best.token_ids == said for best, said in zip(found, expected, strict=True)])
    assert right > 0.9
    long = [best.attention[:-1] for best in found if len(best.token_ids) == 6]
    places = np.mean([shares.argmax(axis=1) for shares in long], axis=0)
    assert np.corrcoef(places, np.arange(6))[0, 1] < -0.9


def test_scheduled_sampling_feeds_the_models_own_words() -> None:
    """In training alone, as often as it should, and never in the place of begin or padding."""
    model = encoder_decoder(
        small(sampling_probability=0.5, sampling_steps=2, dropout=0.0), SOURCES, TARGETS
    )
    decoder, (inputs, _) = shuffled(model).get_layer("decoder"), reversing(0)
    decoder.trained_steps.assign(0)
    inputs["target_ids"] = np.minimum(inputs["target_ids"], TARGETS - 1)
    seen: list[np.ndarray] = []
    outputs = decoder._outputs

    def spied(target_ids: tf.Tensor, *arguments: Any, **named: Any) -> tf.Tensor:
        seen.append(target_ids.numpy())
        return outputs(target_ids, *arguments, **named)

    decoder._outputs = spied
    true, shares = inputs["target_ids"], []
    expected = model(inputs, training=False).numpy()
    said = expected[:, :-1].argmax(axis=-1)
    for _ in range(12):
        model(inputs, training=True)
        fed, own = seen[-1], (true[:, 1:] != 0) & (true[:, 1:] != said)
        assert (fed[:, 0] == BEGIN).all() and ((fed == 0) == (true == 0)).all()
        replaced = fed[:, 1:] != true[:, 1:]
        np.testing.assert_array_equal(fed[:, 1:][replaced], said[replaced])
        shares.append(replaced.sum() / own.sum())
    assert shares[0] == 0 and 0.15 < shares[1] < 0.35  # none yet, then half of the way
    assert np.mean(shares[2:]) == pytest.approx(0.5, abs=0.05)  # of some thousand draws
    np.testing.assert_array_equal(model(inputs, training=False), expected)


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_a_sampled_model_trains(attention: str) -> None:
    """Inside the graph of `fit`, with gradients of the second pass."""
    _, losses = trained(30, attention=attention, sampling_probability=0.3, sampling_steps=10)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@functools.cache
def lite(cell: str, attention: str, rows: int = 2, timesteps: int = 7) -> bytes:
    """Both functions as a TFLite file of builtin operators, for sources up to a length."""
    translator = EncodeStep(model_of(cell, attention))
    specs = {
        "encode": translator.encode_specs(1, timesteps),
        "step": translator.step_specs(rows, timesteps),
    }
    functions = {
        name: lowering.traced(getattr(translator, name), each) for name, each in specs.items()
    }
    return lowering.lowered(functions, translator.weights)


@pytest.mark.parametrize(("cell", "attention"), PAIRS)
def test_a_device_gives_the_same_logits(cell: str, attention: str) -> None:
    """TFLite, builtin operators alone, rows by twos and sources padded to its length."""
    model, inputs = model_of(cell, attention), batch()
    runner = FixedShapes(device.load(lite(cell, attention)))
    logits, weights = stepped(runner, inputs)
    np.testing.assert_allclose(logits, model(inputs), **CLOSE)
    assert all((shares[:, 5:] == 0).all() for shares in weights)


def test_a_device_finds_the_same_translations() -> None:
    """Beam search over a TFLite file, without TensorFlow, as over the Keras model."""
    inputs, find = batch(), Search(BEGIN, END, n_best=3, forbidden=(0, BEGIN))
    sources = (inputs["source_ids"], inputs["source_lengths"], [8, 8, 8])
    ours = find(EncodeStep(model_of("gru", "luong")), *sources)
    theirs = find(FixedShapes(device.load(lite("gru", "luong"))), *sources)
    for mine, other in zip(sum(ours, []), sum(theirs, []), strict=True):
        assert other.token_ids == mine.token_ids
        assert other.score == pytest.approx(mine.score, abs=1e-4)
        np.testing.assert_allclose(other.attention, mine.attention, **CLOSE)


def test_a_server_finds_the_same_translations(tmp_path: Path) -> None:
    """Beam search over a SavedModel of any batch and length, as over the Keras model."""
    inputs, find = batch(), Search(BEGIN, END, n_best=3, forbidden=(0, BEGIN))
    translator = EncodeStep(model_of("lstm", "bahdanau"))
    specs = {
        "encode": translator.encode_specs(None, None),
        "step": translator.step_specs(None, None),
    }
    functions = {
        name: lowering.traced(getattr(translator, name), each) for name, each in specs.items()
    }
    tf.saved_model.save(translator, str(tmp_path), signatures=functions)
    sources = (inputs["source_ids"], inputs["source_lengths"], [8, 8, 8])
    ours, theirs = find(translator, *sources), find(SavedModel(tmp_path), *sources)
    for mine, other in zip(sum(ours, []), sum(theirs, []), strict=True):
        assert other.token_ids == mine.token_ids
        assert other.score == pytest.approx(mine.score, abs=1e-4)


def test_a_source_too_long_for_a_device_is_named() -> None:
    """Cut, it would be translated to something else."""
    runner = FixedShapes(device.load(lite("gru", "luong")))
    assert runner.max_source_length == 7
    inputs = batch(lengths=(8,))
    with pytest.raises(ValueError, match="takes sources of at most 7 tokens. Received: 8"):
        runner.run("encode", **{name: inputs[name] for name in ("source_ids", "source_lengths")})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "rnn"}, "`cell` must be one of simple_rnn, lstm, gru. Received: cell='rnn'"),
        ({"units": 7}, "`units` must be even"),
        ({"units": 0}, "`units` must be a positive integer"),
        ({"attention": "dot"}, "`attention` must be one of bahdanau, luong, none"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
        ({"sampling_steps": 0}, "`sampling_steps` must be a positive integer"),
    ],
)
def test_bad_settings_are_named(settings: Any, message: str) -> None:
    """What must be, and what was received."""
    with pytest.raises(ValueError, match=message):
        TranslationSpec(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_size": 0}, "`beam_size` must be a positive integer"),
        ({"length_penalty": -0.1}, "`length_penalty` must be zero or more"),
        ({"max_length_extra": 0}, "`max_length_extra` must be a positive integer"),
        ({"max_sentences": -1}, "`max_sentences` must be zero or more"),
        ({"bleu_tokenizer": "x"}, "`bleu_tokenizer` must be one of 13a"),
    ],
)
def test_bad_settings_of_a_search_are_named(settings: Any, message: str) -> None:
    """Before anything is searched for."""
    with pytest.raises(ValueError, match=message):
        DecodingSpec(**settings)
