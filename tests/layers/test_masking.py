"""Padding is nowhere heard: not in the answer, not in the statistics of a batch."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp import builders
from rnnapp.layers import CELLS, PadMarker
from rnnapp.layers.pooling import KINDS
from rnnapp.specs import ConvSpec, FrontSpec, RNNSpec

from .conftest import CONVOLUTIONS, FEATURES, feature_model, sequences, shuffled

TIMESTEPS = 6
GARBAGE = st.sampled_from([0.0, 1.0, -1e9, 1e30, np.inf, np.nan])

# Float32 kernels sum wider batches in another order; a leak would show at full size.
close = {"rtol": 0, "atol": 1e-5}


def padded(x: np.ndarray, lengths: np.ndarray, timesteps: int, garbage: float) -> np.ndarray:
    """The sequences with `garbage` past their lengths, (batch, timesteps, ...)."""
    wide = np.full((len(x), timesteps, *x.shape[2:]), garbage, np.float32)
    for row, sequence, length in zip(wide, x, lengths, strict=True):
        row[:length] = sequence[:length]
    return wide


def sequence(batch: int) -> np.ndarray:
    """One sequence in every row, float32 (batch, TIMESTEPS, FEATURES)."""
    return np.repeat(sequences(1, TIMESTEPS), batch, axis=0)


@functools.cache
def by_length(cell: str, pooling: str, convolutions: tuple[ConvSpec, ...]) -> np.ndarray:
    """The answers to the sequence cut to each length from 0 on, (TIMESTEPS + 1, classes)."""
    lengths = np.arange(TIMESTEPS + 1)
    x = padded(sequence(len(lengths)), lengths, TIMESTEPS, 0.0)
    answers = feature_model(cell, pooling, convolutions)([x, lengths]).numpy()
    assert np.abs(answers).max() < 100  # an empty sequence has an answer, too
    return answers


@pytest.mark.parametrize("convolutions", [(), CONVOLUTIONS], ids=["", "conv"])
@pytest.mark.parametrize("pooling", ["last", *KINDS])
@pytest.mark.parametrize("cell", CELLS)
@given(
    lengths=st.lists(st.integers(0, TIMESTEPS), min_size=3, max_size=3),
    more=st.integers(0, 4),
    garbage=GARBAGE,
)
@settings(max_examples=4, deadline=None)
def test_more_padding_changes_nothing(
    cell: str,
    pooling: str,
    convolutions: tuple[ConvSpec, ...],
    lengths: list[int],
    more: int,
    garbage: float,
) -> None:
    """A clip is answered alike in any batch, whatever fills the batch up."""
    model, true = feature_model(cell, pooling, convolutions), np.array(lengths)
    answers = model([padded(sequence(3), true, TIMESTEPS + more, garbage), true])
    np.testing.assert_allclose(answers, by_length(cell, pooling, convolutions)[true], **close)


@pytest.mark.parametrize("cell", CELLS)
def test_both_directions_ignore_padding(cell: str) -> None:
    """The backward half would begin with the padding."""
    model, x, true = feature_model(cell, "last", bidirectional=True), sequences(3, 9), [9, 4, 1]
    expected = model([padded(x, np.array(true), 9, 0.0), np.array(true)])
    answers = model([padded(x, np.array(true), 14, np.nan), np.array(true)])
    np.testing.assert_allclose(answers, expected, **close)


@given(
    lengths=st.lists(st.integers(0, 800), min_size=3, max_size=3),
    more=st.integers(0, 400),
    garbage=GARBAGE,
)
@settings(max_examples=10, deadline=None)
def test_waveforms_are_padded_in_samples(lengths: list[int], more: int, garbage: float) -> None:
    """Frames that the true length does not fill are padding, and no frame reaches past it."""
    true = np.array(lengths)
    x = np.random.default_rng(0).uniform(-1, 1, (3, 800)).astype(np.float32)
    expected = waveform_model([padded(x, true, 800, 0.0), true])
    answers = waveform_model([padded(x, true, 800 + more, garbage), true])
    # A louder bin moves the whole FFT's rounding: relative 1e-6 of a frame, through the logarithm.
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-4)


waveform_model = shuffled(
    builders.many_to_one(
        RNNSpec(
            units=4,
            num_layers=1,
            pooling="mean_max",
            convolutions=CONVOLUTIONS,
            front=FrontSpec(
                num_mel_bins=FEATURES, frame_length_ms=10, frame_step_ms=5, mean_seconds=0.05
            ),
        ),
        3,
        sample_rate=8000,
        window=0.05,
    )
)


@pytest.mark.parametrize("garbage", [0.0, 1e30])
def test_padding_stays_out_of_training(garbage: float) -> None:
    """Normalising by padding would make a clip's loss depend on its neighbours' lengths."""
    spec = RNNSpec(units=4, dropout=0.0, pooling="max", convolutions=CONVOLUTIONS)
    model = shuffled(builders.many_to_one(spec, 3, num_features=FEATURES))
    x, true = sequences(3, 9), np.array([9, 4, 2])
    statistics = model.get_layer("conv_1").normalization.moving_mean
    before = statistics.numpy()
    expected = model([padded(x, true, 9, 0.0), true], training=True)
    moved = statistics.numpy()
    assert np.abs(moved - before).max() > 1e-4
    statistics.assign(before)
    answers = model([padded(x, true, 15, garbage), true], training=True)
    np.testing.assert_allclose(answers, expected, **close)
    np.testing.assert_allclose(statistics.numpy(), moved, **close)


def test_real_frames_of_zeros_are_heard() -> None:
    """Digital silence is not padding, though Keras' own default takes zeros for it."""
    model, x = feature_model("gru", "last"), sequences(1, 6)
    x[:, 4:] = 0.0
    heard, unheard = (model([x, np.array([length])]).numpy() for length in (6, 4))
    assert np.abs(heard - unheard).max() > 1e-3


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4), stride=st.integers(1, 7))
def test_whole_timesteps_count(lengths: list[int], stride: int) -> None:
    """A stream cannot hear the beginning of a frame, so a clip does not either."""
    frames = np.ones((len(lengths), 12, 1), np.float32)
    marked = PadMarker(stride)(frames, np.array(lengths)).numpy()
    assert (marked[..., 0] == 1).sum(axis=1).tolist() == [min(12, n // stride) for n in lengths]
