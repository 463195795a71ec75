"""A training reaches its end, by whatever way, and leaves a whole run behind."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from rnnapp import Run, optimizers, train, training
from rnnapp.keeper import Keeper
from rnnapp.specs import TrainSpec

from .conftest import TINY
from .test_checkpoints import fills_the_disk
from .test_losses_metrics import size_of

EPOCHS, KILLED_IN = 6, 3


class Killed(BaseException):
    """What a kill is to the code that it hits: nothing catches it."""


def kill_in_epoch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the training in the middle of an epoch (from 1)."""
    keep = Keeper.on_train_batch_end

    def die(self: Any, batch: int, logs: dict | None = None) -> None:
        keep(self, batch, logs)
        if self.state.epoch == number - 1 and batch == 5:
            raise Killed

    monkeypatch.setattr(Keeper, "on_train_batch_end", die)


@pytest.fixture(scope="module")
def killed(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run like `finished` that was killed in its third epoch."""
    folder = tmp_path_factory.mktemp("runs") / "killed"
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_in_epoch(KILLED_IN, monkeypatch)
        with pytest.raises(Killed):
            train("speech_commands", tones, folder, settings=TINY)
    return folder


@pytest.fixture
def copied(killed: Path, tmp_path: Path) -> Path:
    """A copy of the killed run."""
    return shutil.copytree(killed, tmp_path / "run")


def history(folder: Path) -> list[dict[str, str]]:
    """The rows of `history.csv`, without the seconds, which differ."""
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def checkpoint(folder: Path) -> dict[str, bytes]:
    """Every file from which the run goes on, by name."""
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}


def test_a_run_folder_is_whole(finished: Run) -> None:
    """Everything that a reader of the README looks for, and nothing half written."""
    folder = finished.folder
    assert {path.name for path in folder.iterdir()} >= {
        "checkpoints",
        "history.csv",
        "history.png",
        "logs",
        "metrics.json",
        "model.keras",
        "pipeline",
        "replay.npz",
        "calibration.npz",
        "spec.json",
    }
    assert not list(folder.rglob("partial-*"))
    assert min(size_of(folder / "history.png")) > 300
    assert Run.open(folder) == finished
    rows = history(folder)
    assert [row["epoch"] for row in rows] == [str(n + 1) for n in range(EPOCHS)]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < set(rows[0])
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def test_a_model_learns(finished: Run) -> None:
    """Tones are told apart within a hundred steps, or the loss does not reach the weights."""
    figures = finished.metrics()["training"]
    best = max(float(row["val_accuracy"]) for row in history(finished.folder))
    assert figures["val_accuracy"] == best > 0.9
    assert float(history(finished.folder)[figures["best_epoch"] - 1]["val_accuracy"]) == best
    assert figures["epochs"] == EPOCHS
    assert figures["parameters"] == finished.load_model().count_params()


def test_the_best_epoch_is_the_model(finished: Run) -> None:
    """Later epochs may have unlearnt something."""
    assert finished.metrics()["training"]["best_epoch"] < EPOCHS
    kept, best = finished.load_model(), finished.load_model()
    best.load_weights(finished.folder / "checkpoints" / "best.weights.h5")
    with np.load(finished.folder / "checkpoints" / "last.npz") as arrays:
        last = list(arrays.values())
    for ours, theirs in zip(kept.trainable_weights, best.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
        assert not any(np.array_equal(ours, array) for array in last), ours.path


def test_a_model_holds_no_random_numbers(finished: Run) -> None:
    """Keras draws recurrent dropout in inference as well, and no device could."""
    assert finished.spec.model.recurrent_dropout > 0
    assert finished.load_model().get_layer("gru_1").recurrent_dropout == 0


def test_a_killed_run_goes_on_to_the_same_weights(
    finished: Run, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in an epoch, stopped by a full disk in the next, then resumed: to the bit the same."""
    assert len(history(copied)) == KILLED_IN - 1
    with pytest.raises(ValueError, match="holds no finished model.*rnnapp train speech_commands"):
        Run.open(copied).load_model()
    before = checkpoint(copied)["last.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fills_the_disk)
        with pytest.raises(OSError, match="No space left on device"):
            train("speech_commands", out=copied, resume=True)
    assert checkpoint(copied)["last.npz"] == before
    run = train("speech_commands", out=copied, resume=True)
    assert history(copied) == history(finished.folder)
    for name in ("epochs", "best_epoch", "val_accuracy", "parameters"):
        assert run.metrics()["training"][name] == finished.metrics()["training"][name]
    for resumed, whole in zip(run.load_model().weights, finished.load_model().weights, strict=True):
        np.testing.assert_array_equal(resumed, whole, err_msg=whole.path)
    with (
        np.load(run.folder / "checkpoints" / "last.npz") as resumed,
        np.load(finished.folder / "checkpoints" / "last.npz") as whole,
    ):
        for name in set(whole.files) - {"progress"}:  # optimizer and generators
            np.testing.assert_array_equal(resumed[name], whole[name], err_msg=name)


def test_a_loss_that_is_no_number_stops_the_run(copied: Path) -> None:
    """The message says what can be done, and the last good epoch stays."""
    values = json.loads((copied / "spec.json").read_text())
    values["train"] |= {"learning_rate": 1e30, "clip_norm": 0.0}
    (copied / "spec.json").write_text(json.dumps(values))
    before = checkpoint(copied)
    with pytest.raises(
        training.TrainingError,
        match=(
            r"in epoch 3, step \d+\. Begin anew in another folder \(--out\) with a lower learning "
            r"rate \(--set learning_rate=3\.3e\+29\).*\(--set clip_norm=1\)"
        ),
    ):
        train("speech_commands", out=copied, resume=True)
    assert checkpoint(copied) == before


def test_patience_ends_a_run_that_gets_no_better(tones: Path, tmp_path: Path) -> None:
    """The best epoch is the model, however many came after it."""
    plain = (
        "units=4",
        "pooling=last",
        "convolutions=[]",
        "time_masks=0",
        "prelude_share=0",
        "recurrent_dropout=0",
        "steps_per_execution=4",
    )
    run = train(
        "speech_commands",
        tones,
        tmp_path / "run",
        settings=[*TINY, *plain, "learning_rate=1e-12", "patience=2", "epochs=50"],
    )
    assert len(history(run.folder)) == 3
    assert run.metrics()["training"]["best_epoch"] == 1


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_is_not_written_over(
    finished: Run, tones: Path, resume: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of training must not go by a mistyped folder; nor change their meaning on the way."""
    monkeypatch.setattr(training, "_fit", None)
    with pytest.raises(
        ValueError,
        match=(
            r"`settings` must be those with which .* was begun.*Received: .*'units=3'"
            if resume
            else r"must be a new folder: it holds a run. Go on with that run by --resume"
        ),
    ):
        train("speech_commands", tones, finished.folder, settings=["units=3"], resume=resume)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task": "speech_comands"}, ValueError, "Did you mean speech_commands?"),
        ({"settings": ["unit=3"]}, ValueError, "Did you mean model.units"),
        ({"data": "nowhere"}, FileNotFoundError, "nowhere.*does not exist"),
        ({"resume": True}, ValueError, "must be a run folder"),
    ],
)
def test_wrong_use_leaves_no_folder_to_stumble_over(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """After mending the command, the same `--out` must do."""
    with pytest.raises(error, match=message):
        train(**{"task": "speech_commands", "out": tmp_path / "run", **arguments})
    assert not (tmp_path / "run" / "spec.json").exists()


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    """Warm-up protects young AdamW moments; the last steps must be small."""
    spec = TrainSpec(learning_rate=0.5, warmup_fraction=0.2)
    schedule = optimizers.optimizer(spec, 100).get_config()["learning_rate"]
    rate = keras.optimizers.schedules.deserialize(schedule)
    rates = np.array([float(rate(step)) for step in range(101)])
    assert rates.argmax() == 20
    assert rates.max() == pytest.approx(0.5) and rates[0] == 0
    assert rates[100] == pytest.approx(0, abs=1e-6)
    assert (np.diff(rates[:21]) > 0).all() and (np.diff(rates[20:]) < 0).all()
    flat = optimizers.optimizer(dataclasses.replace(spec, warmup_fraction=0.0), 100)
    assert float(flat.learning_rate) == pytest.approx(0.5)


def test_weight_decay_spares_biases() -> None:
    """A bias pulled to zero only loses range."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    optimizer = optimizers.optimizer(TrainSpec(weight_decay=0.1), 10)
    optimizer.build(model.trainable_variables)
    decayed = {v.name: optimizer._use_weight_decay(v) for v in model.trainable_variables}
    assert decayed == {"kernel": True, "bias": False}


def test_a_training_starts_where_another_ended(finished: Run, tones: Path, tmp_path: Path) -> None:
    """Learnt from many voices, taught a few more: by tiny steps, the weights stay in sight."""
    start = f"start={finished.folder}"
    tiny = ("epochs=1", "learning_rate=1e-9")
    run = train("speech_commands", tones, tmp_path / "more", settings=[*TINY, *tiny, start])
    weights = zip(run.load_model().weights, finished.load_model().weights, strict=True)
    for mine, theirs in weights:
        if mine.trainable:
            np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=0, atol=1e-6)


def test_another_form_or_other_labels_are_no_start(
    finished: Run, tones: Path, tmp_path: Path
) -> None:
    """Weights in the wrong places would be worse than drawn ones, and nobody would know."""
    start = f"start={finished.folder}"
    with pytest.raises(ValueError, match="`start` must be a run of a model of the same form"):
        train("speech_commands", tones, tmp_path / "form", settings=[*TINY, start, "units=3"])
    with pytest.raises(ValueError, match="`start` must be a run with the labels"):
        words = ['words=["high"]', start]
        train("speech_commands", tones, tmp_path / "labels", settings=[*TINY, *words])
    with pytest.raises(ValueError, match="must be a run folder"):
        train("speech_commands", tones, tmp_path / "none", settings=[*TINY, "start=nowhere"])
    assert not list(tmp_path.iterdir())
