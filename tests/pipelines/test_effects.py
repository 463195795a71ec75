"""Each effect does to every clip of a batch what its numbers say, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import effects, rooms

RATE = 16000


def tones(*hertz: float, samples: int = RATE, width: int | None = None) -> tf.Tensor:
    """Sines of these frequencies, a row each."""
    times = np.arange(samples) / RATE
    waves = np.stack([0.3 * np.sin(2 * np.pi * h * times) for h in hertz]).astype(np.float32)
    return tf.constant(np.pad(waves, [(0, 0), (0, (width or samples) - samples)]))


def speechlike(batch: int, width: int, lengths: list[int], seed: int = 0) -> tf.Tensor:
    """Noise with a slow envelope, zero past each length."""
    waves = np.random.default_rng(seed).normal(size=(batch, width)).astype(np.float32)
    waves *= 0.1 * (1.2 + np.sin(np.arange(width) / 500))
    return tf.constant(waves * (np.arange(width) < np.array(lengths)[:, None]), tf.float32)


def loudest_frequency(samples: np.ndarray) -> float:
    """The frequency with the most energy, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE / len(samples))


def power_db(waveform: np.ndarray) -> np.ndarray:
    """Mean power of each row, in dB."""
    return 10 * np.log10(np.mean(np.square(waveform, dtype=np.float64), axis=-1))


def int32(*values: int) -> tf.Tensor:
    """A vector of lengths or places."""
    return tf.constant(values, tf.int32)


def float32(*values: float) -> tf.Tensor:
    """A vector of parameters."""
    return tf.constant(values, tf.float32)


def test_gain_is_exact() -> None:
    """A gain in dB is that gain."""
    waveform = tones(300, 300, 300)
    louder = effects.change_gain(waveform, float32(-20, 0, 6.5)).numpy()
    assert power_db(louder) - power_db(waveform) == pytest.approx([-20, 0, 6.5], abs=1e-4)


def test_noise_has_the_ratio_asked_for() -> None:
    """The signal-to-noise ratio measured on the output is the one that was asked for."""
    waveform, wanted = speechlike(4, RATE, [RATE] * 4), [-5.0, 0.0, 17.5, 40.0]
    hiss = speechlike(4, RATE, [RATE] * 4, seed=1) * 7
    lengths = int32(*[RATE] * 4)
    mixed, _ = effects.add_noise(waveform, lengths, hiss, float32(*wanted), lengths)
    heard = power_db(waveform) - power_db(mixed - waveform)
    assert heard == pytest.approx(wanted, abs=0.01)  # 40 dB below, float32 rounds by 1e-3 dB


def test_noise_fills_what_it_is_told_to() -> None:
    """Noise may run on past a clip; the ratio is of power while each lasts."""
    waveform = speechlike(2, 4000, [1000, 1000])
    hiss, fill = speechlike(2, 4000, [4000, 4000], seed=1), int32(4000, 1000)
    mixed, lengths = effects.add_noise(waveform, int32(1000, 1000), hiss, float32(10, 10), fill)
    added = (mixed - waveform).numpy()
    assert lengths.numpy().tolist() == [4000, 1000]
    assert power_db(waveform[0, :1000]) - power_db(added[0]) == pytest.approx(10, abs=0.01)
    assert power_db(waveform[1, :1000]) - power_db(added[1, :1000]) == pytest.approx(10, abs=0.01)
    assert (added[1, 1000:] == 0).all()


def test_silent_noise_adds_nothing() -> None:
    """Noise without sound makes no NaN."""
    waveform, lengths = speechlike(1, 100, [100]), int32(100)
    mixed, _ = effects.add_noise(waveform, lengths, tf.zeros([1, 100]), float32(3), lengths)
    assert (mixed.numpy() == waveform.numpy()).all()


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_speed_scales_frequency_and_length(speed: float) -> None:
    """Twice as fast is an octave up and half as long."""
    waveform, lengths = effects.change_speed(
        tones(500, 1000, samples=12000, width=RATE), int32(12000, 12000), float32(speed, speed)
    )
    assert lengths.numpy().tolist() == [round(12000 / speed)] * 2
    for row, hertz in zip(waveform.numpy(), (500, 1000), strict=True):
        assert loudest_frequency(row[: lengths[0]]) == pytest.approx(hertz * speed, abs=2)
        assert (row[lengths[0] :] == 0).all()


@pytest.mark.parametrize("semitones", [-3.0, 0.0, 2.0, 4.0])
def test_pitch_moves_frequency_and_keeps_length(semitones: float) -> None:
    """A shift of twelve semitones is an octave; the duration and level stay."""
    waveform = tones(220, 1000, samples=14000, width=RATE)
    shifted, lengths = effects.shift_pitch(
        waveform, int32(14000, 14000), float32(semitones, semitones)
    )
    assert lengths.numpy().tolist() == [14000, 14000] and shifted.shape == waveform.shape
    assert (shifted.numpy()[:, 14000:] == 0).all()
    for row, hertz in zip(shifted.numpy(), (220, 1000), strict=True):
        middle = row[2000:12000]
        assert loudest_frequency(middle) == pytest.approx(hertz * 2 ** (semitones / 12), abs=3.2)
        # The whole clip keeps its level; a steady tone wavers by a fraction of a dB in it.
        assert power_db(middle) == pytest.approx(power_db(waveform[0, :14000]), abs=0.5)
    assert power_db(shifted) == pytest.approx(power_db(waveform), abs=1e-3)


