"""A run takes over from another what it can use, or says why it cannot."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp import Run, starting, train, training
from rnnapp.tasks import TASKS

from .conftest import TINY_WRITER
from .test_training import Killed, kill_in_epoch

BOTH = (
    *TINY_WRITER,
    *("tied=true", "num_layers=1", "bidirectional=true", "cell=gru", "epochs=2"),
)
READS = ("preset=ulmfit", "epochs=2", "batch_size=64")


@pytest.fixture(scope="module")
def tied(tales: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A language model whose last layer is as wide as its embedding, and no other."""
    form = ("tied=true", "projection=false", "num_layers=2", "units=9", "dim=7", "cell=gru")
    folder = tmp_path_factory.mktemp("runs") / "tied"
    return train("language_model", tales, folder, settings=[*TINY_WRITER, *form, "epochs=1"])


@pytest.fixture(scope="module")
def both(tales: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A language model that has read in both directions."""
    folder = tmp_path_factory.mktemp("runs") / "both"
    return train("language_model", tales, folder, settings=BOTH)


@pytest.fixture(scope="module")
def taught(writer: Run, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run that goes on from the writer's encoder."""
    folder = tmp_path_factory.mktemp("runs") / "taught"
    return train("text_classification", reviews, folder, settings=[*READS, begin(writer)])


def begin(run: Run) -> str:
    """The assignment that starts from a run."""
    return f"start={run.folder}"


def model_of(run: Run, reviews: Path) -> tuple[keras.Model, Run]:
    """A classifier's model before training, from a language model's encoder."""
    spec = TASKS["text_classification"].spec(str(reviews), [*READS, begin(run)])
    begun = Run(run.folder / "unused", starting.adapted(spec, [*READS, begin(run)]))
    pipeline = starting.new_pipeline(begun).fit(str(reviews))
    return training.compiled(begun, pipeline), begun


@pytest.mark.parametrize("kind", ["writer", "tied"])
def test_an_encoder_comes_over_whole(
    kind: str, reviews: Path, request: pytest.FixtureRequest
) -> None:
    """Bit by bit, whatever its form; the head is drawn as if there were no encoder."""
    run = request.getfixturevalue(kind)
    model, begun = model_of(run, reviews)
    theirs = run.load_model()
    np.testing.assert_array_equal(
        model.get_layer("embedding").embeddings, theirs.get_layer("embedding").embeddings
    )
    spec = run.spec.model
    for number in range(1, spec.num_layers + 1):
        name = f"{spec.cell}_{number}"
        pairs = zip(model.get_layer(name).weights, theirs.get_layer(name).weights, strict=True)
        for mine, other in pairs:
            np.testing.assert_array_equal(mine, other)
    kernel = model.get_layer("logits").kernel
    assert kernel.shape[-1] == 2 and np.ptp(kernel) > 0
    assert begun.spec.model.num_layers == spec.num_layers


def test_an_encoder_of_both_directions_comes_over_whole(both: Run, reviews: Path) -> None:
    """What read from the end reads from the end, by the same embedding."""
    model, _ = model_of(both, reviews)
    forwards, backwards = both.load_model(), both.load_model(beside="backwards")
    embeddings = [each.get_layer("embedding").embeddings for each in (model, forwards, backwards)]
    for theirs in embeddings[1:]:
        np.testing.assert_array_equal(embeddings[0], theirs)
    layer = model.get_layer("bidirectional_1")
    kernels = []
    for mine, other in ((layer.forward_layer, forwards), (layer.backward_layer, backwards)):
        theirs = other.get_layer("gru_1")
        for ours, weight in zip(mine.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(ours, weight)
        kernels.append(theirs.cell.kernel.numpy())
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01  # two stacks, that have learnt apart


def test_the_preset_for_classifiers_reads_what_they_read() -> None:
    """Their tokens are the encoder's: of characters, they would know no word."""
    encoder = TASKS["language_model"].spec("data", ["preset=encoder"])
    assert encoder.pipeline.tokens == TASKS["text_classification"].spec("data", []).pipeline.tokens
    assert encoder.model.bidirectional


def test_a_vocabulary_comes_over_whole(writer: Run, taught: Run) -> None:
    """Token for token, so that exports read as the encoder does; labels are the task's own."""
    mine, theirs = taught.load_pipeline(), writer.load_pipeline()
    assert mine.vocabulary == theirs.vocabulary
    text = "The old king was NOT kind ."
    assert mine.encode(text)["token_ids"][0].tolist() == theirs.tokenizer.encode(text)
    assert mine.labels == ("negative", "positive")


def test_the_encoder_stays_until_it_thaws(writer: Run, reviews: Path, tmp_path: Path) -> None:
    """After an epoch of gradual unfreezing, only the head has learnt."""
    settings = [*READS, begin(writer), "epochs=1"]
    run = train("text_classification", reviews, tmp_path / "run", settings=settings)
    mine, theirs = run.load_model(), writer.load_model()
    for name in ("embedding", "lstm_1"):
        pairs = zip(mine.get_layer(name).weights, theirs.get_layer(name).weights, strict=True)
        for ours, other in pairs:
            np.testing.assert_array_equal(ours, other)


def test_a_killed_fine_tuning_goes_on_to_the_same_weights(
    taught: Run, writer: Run, reviews: Path, tmp_path: Path
) -> None:
    """Layers thaw where they would have, at the rates that they would have had."""
    with pytest.MonkeyPatch.context() as patch:
        kill_in_epoch(2, patch)
        with pytest.raises(Killed):
            train(
                "text_classification",
                reviews,
                tmp_path / "run",
                settings=[*READS, begin(writer)],
            )
    run = train("text_classification", out=tmp_path / "run", resume=True)
    assert_same_state(run, taught)


def assert_same_state(resumed: Run, whole: Run) -> None:
    """Weights, optimizers and generators are the same, bit by bit."""
    with (
        np.load(resumed.folder / "checkpoints" / "last.npz") as mine,
        np.load(whole.folder / "checkpoints" / "last.npz") as theirs,
    ):
        for name in set(theirs.files) - {"progress"}:
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def test_a_killed_encoder_of_both_directions_goes_on(
    both: Run, tales: Path, tmp_path: Path
) -> None:
    """What reads from the end is in the checkpoint as well."""
    with pytest.MonkeyPatch.context() as patch:
        kill_in_epoch(2, patch)
        with pytest.raises(Killed):
            train("language_model", tales, tmp_path / "run", settings=BOTH)
    assert_same_state(train("language_model", out=tmp_path / "run", resume=True), both)


@pytest.mark.parametrize("kind", ["writer", "both"])
def test_a_language_model_reads_on(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """On other text, in the form and by the tokens of the first: ULMFiT's second stage."""
    writer = request.getfixturevalue(kind)
    (tmp_path / "text.txt").write_text("the old king told a new word to the fox . " * 150)
    same = ("sequence_length=12", "batch_size=4", "epochs=1", "learning_rate=1e-9")
    settings = [*same, "jit_compile=false", "validation_percent=20", begin(writer)]
    run = train("language_model", tmp_path / "text.txt", tmp_path / "run", settings=settings)
    assert run.spec.model == writer.spec.model
    assert run.load_pipeline().vocabulary == writer.load_pipeline().vocabulary
    for name in (None, "backwards") if kind == "both" else (None,):
        pairs = zip(run.load_model(name).weights, writer.load_model(name).weights, strict=True)
        for mine, theirs in pairs:
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["units=5"], "`units` must be 24, as in the language model .*Received: units=5"),
        (["dim=5"], r"`embedding` must be EmbeddingSpec\(dim=16.*Received: .*dim=5"),
        (["bidirectional=true"], "`bidirectional` must be False, as in the language model"),
        (["tokens=characters"], "`tokens` must be 'words', as of the tokenizer taken over"),
        (["lowercase=true"], "`lowercase` must be False, as of the tokenizer taken over"),
    ],
)
def test_an_encoder_is_not_bent(
    settings: list[str], message: str, writer: Run, reviews: Path, tmp_path: Path
) -> None:
    """What was asked for is done, or refused by name; never left aside."""
    with pytest.raises(ValueError, match=message):
        train(
            "text_classification",
            reviews,
            tmp_path / "run",
            settings=[*READS, begin(writer), *settings],
        )
    assert not (tmp_path / "run").exists()


