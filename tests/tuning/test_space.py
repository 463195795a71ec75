"""What a search tunes: what is declared, what the command line makes of it, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnapp import TASKS, overrides
from rnnapp.tuning.oracles import hyperparameters
from rnnapp.tuning.plan import Plan
from rnnapp.tuning.space import TUNABLES, Choice, Range, defaults, settings_of, space_of

SPEC = TASKS["speech_commands"].spec()


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_what_its_spec_has(task: str) -> None:
    """A task that joins is tuned by what it has; nothing is drawn that its spec refuses."""
    spec = TASKS[task].spec()
    space = space_of(spec)
    assert {"model.cell", "model.units", "train.learning_rate"} <= space.keys()
    assert space.keys() == TUNABLES.keys() & set(overrides.paths(spec))
    for path, tunable in space.items():
        for value in tunable.ends:
            TASKS[task].changed(spec, settings_of({path: tunable}, {path: tunable.key(value)}))


def test_every_declared_field_is_some_task_s() -> None:
    """A field that was renamed would silently be tuned no more."""
    known = {path for task in TASKS.values() for path in overrides.paths(task.spec())}
    known |= set(overrides.paths(TASKS["text_classification"].spec()))
    assert TUNABLES.keys() <= known


def test_the_command_line_narrows_widens_adds_and_fixes() -> None:
    """What is asked for holds, all else stays as it is declared."""
    asked = ["units=20..40", "cell=gru,simple_rnn", "recurrent_dropout=0..0.2", "epochs=5..9"]
    space = space_of(SPEC, ["dropout=0.2"], asked)
    assert space["model.units"] == Range(20, 40)  # of which few are multiples of eight
    assert space["model.cell"] == Choice(("gru", "simple_rnn"))
    assert space["model.recurrent_dropout"] == Range(0, 0.2)
    assert space["train.epochs"] == Range(5, 9)
    assert "model.dropout" not in space
    assert space["train.batch_size"] == TUNABLES["train.batch_size"]
    assert space_of(SPEC, tune=["units=16..64:log"])["model.units"] == Range(16, 64, True, 8)


def test_only_what_is_named() -> None:
    """Small budgets want small spaces."""
    assert [*space_of(SPEC, only=["units", "learning_rate"])] == [
        "model.units",
        "train.learning_rate",
    ]
    assert set(space_of(SPEC, only=["units"], tune=["epochs=2..3"])) == {
        "model.units",
        "train.epochs",
    }


@pytest.mark.parametrize(
    ("settings", "tune", "only", "message"),
    [
        ([], ["units=64..16"], [], "more than one value, the lower one first. Received: 64..16"),
        ([], ["units=64..64"], [], r"--set model.units=64 would fix it"),
        ([], ["units=64"], [], "must be key=LOW..HIGH"),
        ([], ["units"], [], "must be key=LOW..HIGH"),
        ([], ["units=16..many"], [], "must be key=LOW..HIGH"),
        ([], ["units=16..64:lin"], [], "must be key=LOW..HIGH"),
        ([], ["units=0..64"], [], "`units` must be a positive integer. Received: units=0"),
        ([], ["units=1.5..64"], [], "`units` must be an integer"),
        ([], ["dropout=0..0.5:log"], [], "above zero on a logarithmic scale"),
        ([], ["dropout=0..1.5"], [], "`dropout` must be in"),
        ([], ["unit=16..64"], [], "no setting `unit`. Did you mean model.units"),
        ([], ["cell=gru,lstn"], [], "`cell` must be one of"),
        ([], ["cell=gru,"], [], "must be key=LOW..HIGH"),
        ([], [], ["unit"], "Did you mean model.units"),
        ([], [], ["epochs"], "`train.epochs` has no range"),
        (["units=64"], ["units=16..64"], [], "`model.units` cannot be fixed by --set and tuned"),
        (["units=64"], [], ["units"], "one field at least that --set does not fix"),
    ],
)
def test_what_cannot_be_is_refused(
    settings: list[str], tune: list[str], only: list[str], message: str
) -> None:
    """Before an hour of trials, with what was received and what to do."""
    with pytest.raises(ValueError, match=message):
        space_of(SPEC, settings, tune, only)


@given(st.floats(0, 1), st.sampled_from(sorted(TUNABLES)))
def test_what_is_drawn_lies_in_its_range_and_can_be_read_again(share: float, path: str) -> None:
    """keras-tuner draws more digits than a setting needs, and its wire has fewer."""
    tunable = TUNABLES[path]
    if isinstance(tunable, Choice):
        assert [tunable.nearest(tunable.key(value)) for value in tunable.values] == [
            *tunable.values
        ]
        return
    drawn = tunable.low + share * (tunable.high - tunable.low)
    value = tunable.nearest(drawn)
    assert tunable.low <= value <= tunable.high
    assert tunable.nearest(value) == value
    assert isinstance(value, int) == tunable.whole
    ends = (tunable.low, tunable.high)
    assert value in ends or not tunable.whole or value % tunable.multiple_of == 0


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("layer_norm=true,false", [True, False]),
        ("units=16,24", [16, 24]),
        ("dropout=0,0.3", [0.0, 0.3]),
        ("gradient_length=null,200", [None, 200]),
        ("cell=gru,lstm", ["gru", "lstm"]),
    ],
)
def test_choices_of_any_kind_go_to_keras_tuner_and_back(said: str, values: list[Any]) -> None:
    """It takes neither truth nor nothing, and but one kind of numbers."""
    asked = Plan("speech_commands", tune=(said,), only=(said.partition("=")[0],), search="random")
    ((path, choice),) = asked.space.items()
    drawn = hyperparameters(asked)
    keys = [np.float32(key) if isinstance(key, float) else key for key in drawn.space[0].values]
    found = [choice.nearest(key) for key in keys]  # as its wire brings them
    assert found == values and list(map(type, found)) == list(map(type, values))
    assert choice.nearest(drawn.values[path]) in values


def test_numbers_of_a_range_are_of_the_field_s_own_kind() -> None:
    """`0..1` of a probability is not none or all."""
    space = space_of(SPEC, tune=["speed_probability=0..1", "units=8..32"])
    assert isinstance(space["model.units"], Range) and space["model.units"].whole
    shares = space["pipeline.augmentation.speed_probability"]
    assert shares == Range(0.0, 1.0) and isinstance(shares, Range) and not shares.whole


def test_the_first_trial_is_the_spec_itself() -> None:
    """All others are held against it."""
    values = defaults(SPEC, space_of(SPEC))
    assert values["model.units"] == SPEC.model.units
    assert TASKS["speech_commands"].changed(SPEC, settings_of(space_of(SPEC), values)) == SPEC
    assert defaults(SPEC, space_of(SPEC, tune=["units=8..32"]))["model.units"] == 32
