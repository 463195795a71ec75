"""Specs check themselves, and `--set` reaches each of their fields."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp import overrides, specs
from rnnapp.specs import ConvSpec, FrontSpec, RNNSpec
from rnnapp.tasks import TASKS, RunSpec

from .conftest import TINY, TINY_READER, TINY_TRANSLATOR, TINY_WRITER

# For each task: the settings of its tiny run.
CHANGED = {
    "speech_commands": TINY,
    "text_classification": TINY_READER,
    "language_model": TINY_WRITER,
    "translation": TINY_TRANSLATOR,
}

SPECS = [kind for _, kind in inspect.getmembers(specs, dataclasses.is_dataclass)]
FIELDS = [(kind, field.name) for kind in SPECS for field in dataclasses.fields(kind)]
NUMBERS = [
    (kind, name) for kind, name in FIELDS if typing.get_type_hints(kind)[name] in (int, float)
]
PATHS = [(task, path) for task in TASKS for path in overrides.paths(TASKS[task].spec())]
THE_FORM = r"(?s)`[\w +]+` must be .*Received: |has no field .*Valid names: "

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3000) | st.floats(-3, 3000) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["filters", "units", "kind", "speed"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def leaves(spec: RunSpec) -> list[str]:
    """A `key=value` for each setting of a spec, as `rnnapp list --settings` prints them."""
    lines = []
    for path in overrides.paths(spec):
        value: Any = overrides.to_dict(spec)
        for name in path.split("."):
            value = value[name]
        if not isinstance(value, dict):
            lines.append(f"{path}={json.dumps(value)}")
    return lines


@pytest.mark.parametrize(("kind", "name"), FIELDS)
@given(value=json_values)
@settings(max_examples=15, deadline=None)
def test_a_field_takes_its_type_or_says_what_it_must_be(kind: type, name: str, value: Any) -> None:
    """A value that slips through fails far away, in the middle of a training."""
    try:
        spec = kind(**{name: value})
    except ValueError as error:
        assert re.search(THE_FORM, str(error))
    else:
        assert overrides.from_dict(kind, overrides.to_dict(spec)) == spec


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
def test_no_number_is_negative_or_endless(kind: type, name: str, value: float) -> None:
    """JSON as Python reads it knows Infinity and NaN, so `--set` would let them in."""
    with pytest.raises(ValueError, match=rf"`{name}` must be .*Received: {name}=.*{value}"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("assignment", "must"),
    [
        ("units=0", "a positive integer"),
        ("num_layers=0", "a positive integer"),
        ("learning_rate=0", "a positive number"),
        ("dropout=1", r"in \[0, 1\)"),
        ("warmup_fraction=1", r"in \[0, 1\)"),
        ("frame_length_ms=5", "at least frame_step_ms=10.0"),
        ("lower_hz=8000", "above lower_hz=8000.0"),
        ("mean_seconds=0.005", "0, or a frame's step, 0.01, at least"),
        ("frequency_mask_bins=41", "from 0 to num_mel_bins=40"),
        (
            'front={"kind": "mfcc", "num_mel_bins": 7, "frequency_mask_bins": 0}',
            "at most num_mel_bins=7",
        ),
        ('convolutions=[{"kernel_time": 1, "stride_time": 2}]', "at least stride_time=2"),
        ('convolutions=[{"filters": 0}]', "a positive integer"),
        ("convolutions=3", "a list of ConvSpec"),
        ("cell=LSTM", "one of simple_rnn, lstm, gru"),
        ("bidirectional=1", "true or false"),
        ("epochs=2.5", "an integer"),
        ("minutes=", "a number"),
        ("task=another", "'speech_commands'"),
    ],
)
def test_values_out_of_range_are_refused(assignment: str, must: str) -> None:
    """Each limit is where its field's docstring says it is."""
    with pytest.raises(ValueError, match=f"must be {must}.*Received: "):
        TASKS["speech_commands"].spec(assignments=[assignment])


@pytest.mark.parametrize(("task", "path"), PATHS)
@given(value=json_values)
@settings(max_examples=8, deadline=None)
def test_set_changes_one_setting_or_says_what_it_must_be(task: str, path: str, value: Any) -> None:
    """`--set` is how users reach a model: no value may end in a traceback, or move a neighbour."""
    spec = TASKS[task].spec()
    try:
        changed = overrides.override(spec, f"{path}={json.dumps(value)}")
    except ValueError as error:
        error.add_note(f"{path}={value!r}")
        with pytest.raises(ValueError, match=THE_FORM):
            raise
    else:
        before, after = set(leaves(spec)), set(leaves(changed))
        assert all(line.startswith((f"{path}=", f"{path}.")) for line in before ^ after)


