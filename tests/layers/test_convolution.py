"""Convolutions over time know no future."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.layers import CausalConv

from .conftest import shuffled

TIMESTEPS, BANDS, CHANNELS = 9, 5, 2

shapes = st.fixed_dictionaries(
    {
        "kernel_time": st.integers(1, 4),
        "kernel_frequency": st.integers(0, 4),
        "stride_time": st.integers(1, 3),
        "stride_frequency": st.integers(1, 3),
    }
).filter(lambda shape: shape["kernel_time"] >= shape["stride_time"])


def images(seed: int, timesteps: int = TIMESTEPS) -> np.ndarray:
    """Float32 (1, timesteps, BANDS, CHANNELS)."""
    shape = (1, timesteps, BANDS, CHANNELS)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def made(shape: dict[str, int]) -> CausalConv:
    """A layer with drawn weights."""
    layer = CausalConv(3, **shape)
    layer.build((None, None, BANDS, CHANNELS))
    return shuffled(layer)


@given(shape=shapes, heard=st.integers(0, TIMESTEPS))
@settings(max_examples=15, deadline=None)
def test_the_future_does_not_change_the_past(shape: dict[str, int], heard: int) -> None:
    """A stream gives an answer before it knows what comes."""
    layer, x, other = made(shape), images(0), images(1)
    other[:, :heard] = x[:, :heard]
    whole, changed = layer(x).numpy(), layer(other).numpy()
    past = heard // shape["stride_time"]
    np.testing.assert_array_equal(changed[:, :past], whole[:, :past])
    assert whole.shape == layer.compute_output_shape(x.shape)


@given(shape=shapes)
@settings(max_examples=15, deadline=None)
def test_an_output_hears_the_newest_frames(shape: dict[str, int]) -> None:
    """The kernel ends with the newest frame: an output that came late would be causal, too."""
    layer, x = made(shape), tf.constant(images(0))
    layer.normalization.beta.assign(np.full(3, 99.0))  # no output is cut off at zero
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x)[:, -1]
    heard = np.flatnonzero(tape.gradient(outputs, x).numpy().any(axis=(0, 2, 3)))
    end = TIMESTEPS // shape["stride_time"] * shape["stride_time"]
    assert heard.tolist() == list(range(max(0, end - shape["kernel_time"]), end))


@given(shape=shapes, outputs=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_steps_make_the_outputs_of_the_clip(shape: dict[str, int], outputs: int) -> None:
    """A stream of any step is convolved like the clip."""
    layer, x = made(shape), images(0, 2 * TIMESTEPS)
    states = {name: tf.zeros((1, *s)) for name, s in layer.state_shapes(x.shape).items()}
    size, heard = outputs * shape["stride_time"], []
    for start in range(0, x.shape[1] - size + 1, size):
        new, states = layer.step(x[:, start : start + size], states)
        heard.append(new)
    streamed = np.concatenate(heard, axis=1)
    # The same products, summed in another order.
    np.testing.assert_allclose(streamed, layer(x)[:, : streamed.shape[1]], rtol=0, atol=1e-5)


def test_a_kernel_shorter_than_its_stride_is_refused() -> None:
    """Frames would go unheard."""
    with pytest.raises(ValueError, match="`kernel_time` must be at least stride_time=3"):
        CausalConv(3, kernel_time=2, kernel_frequency=1, stride_time=3)
