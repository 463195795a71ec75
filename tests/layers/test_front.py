"""The front end equals NumPy's, frame by frame, and nothing of it looks ahead."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rnnapp.layers import LogMel
from rnnapp.layers.front import FLOOR, diagonal_blocks

# sample_rate, frame_length, frame_step, num_mel_bins, lower_hz, upper_hz
SETTINGS = [
    (16000, 400, 160, 40, 60.0, 7600.0),
    (8000, 200, 80, 12, 20.0, 4000.0),
    (16000, 512, 512, 5, 0.0, 8000.0),
    (8000, 82, 27, 24, 300.0, 3400.0),
]


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """The mel scale of the HTK toolkit."""
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)


def mel_filters(bands: int, bins: int, rate: int, lower: float, upper: float) -> np.ndarray:
    """Triangles between evenly spaced mels, (bands, bins); the constant bin belongs to none."""
    edges = np.linspace(hz_to_mel(lower), hz_to_mel(upper), bands + 2)
    mels = hz_to_mel(np.linspace(0, rate / 2, bins))
    left, centre, right = (edges[i : i + bands, None] for i in range(3))
    rising, falling = (mels - left) / (centre - left), (right - mels) / (right - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    triangles[:, 0] = 0
    return triangles


def log_mel(
    samples: np.ndarray, rate: int, length: int, step: int, bands: int, lower: float, upper: float
) -> np.ndarray:
    """Log-mel frames of (samples,) in float64, (timesteps, bands)."""
    samples = np.concatenate([np.zeros(length - step), samples])
    starts = range(0, len(samples) - length + 1, step)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    frames = np.array([samples[start : start + length] * hann for start in starts])
    size = 1 << (length - 1).bit_length()
    magnitudes = np.abs(np.fft.rfft(frames, size))
    return np.log(magnitudes @ mel_filters(bands, size // 2 + 1, rate, lower, upper).T + FLOOR)


def waveform(rate: int) -> np.ndarray:
    """A sweep over noise, loud, then soft, then silent: float32 (samples,)."""
    generator = np.random.default_rng(0)
    times = np.arange(rate // 2) / rate
    sweep = np.sin(2 * np.pi * rate / 3 * times**2)
    samples = 0.5 * sweep + 0.1 * generator.normal(size=len(times))
    samples *= np.repeat([1.0, 1e-3, 0.0], [rate // 4, rate // 8, len(times) - 3 * (rate // 8)])
    return samples.astype(np.float32)


@pytest.mark.parametrize("arguments", SETTINGS)
def test_log_mel_equals_numpy(arguments: tuple) -> None:
    """Other toolkits' features, and papers' figures, can be compared with these."""
    rate = arguments[0]
    frames = LogMel(*arguments)(waveform(rate)[None])[0]
    # Sums of up to 512 products in float32 are off by some 1e-6 of their size.
    np.testing.assert_allclose(frames, log_mel(waveform(rate), *arguments), rtol=0, atol=5e-5)


@pytest.mark.parametrize("arguments", SETTINGS[:2])
@pytest.mark.parametrize("num_mfcc", [1, 12])
def test_mfcc_is_the_dct_of_log_mel(arguments: tuple, num_mfcc: int) -> None:
    """The constant matrix stands for an operator that devices do not have."""
    samples = waveform(arguments[0])[None]
    bands = LogMel(*arguments)(samples).numpy()
    expected = scipy.fft.dct(bands, norm="ortho")[..., :num_mfcc]
    mfcc = LogMel(*arguments, num_mfcc=num_mfcc)(samples)
    np.testing.assert_allclose(mfcc, expected, rtol=0, atol=1e-4)  # sums of 40 floats around 7


@given(timesteps=st.integers(1, 12), rest=st.integers(0, 26), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_a_frame_hears_no_sample_after_its_own(timesteps: int, rest: int, seed: int) -> None:
    """Frame `t` ends with sample `(t + 1) * frame_step`, so that a stream can have it then."""
    layer, generator = LogMel(*SETTINGS[3]), np.random.default_rng(seed)
    samples = generator.uniform(-1, 1, 12 * 27).astype(np.float32)
    other = samples.copy()
    other[timesteps * 27 :] = generator.uniform(-1, 1, 12 * 27 - timesteps * 27)
    whole, changed = layer(samples[None]).numpy(), layer(other[None]).numpy()
    np.testing.assert_array_equal(changed[:, :timesteps], whole[:, :timesteps])
    cut = layer(samples[None, : timesteps * 27 + rest]).numpy()
    assert cut.shape == layer.compute_output_shape((1, timesteps * 27 + rest))
    np.testing.assert_array_equal(cut[:, :timesteps], whole[:, : cut.shape[1]][:, :timesteps])


@pytest.mark.parametrize("arguments", SETTINGS)
@pytest.mark.parametrize("frames_per_step", [1, 3])
def test_steps_make_the_frames_of_the_clip(arguments: tuple, frames_per_step: int) -> None:
    """A microphone's frames are those that the model was trained on."""
    layer, samples = LogMel(*arguments), waveform(arguments[0])[None]
    shapes = layer.state_shapes(samples.shape)
    states = {name: tf.zeros((1, *shape)) for name, shape in shapes.items()}
    size, frames = frames_per_step * layer.frame_step, []
    for start in range(0, samples.shape[1] - size + 1, size):
        new, states = layer.step(samples[:, start : start + size], states)
        frames.append(new)
    heard = np.concatenate(frames, axis=1)
    # The same kernels on fewer frames at a time: the last bit of an FFT, through the logarithm.
    np.testing.assert_allclose(heard, layer(samples)[:, : heard.shape[1]], rtol=0, atol=1e-5)


@given(
    matrix=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([0, 0, 0, 0.5]),
    ),
    count=st.integers(1, 8),
)
def test_blocks_are_the_matrix(matrix: np.ndarray, count: int) -> None:
    """Space is saved by leaving out zeros alone."""
    blocks = diagonal_blocks(matrix, min(count, len(matrix)))
    rows = []
    for start, stop, block in blocks:
        rows.append(np.zeros((len(block), matrix.shape[1]), np.float32))
        rows[-1][:, start:stop] = block
    np.testing.assert_array_equal(np.concatenate(rows), matrix)


def test_a_band_above_half_the_sample_rate_is_refused() -> None:
    """There is nothing to hear up there."""
    with pytest.raises(ValueError, match="`upper_hz` must be at most half of sample_rate=8000"):
        LogMel(8000, 200, 80, upper_hz=4001.0)