def test_pitch_keeps_the_time_of_sounds() -> None:
    """A burst in the middle of silence stays where it was."""
    burst = np.zeros((1, RATE), np.float32)
    burst[0, 9000:9800] = tones(400, samples=800)[0]
    for semitones in (-4.0, 4.0):
        shifted, _ = effects.shift_pitch(tf.constant(burst), int32(RATE), float32(semitones))
        energy = shifted.numpy()[0] ** 2
        centre = np.arange(RATE) @ energy / energy.sum()
        assert centre == pytest.approx(9400, abs=256)  # half a frame


@given(start=st.integers(-300, 300), length=st.integers(1, 320), width=st.integers(300, 400))
@settings(max_examples=50, deadline=None)
def test_move_puts_the_clip_where_it_says(start: int, length: int, width: int) -> None:
    """The clip is found again at its place, whole but for what hangs over an edge."""
    clip = np.arange(1, length + 1, dtype=np.float32)
    waveform = np.pad(clip, (0, 320 - length))[None]
    moved, lengths = effects.move(tf.constant(waveform), int32(length), int32(start), width)
    place = start // 16 * 16
    window = np.zeros(width + 2 * 1000, np.float32)
    window[1000 + place : 1000 + place + length] = clip
    assert (moved.numpy()[0] == window[1000 : 1000 + width]).all()
    assert int(lengths[0]) == np.clip(place + length, 1, width)


def test_room_keeps_time_and_level() -> None:
    """The direct path stays in place, the level too, and the echo makes the clip longer."""
    click = np.zeros((1, 8000), np.float32)
    click[0, 2000] = 0.5
    response = rooms.simulate(0.3, RATE, 1600, np.random.default_rng(0))
    bins = effects.fft_bins(8000, 1600)
    heard, lengths = effects.filter_clips(
        tf.constant(click),
        int32(2001),
        tf.constant(response[None], tf.float32),
        tf.zeros([1, bins]),
    )
    heard = heard.numpy()[0]
    assert np.argmax(np.abs(heard)) == 2000 and np.abs(heard[:2000]).max() < 1e-6
    assert int(lengths[0]) == 3600 and np.abs(heard[2001:3600]).max() > 0.01
    assert np.sum(heard**2) == pytest.approx(0.25, rel=1e-4)
    assert np.allclose(heard[2000:3600], 0.5 * response, atol=1e-6)


def test_equalizer_has_the_response_asked_for() -> None:
    """Each frequency comes out by its gain, up to the level that is kept for the whole clip."""
    bins = effects.fft_bins(RATE, 1)
    gains = tf.where(tf.range(bins) * RATE // (2 * (bins - 1)) < 1000, 0.0, -12.0)[None]
    waveform = tones(500) + tones(2000)
    heard, _ = effects.filter_clips(waveform, int32(RATE), tf.ones([1, 1]), gains)
    spectrum = np.abs(np.fft.rfft(heard.numpy()[0]))
    assert 20 * np.log10(spectrum[500] / spectrum[2000]) == pytest.approx(12, abs=0.1)
    assert power_db(heard) == pytest.approx(power_db(waveform), abs=1e-3)


def test_clipping_cuts_off_peaks() -> None:
    """Six dB of clipping halve the peak and leave what lies below alone."""
    waveform = tones(100, 100)
    cut = effects.clip_peaks(waveform, float32(6.0206, 0)).numpy()
    assert np.abs(cut[0]).max() == pytest.approx(0.15, rel=1e-4)
    quiet = np.abs(waveform[0]) < 0.149
    assert (cut[0][quiet] == waveform[0].numpy()[quiet]).all()
    assert (cut[1] == waveform[1].numpy()).all()


TRANSFORMS: dict[str, Callable[[tf.Tensor, tf.Tensor], effects.Batch]] = {
    "speed": lambda w, n: effects.change_speed(w, n, float32(0.9, 1.1)),
    "pitch": lambda w, n: effects.shift_pitch(w, n, float32(-2, 3)),
    "move": lambda w, n: effects.move(w, n, int32(-160, 160), tf.shape(w)[1]),
    "filter": lambda w, n: effects.filter_clips(
        w,
        n,
        tf.constant([[1.0, 0, 0.3], [1, -0.2, 0]]),
        tf.linspace(0.0, -9.0, effects.fft_bins(tf.shape(w)[1], 3))[None],
    ),
    "noise": lambda w, n: effects.add_noise(
        w,
        n,
        tf.sin(tf.range(tf.shape(w)[1], dtype=tf.float32))[None] * tf.ones([2, 1]),
        float32(5, 20),
        n,
    ),
    "clipping": lambda w, n: (effects.clip_peaks(w, float32(3, 9)), n),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_more_padding_changes_nothing(name: str) -> None:
    """A clip comes out the same in a wider batch, with zeros past its length in both."""
    lengths = [4000, 3000]
    narrow = TRANSFORMS[name](speechlike(2, 5000, lengths), int32(*lengths))
    wide = TRANSFORMS[name](
        tf.pad(speechlike(2, 5000, lengths), [[0, 0], [0, 3000]]), int32(*lengths)
    )
    assert (narrow[1].numpy() == wide[1].numpy()).all()
    for waveform, sizes in (narrow, wide):
        for row, size in zip(waveform.numpy(), sizes.numpy(), strict=True):
            assert (row[size:] == 0).all()
    for a, b, size in zip(narrow[0].numpy(), wide[0].numpy(), narrow[1].numpy(), strict=True):
        # FFTs of other sizes, and positions scaled by another width, round differently.
        assert np.abs(a[:size] - b[:size]).max() < 2e-3
