"""Models are what their specs say: no setting is ignored, no input is misnamed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from typing import Any

import keras
import numpy as np
import pytest

from rnnapp import builders
from rnnapp.layers import CELLS
from rnnapp.specs import ConvSpec, EmbeddingSpec, FrontSpec, RNNSpec

# A model in which every setting has something to act on, and another value for each.
BASE = RNNSpec(
    units=4,
    num_layers=1,
    pooling="attention",
    num_heads=2,
    convolutions=(ConvSpec(2, 3, 3),),
    front=FrontSpec(
        "mfcc", num_mel_bins=12, num_mfcc=8, mean_seconds=0.1, time_masks=1, frequency_masks=1
    ),
)
READER = RNNSpec(units=4, num_layers=1, embedding=EmbeddingSpec())
OTHER: dict[str, Any] = {
    "cell": "lstm",
    "units": 6,
    "num_layers": 3,
    "last_units": 8,
    "bidirectional": True,
    "dropout": 0.3,
    "head_dropout": 0.4,
    "recurrent_dropout": 0.2,
    "layer_norm": True,
    "pooling": "mean",
    "num_heads": 1,
    "convolutions": (),
    "front": FrontSpec(),
    "embedding": EmbeddingSpec(),
}
OTHER_EMBEDDING: dict[str, Any] = {"dim": 6, "token_dropout": 0.2, "dropout": 0.3}
OTHER_FRONT: dict[str, Any] = {
    "kind": "log_mel",
    "frame_length_ms": 30.0,
    "frame_step_ms": 5.0,
    "num_mel_bins": 16,
    "num_mfcc": 6,
    "lower_hz": 90.0,
    "upper_hz": 3000.0,
    "mean_seconds": 0.2,
    "time_masks": 2,
    "prelude_share": 0.25,
    "time_mask_ms": 50.0,
    "frequency_masks": 2,
    "frequency_mask_bins": 3,
}
OTHER_CONVOLUTION: dict[str, Any] = {
    "filters": 3,
    "kernel_time": 4,
    "kernel_frequency": 0,
    "stride_time": 2,
    "stride_frequency": 1,
}


def built(spec: RNNSpec, **arguments: Any) -> keras.Model:
    """A model of waveforms at 8 kHz, or of seven tokens, with three classes."""
    size = {"vocabulary_size": 7} if spec.embedding else {"sample_rate": 8000}
    return builders.many_to_one(spec, 3, **{"window": 0.5, **size, **arguments})


def description(spec: RNNSpec) -> str:
    """A model's config, without the numbers that Keras gives to anonymous operations."""
    return re.sub(r"_\d+", "", json.dumps(built(spec).get_config(), sort_keys=True))


def variants() -> dict[str, RNNSpec]:
    """`BASE` with one field changed, for every field of the three specs."""
    front, convolution = BASE.front, BASE.convolutions[0]
    assert front is not None
    replace = dataclasses.replace
    return {
        **{n: replace(BASE, **{n: v}) for n, v in OTHER.items() if n != "embedding"},
        **{
            f"embedding.{n}": replace(READER, embedding=replace(EmbeddingSpec(), **{n: v}))
            for n, v in OTHER_EMBEDDING.items()
        },
        **{
            f"front.{n}": replace(BASE, front=replace(front, **{n: v}))
            for n, v in OTHER_FRONT.items()
        },
        **{
            f"convolutions.{n}": replace(BASE, convolutions=(replace(convolution, **{n: v}),))
            for n, v in OTHER_CONVOLUTION.items()
        },
    }


def test_every_field_is_tried() -> None:
    """A field that joins a spec joins this test."""
    for kind, other in (
        (RNNSpec, OTHER),
        (FrontSpec, OTHER_FRONT),
        (EmbeddingSpec, OTHER_EMBEDDING),
        (ConvSpec, OTHER_CONVOLUTION),
    ):
        assert set(other) == {field.name for field in dataclasses.fields(kind)}


@pytest.fixture(scope="module")
def base() -> set[str]:
    """The descriptions of `BASE` and `READER`, which are the same each time."""
    described = {description(BASE), description(READER)}
    assert described == {description(BASE), description(READER)}
    return described