@pytest.mark.parametrize("task", TASKS)
def test_printed_settings_make_the_spec_again(task: str) -> None:
    """What `rnnapp list --settings` prints can be changed and passed to `--set`."""
    spec = TASKS[task].spec("data", CHANGED[task])
    assert spec != TASKS[task].spec()
    assert TASKS[task].spec(assignments=leaves(spec)) == spec


@pytest.mark.parametrize("task", TASKS)
def test_specs_survive_json(task: str) -> None:
    """A run is resumed and exported by what `spec.json` holds, absent parts of a model too."""
    absent = (
        ("front=null",) if task == "speech_commands" else ("preset=" + min(TASKS[task].presets),)
    )
    for assignments in ((), CHANGED[task], absent):
        spec = TASKS[task].spec("data", assignments)
        text = json.dumps(overrides.to_dict(spec))
        assert TASKS[task].spec_from_dict(json.loads(text)) == spec


def test_a_path_or_its_end_names_a_setting() -> None:
    """Long paths are for ambiguous names only."""
    spec = TASKS["speech_commands"].spec()
    for key in ("model.front.num_mel_bins", "front.num_mel_bins", "num_mel_bins"):
        front = overrides.override(spec, f"{key}=32").model.front
        assert front == dataclasses.replace(spec.model.front, num_mel_bins=32)


def test_bare_words_are_text() -> None:
    """Nobody quotes JSON strings on a command line."""
    spec = TASKS["speech_commands"].spec(
        assignments=["cell=lstm", "words=yes, no", "noise=folder/of noise", "layer_norm=True"]
    )
    assert spec.model == dataclasses.replace(
        TASKS["speech_commands"].model, cell="lstm", layer_norm=True
    )
    assert spec.pipeline.words == ("yes", "no")
    assert spec.pipeline.noise == "folder/of noise"


@pytest.mark.parametrize("text", [".005", "5.e-3", "+.5E-2", "0.005"])
def test_a_number_may_lack_a_digit_beside_its_point(text: str) -> None:
    """JSON wants one on both sides; people do not write it."""
    spec = TASKS["speech_commands"].spec(assignments=[f"learning_rate={text}"])
    assert spec.train.learning_rate == 0.005


def test_folders_are_known_by_their_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed from another directory finds its noise again."""
    (tmp_path / "hum").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = TASKS["speech_commands"].spec(assignments=["noise=hum", "rooms=none/such"])
    assert spec.pipeline.noise == str(tmp_path / "hum") and spec.pipeline.rooms == "none/such"


def test_convolutions_and_front_are_given_as_json() -> None:
    """A CRNN is made on the command line."""
    spec = TASKS["speech_commands"].spec(
        assignments=[
            'convolutions=[{"filters": 8}, {"kernel_frequency": 0}]',
            'front={"kind": "mfcc"}',
        ]
    )
    assert spec.model.convolutions == (ConvSpec(filters=8), ConvSpec(kernel_frequency=0))
    assert spec.model.front == FrontSpec(kind="mfcc")
    assert TASKS["speech_commands"].spec(assignments=["front=null"]).model.front is None


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("dropuot=0.5", "Did you mean .*model.dropout"),
        ("model.front.unit=3", "Did you mean model.units.*Valid names: task, data, model"),
        ("zzzz=1", r"no setting `zzzz`\. Valid names: task, data"),
        ("seed=3", "ambiguous. Say which one: train.seed, evaluation.seed"),
        ("units", "must be key=value"),
        ("=3", "no setting ``"),
        ('convolutions=[{"filter": 8}]', "ConvSpec has no field `filter`. Valid names: filters"),
    ],
)
def test_unknown_keys_are_answered_with_the_known(assignment: str, message: str) -> None:
    """A typing error is mended by reading its message."""
    with pytest.raises(ValueError, match=message):
        TASKS["speech_commands"].spec(assignments=[assignment])


def test_numpy_numbers_do_not_reach_json() -> None:
    """`units=array.shape[0] // 2` works; a NumPy integer would break `spec.json` later."""
    import numpy as np

    with pytest.raises(ValueError, match="`units` must be an integer"):
        RNNSpec(units=np.int64(3))  # type: ignore[arg-type]  that is what is tested


def test_preludes_and_xla_exclude_each_other() -> None:
    """The pair would train, hundreds of times slower; which was named first does not matter."""
    spec = TASKS["speech_commands"].spec
    with pytest.raises(ValueError, match="`prelude_share` must be 0 with jit_compile=true"):
        spec(assignments=["jit_compile=true"])
    assert spec(assignments=["jit_compile=true", "prelude_share=0"]).train.jit_compile
