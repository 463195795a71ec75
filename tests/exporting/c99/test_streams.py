"""Streams of one program share nothing, and their states are all that they keep."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from .conftest import SAMPLES_A_FRAME, Streams, waveform


@pytest.fixture
def streams(program: Path, tmp_path: Path) -> Streams:
    """The program, compiled."""
    return Streams(program, tmp_path)


def test_streams_do_not_hear_each_other(streams: Streams) -> None:
    """One model serves two microphones; a state that hid in the code would be shared."""
    size = 2 * SAMPLES_A_FRAME
    heard = [waveform(20, seed).reshape(-1, size) for seed in range(2)]
    alone = []
    for x in heard:
        state = streams.new()
        alone.append([streams.step(state, samples) for samples in x])
    states = [streams.new(), streams.new()]
    for t in range(len(heard[0])):
        for x, state, expected in zip(heard, states, alone, strict=True):
            np.testing.assert_array_equal(streams.step(state, x[t]), expected[t])
    assert np.abs(np.array(alone[0]) - alone[1]).max() > 1e-4


def test_a_reset_begins_anew(streams: Streams) -> None:
    """Whatever was heard before, or in memory before."""
    (x, other), state = waveform(40).reshape(2, -1, 2 * SAMPLES_A_FRAME), streams.new()
    first = [streams.step(state, samples) for samples in x]
    for samples in other:
        streams.step(state, samples)
    streams.code.rnnapp_reset(ctypes.c_void_p(state.ctypes.data))
    np.testing.assert_array_equal([streams.step(state, samples) for samples in x], first)


def test_nothing_is_kept_but_the_states(streams: Streams) -> None:
    """An export's states are all there is to carry along: the rest of the struct is scratch."""
    assert 0 < streams.kept < len(streams.new())
    x, states = waveform(20).reshape(-1, 2 * SAMPLES_A_FRAME), [streams.new(), streams.new()]
    for samples in x:
        states[1][streams.kept :] = np.nan
        one, other = (streams.step(state, samples) for state in states)
        np.testing.assert_array_equal(one, other)