def unfinished(run: Run, folder: Path) -> Path:
    """A copy of a run that was killed before its end."""
    shutil.copytree(run.folder, folder)
    (folder / "model.keras").unlink()
    return folder


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("finished", "`start` must be a run of text_classification or language_model. Received: "),
        ("killed", "`start` must be a finished run: rnnapp train language_model .* --resume"),
        ("nowhere", "must be a run folder"),
        (None, "`gradual_unfreezing` must be false without a run to start from"),
    ],
)
def test_what_is_no_start_is_refused_before_data_are_read(
    start: str | None, message: str, writer: Run, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Reading may take minutes, and a folder left behind would be in the way."""
    folders: dict[str | None, Callable[[], Path]] = {
        "finished": lambda: request.getfixturevalue("finished").folder,
        "killed": lambda: unfinished(writer, tmp_path / "killed"),
        "nowhere": lambda: tmp_path / "nowhere",
    }
    settings = [*READS, *([f"start={folders[start]()}"] if start else [])]
    with pytest.raises(ValueError, match=message):
        train("text_classification", "no/such/data", tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_classifier_starts_no_language_model(taught: Run, tales: Path, tmp_path: Path) -> None:
    """An encoder that reads both ways, or a head of two labels, writes nothing."""
    with pytest.raises(ValueError, match="must be a run of language_model. Received: .*, a run of"):
        train("language_model", tales, tmp_path / "run", settings=[begin(taught)])


def test_settings_of_data_are_not_taken_over(writer: Run) -> None:
    """How another file is laid out says nothing of this one."""
    spec = TASKS["language_model"].spec("data", [begin(writer)])
    taken = starting.adapted(spec, [begin(writer)])
    assert taken.pipeline == dataclasses.replace(
        spec.pipeline,
        **{name: getattr(writer.spec.pipeline, name) for name in ("tokens", "lowercase")},
    )
