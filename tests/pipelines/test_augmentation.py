"""Augmentation does to every clip what its numbers say, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import augmentation, effects, noise, rooms
from pipelines.audio_spec import NO_AUGMENTATION, AudioSpec, AugmentationSpec
from pipelines.base import BadInputs

RATE = 16000
ALWAYS = {name: 1.0 for name in vars(AugmentationSpec()) if name.endswith("_probability")}


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


def sources(spec: AudioSpec) -> augmentation.Sources:
    """Generated noise and rooms."""
    bad = BadInputs("stop")
    return augmentation.Sources(noise.bank([], spec, 0, bad), rooms.bank(spec, 0, bad))


def augmented(spec: AudioSpec, key: tuple[int, int], lengths: list[int]) -> effects.Batch:
    """Clips of these lengths after all of `spec`."""
    width = spec.window or max(lengths)
    return augmentation.augment(
        speechlike(len(lengths), width, lengths),
        int32(*lengths),
        tf.constant(key),
        spec,
        sources(spec),
    )


@pytest.mark.parametrize("clip_seconds", [0.5, None])
def test_everything_at_once_keeps_the_mask_honest(clip_seconds: float | None) -> None:
    """With all augmentations on, all is finite, and silent past every length."""
    spec = AudioSpec(clip_seconds=clip_seconds, augmentation=AugmentationSpec(**ALWAYS))
    lengths = [8000, 5000, 1000, 1]
    waveform, new = augmented(spec, (1, 2), lengths)
    assert np.isfinite(waveform).all() and np.abs(waveform).max() > 0
    if clip_seconds:  # noise fills the window
        assert waveform.shape == (4, 8000) and (new.numpy() == 8000).all()
    else:
        assert (new.numpy() >= 1).all() and int(tf.reduce_max(new)) <= waveform.shape[1]
    for row, length in zip(waveform.numpy(), new.numpy(), strict=True):
        assert (row[length:] == 0).all()


def test_all_off_changes_nothing() -> None:
    """With every probability at zero, clips pass through bit for bit."""
    lengths = [8000, 5000, 1]
    waveform, new = augmented(
        AudioSpec(clip_seconds=0.5, augmentation=NO_AUGMENTATION), (1, 2), lengths
    )
    assert (waveform.numpy() == speechlike(3, 8000, lengths).numpy()).all()
    assert new.numpy().tolist() == lengths


@pytest.mark.parametrize("name", [name.removesuffix("_probability") for name in ALWAYS])
def test_each_can_be_on_alone(name: str) -> None:
    """Each augmentation changes clips by itself, the same way for the same key only."""
    settings = replace(NO_AUGMENTATION, **{f"{name}_probability": 1.0}, babble_snr_db=(0, 0))
    spec = AudioSpec(clip_seconds=0.5, augmentation=settings)
    lengths = [8000, 6000, 4000, 7000]
    once, again, other = (
        augmented(spec, key, lengths)[0].numpy() for key in ((1, 2), (1, 2), (1, 3))
    )
    assert (once == again).all()
    assert (once != speechlike(4, 8000, lengths).numpy()).any()
    if name not in ("telephone", "babble"):  # these two draw nothing more when always on
        assert (once != other).any()


def test_probability_is_the_share_of_clips() -> None:
    """About as many clips are changed as the probability says: six standard deviations."""
    spec = AudioSpec(
        clip_seconds=0.01,
        augmentation=replace(NO_AUGMENTATION, gain_probability=0.25, gain_db=(-6, -6)),
    )
    waveform = tf.ones([4000, 160])
    changed, _ = augmentation.augment(
        waveform, tf.fill([4000], 160), tf.constant([3, 4]), spec, sources(spec)
    )
    share = np.mean(changed.numpy()[:, 0] != 1)
    assert abs(share - 0.25) < 6 * (0.25 * 0.75 / 4000) ** 0.5


def test_short_clip_lands_anywhere_in_its_window() -> None:
    """A short clip's place covers the window, and a long one hangs over by the shift at most."""
    spec = AudioSpec(
        clip_seconds=0.5,
        augmentation=replace(NO_AUGMENTATION, time_shift_probability=1.0, time_shift_ms=50.0),
    )
    clips = tf.concat([tf.ones([500, 800]), tf.zeros([500, 7200])], 1)
    moved, _ = augmentation.augment(
        clips, tf.fill([500], 800), tf.constant([5, 6]), spec, sources(spec)
    )
    begin = np.argmax(moved.numpy() != 0, axis=1)
    kept = np.sum(moved.numpy() != 0, axis=1)
    assert begin.min() < 400 and begin.max() > 7200 and kept.min() >= 400
    full, lengths = augmentation.augment(
        tf.ones([500, 8000]), tf.fill([500], 8000), tf.constant([5, 6]), spec, sources(spec)
    )
    kept = np.sum(full.numpy() != 0, axis=1)
    assert kept.min() >= 8000 - 816 and kept.max() == 8000  # 50 ms and one block
    assert lengths.numpy().min() < 8000


def test_coloured_noise_has_its_slope() -> None:
    """Pink noise falls by 3 dB an octave, brown by 6."""
    for exponent in (0.0, 1.0, 2.0):
        spectrum = np.abs(np.fft.rfft(noise.coloured(exponent, 2**18, 16000, 0))) ** 2
        hertz = np.fft.rfftfreq(2**18, 1 / RATE)
        low = 10 * np.log10(spectrum[(hertz > 200) & (hertz < 220)].mean())
        high = 10 * np.log10(spectrum[(hertz > 3200) & (hertz < 3520)].mean())
        assert low - high == pytest.approx(exponent * 10 * np.log10(16), abs=1)


def test_noise_starts_over_where_it_is_short() -> None:
    """A stretch longer than its noise repeats it without a gap, whatever its start."""
    ramp = tf.constant(np.arange(30, dtype=np.int16).reshape(3, 10))
    bank = noise.NoiseBank(ramp, int32(0), int32(3))
    drawn = bank.cut(float32(0, 0.3, 0.99), float32(0, 0.4, 0.99), 75).numpy() * 32768
    assert drawn.shape == (3, 75) and drawn[:, 0].tolist() == [0, 10, 20]
    assert (np.diff(drawn) % 30 == 1).all()


@pytest.mark.parametrize("decay", [0.1, 0.3, 0.6])
def test_simulated_room_decays_as_asked(decay: float) -> None:
    """The echo falls by 60 dB in the decay time (Schroeder's backward integral)."""
    responses = [rooms.simulate(decay, RATE, RATE, np.random.default_rng(i)) for i in range(20)]
    left = np.mean([np.cumsum(h[::-1] ** 2)[::-1] for h in responses], axis=0)
    begin, end = round(0.06 * RATE), round((0.06 + decay / 2) * RATE)
    # The average over twenty rooms scatters by about a dB.
    assert 10 * np.log10(left[begin] / left[end]) == pytest.approx(30, abs=3)
    assert all(np.argmax(np.abs(h)) == 0 for h in responses if h[0] > 0.5)
    assert np.sum(np.square(responses), axis=1) == pytest.approx(np.ones(20))


def test_recorded_room_begins_with_its_direct_path() -> None:
    """The delay before the first sound is cut off, a flipped polarity mended."""
    recorded = np.zeros(5000)
    recorded[700], recorded[900] = -0.8, 0.2
    response = rooms.align(recorded, 1000)
    assert np.argmax(np.abs(response)) == 0 and response[0] > 0
    assert response[200] / response[0] == pytest.approx(-0.25)
    assert np.sum(response**2) == pytest.approx(1)