@pytest.mark.parametrize("name", variants())
def test_no_setting_is_ignored(name: str, base: set[str]) -> None:
    """A setting that changes nothing is a lie on the command line."""
    assert description(variants()[name]) not in base


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_inputs_and_outputs_have_their_names(cell: str, bidirectional: bool) -> None:
    """Exports and pipelines meet a model by these names."""
    spec = RNNSpec(cell, units=4, bidirectional=bidirectional)
    model = builders.many_to_one(spec, 5, num_features=6)
    assert [x.name for x in model.inputs] == ["features", "lengths"]
    assert model.inputs[0].shape == (None, None, 6)
    assert model.outputs[0].shape == (None, 5)
    assert model.layers[-1].name == "logits"


def test_a_front_makes_the_input_a_waveform() -> None:
    """One channel of any length, in samples."""
    model = built(BASE)
    assert [(x.name, x.shape) for x in model.inputs] == [
        ("waveform", (None, None)),
        ("lengths", (None,)),
    ]


@pytest.mark.parametrize("samples", [0, 1, 79, 80, 200, 479])
def test_a_waveform_shorter_than_a_step_is_answered(samples: int) -> None:
    """A click of a few samples is no frame, and no reason to fail in a server."""
    convolutions = tuple(ConvSpec(2, 3, 3, stride_time=stride) for stride in (2, 3))
    model = built(dataclasses.replace(BASE, convolutions=convolutions))
    longer = np.zeros((1, 4000), np.float32)
    longer[:, :samples] = 0.1
    lengths = np.array([samples])
    short = model([longer[:, :samples], lengths])
    # the same numbers summed in arrays of another size
    np.testing.assert_allclose(short, model([longer, lengths]), atol=1e-6)


@pytest.mark.parametrize(("stride", "timesteps"), [((), 50), ((2,), 25), ((2, 3), 8)], ids=str)
def test_the_window_is_counted_in_pooled_timesteps(stride: tuple[int, ...], timesteps: int) -> None:
    """Half a second is 50 frames of 10 ms, and half as many after a stride of two."""
    convolutions = tuple(ConvSpec(2, 3, 3, stride_time=s) for s in stride)
    model = built(dataclasses.replace(BASE, convolutions=convolutions))
    assert model.get_layer("pooling").window == timesteps
    assert built(BASE, window=None).get_layer("pooling").window is None


def test_the_window_of_features_is_counted_in_their_timesteps() -> None:
    """There is no knowing how many features there are in a second."""
    spec = RNNSpec(units=4, pooling="mean", convolutions=(ConvSpec(2, 3, 3, stride_time=2),))
    model = builders.many_to_one(spec, 3, num_features=6, window=8)
    assert model.get_layer("pooling").window == 4


def test_a_band_edge_is_lowered_to_what_the_rate_can_carry() -> None:
    """The default edge is made for 16 kHz; at 8 kHz all that there is is heard."""
    assert built(BASE).get_layer("mfcc").settings["upper_hz"] == 4000


def test_dropout_and_masks_act_in_training_alone() -> None:
    """The same input gets the same answer, whenever it is asked."""
    model = built(dataclasses.replace(BASE, dropout=0.5, recurrent_dropout=0.5))
    inputs = [
        np.random.default_rng(0).uniform(-1, 1, (2, 4000)).astype(np.float32),
        np.array([4000, 3000]),
    ]
    first, second = model(inputs), model(inputs)
    np.testing.assert_array_equal(first, second)
    assert np.abs(model(inputs, training=True) - first).max() > 1e-3


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (RNNSpec(), "num_features"),
        (RNNSpec(front=FrontSpec()), "sample_rate"),
        (RNNSpec(embedding=EmbeddingSpec()), "vocabulary_size"),
    ],
)
@pytest.mark.parametrize("given", list(itertools.product([None, 6], repeat=3)))
def test_each_kind_of_input_has_one_size(
    spec: RNNSpec, wanted: str, given: tuple[int | None, ...]
) -> None:
    """Features, waveforms and tokens are not taken for each other."""
    sizes = dict(zip(("num_features", "sample_rate", "vocabulary_size"), given, strict=True))
    if [name for name, size in sizes.items() if size] == [wanted]:
        return
    with pytest.raises(ValueError, match=f"must get `{wanted}`.*Received: sample_rate="):
        builders.many_to_one(spec, 3, **sizes)  # type: ignore[arg-type]
