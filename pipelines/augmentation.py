"""Augmentation of batches of waveforms: what is done to which clip, all of it drawn by a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from pipelines import effects
from pipelines.audio_spec import AudioSpec, AugmentationSpec
from pipelines.effects import Batch
from pipelines.noise import NoiseBank

_EQUALIZER_POINTS = 10
_DRAWS = 40  # numbers drawn for a clip, at most


@dataclass(frozen=True)
class Sources:
    """What clips are mixed with.

    Args:
        noise: Background noise; None where no clip gets any.
        rooms: Impulse responses of unit energy, float32 (rooms, taps); the first is no room.
    """

    noise: NoiseBank | None
    rooms: tf.Tensor


class _Draws:
    """Independent random numbers, one for each clip of a batch.

    They come from one operation: every epoch builds the graph anew, and each node costs time.
    """

    def __init__(self, key: tf.Tensor, batch: tf.Tensor) -> None:
        self._numbers = iter(tf.unstack(tf.random.stateless_uniform([_DRAWS, batch], key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        return low + (high - low) * next(self._numbers)

    def happens(self, probability: float) -> tf.Tensor:
        return next(self._numbers) < probability


def augment(
    waveform: tf.Tensor, lengths: tf.Tensor, key: tf.Tensor, spec: AudioSpec, sources: Sources
) -> Batch:
    """Applies every augmentation of `spec`, in the order in which the world would.

    Args:
        waveform: Clips padded with zeros on the right, float32 (batch, samples).
        lengths: Their samples, int32 (batch,).
        key: Seed of all that is drawn, int (2,).
        spec: The settings.
        sources: Noise and rooms.

    Returns:
        Waveform and lengths; zeros past every length. Where clips have a window, its width is
        kept and noise fills it; else the width is that of the longest clip.
    """
    settings, draws = spec.augmentation, _Draws(key, tf.shape(lengths)[0])
    batch = _pitch_and_speed((waveform, lengths), draws, settings, spec.sample_rate)
    batch = _move(batch, draws, spec)
    batch = _filter(batch, draws, spec, sources.rooms)
    batch = _mix(batch, draws, spec, sources.noise)
    waveform, lengths = _level(batch, draws, settings)
    return tf.ensure_shape(waveform, [None, spec.window]), lengths


def _pitch_and_speed(
    batch: Batch, draws: _Draws, settings: AugmentationSpec, sample_rate: int
) -> Batch:
    if settings.pitch_probability:
        semitones = draws.uniform(*settings.pitch_semitones)
        frame_length = 4 * (sample_rate * 8 // 1000)  # 32 ms
        batch = _on_drawn(
            draws.happens(settings.pitch_probability),
            batch,
            lambda waveform, lengths, rows: effects.shift_pitch(
                waveform, lengths, tf.gather(semitones, rows), frame_length
            ),
        )
    if settings.speed_probability:
        slowest, fastest = settings.speed
        speed = tf.exp(draws.uniform(math.log(slowest), math.log(fastest)))
        batch = _on_drawn(
            draws.happens(settings.speed_probability),
            batch,
            lambda waveform, lengths, rows: effects.change_speed(
                waveform, lengths, tf.gather(speed, rows)
            ),
        )
    return batch


def _move(batch: Batch, draws: _Draws, spec: AudioSpec) -> Batch:
    """Moves clips inside their window, or by a little where they have none."""
    waveform, lengths = batch
    settings = spec.augmentation
    room = 0 if spec.window is None else spec.window - lengths
    width = spec.window or tf.reduce_max(lengths)
    hang = settings.time_shift_ms * spec.sample_rate / 1000
    low = tf.cast(tf.minimum(room, 0), tf.float32) - hang
    high = tf.cast(tf.maximum(room, 0), tf.float32) + hang
    start = tf.cast(low + draws.uniform() * (high - low), tf.int32)
    # Never push a whole clip out of its window.
    start = tf.clip_by_value(start, -lengths // 2, width - lengths // 2)
    kept = tf.minimum(room, 0) // 2 * tf.ones_like(lengths)  # an overlong clip's middle
    drawn = draws.happens(settings.time_shift_probability)
    return effects.move(waveform, lengths, tf.where(drawn, start, kept), width)


def _filter(batch: Batch, draws: _Draws, spec: AudioSpec, rooms: tf.Tensor) -> Batch:
    """Rooms, microphones and telephones, all by one pass of FFTs."""
    settings = spec.augmentation
    in_room = draws.happens(settings.room_probability)
    equalized = draws.happens(settings.equalizer_probability)
    telephone = draws.happens(settings.telephone_probability)
    room = 1 + tf.cast(draws.uniform() * (rooms.shape[0] - 1), tf.int32)
    room = tf.where(in_room, room, 0)
    loudest = settings.equalizer_db
    points = tf.stack([draws.uniform(-loudest, loudest) for _ in range(_EQUALIZER_POINTS)], axis=1)
    levels = tf.concat(
        [tf.where(equalized[:, None], points, 0.0), tf.cast(telephone, tf.float32)[:, None]], axis=1
    )
    bins = effects.fft_bins(spec.window or tf.shape(batch[0])[1], rooms.shape[1])
    curves = _frequency_curves(bins, spec.sample_rate)
    return _on_drawn(
        in_room | equalized | telephone,
        batch,
        lambda waveform, lengths, rows: effects.filter_clips(
            waveform,
            lengths,
            tf.gather(rooms, tf.gather(room, rows)),
            tf.gather(levels, rows) @ curves,
        ),
    )


def _mix(batch: Batch, draws: _Draws, spec: AudioSpec, noise: NoiseBank | None) -> Batch:
    """Other voices of the batch, played backwards so that no word can be told, then noise."""
    settings, waveform = spec.augmentation, batch[0]

    def babble(rows: tf.Tensor) -> tf.Tensor:
        others = [(rows + shift) % tf.shape(waveform)[0] for shift in (1, 2, 3, 5)]
        return tf.reverse(tf.add_n([tf.gather(waveform, other) for other in others]), [1])

    if settings.babble_probability:
        batch = _add(
            batch, draws, spec.window, settings.babble_snr_db, settings.babble_probability, babble
        )
    if noise is not None and settings.noise_probability:
        which, begin = draws.uniform(), draws.uniform()
        batch = _add(
            batch,
            draws,
            spec.window,
            settings.noise_snr_db,
            settings.noise_probability,
            lambda rows: noise.cut(
                tf.gather(which, rows), tf.gather(begin, rows), tf.shape(waveform)[1]
            ),
        )
    return batch


def _add(
    batch: Batch,
    draws: _Draws,
    window: int | None,
    snr_db: tuple[float, float],
    probability: float,
    noise: Callable[[tf.Tensor], tf.Tensor],
) -> Batch:
    """Adds `noise(rows)` to the drawn rows, over all of their window."""
    snr = draws.uniform(*snr_db)

    def apply(waveform: tf.Tensor, lengths: tf.Tensor, rows: tf.Tensor) -> Batch:
        fill = lengths if window is None else tf.fill([tf.size(rows)], window)
        return effects.add_noise(waveform, lengths, noise(rows), tf.gather(snr, rows), fill)

    return _on_drawn(draws.happens(probability), batch, apply)


def _level(batch: Batch, draws: _Draws, settings: AugmentationSpec) -> Batch:
    waveform, lengths = batch
    if settings.clipping_probability:
        drawn = draws.happens(settings.clipping_probability)
        depth = tf.where(drawn, draws.uniform(*settings.clipping_db), 0.0)
        waveform = effects.clip_peaks(waveform, depth)
    if settings.gain_probability:
        drawn = draws.happens(settings.gain_probability)
        gain = tf.where(drawn, draws.uniform(*settings.gain_db), 0.0)
        waveform = effects.change_gain(waveform, gain)
    return waveform, lengths


def _on_drawn(
    drawn: tf.Tensor, batch: Batch, function: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Batch]
) -> Batch:
    """Applies `function(waveform, lengths, rows)` to the drawn rows, and copies the others."""
    waveform, lengths = batch
    rows = tf.cast(tf.where(drawn)[:, 0], tf.int32)

    def change() -> Batch:
        part, new = function(tf.gather(waveform, rows), tf.gather(lengths, rows), rows)
        width = tf.maximum(tf.shape(part)[1], tf.shape(waveform)[1])
        whole, part = (
            tf.pad(wave, [[0, 0], [0, width - tf.shape(wave)[1]]]) for wave in (waveform, part)
        )
        return (
            tf.tensor_scatter_nd_update(whole, rows[:, None], part),
            tf.tensor_scatter_nd_update(lengths, rows[:, None], new),
        )

    return tf.cond(tf.size(rows) > 0, change, lambda: (waveform, lengths))


def _frequency_curves(bins: tf.Tensor | int, sample_rate: int) -> tf.Tensor:
    """Curves in dB, (points + 1, bins): a bump at each point of an equalizer, and a telephone.

    The points lie evenly in the logarithm of frequency, from 60 Hz up.
    """
    nyquist = sample_rate / 2
    hertz = tf.linspace(1.0, nyquist, bins)
    position = tf.math.log(hertz / 60) / math.log(nyquist / 60) * (_EQUALIZER_POINTS - 1)
    position = tf.maximum(position, 0.0)
    points = tf.range(_EQUALIZER_POINTS, dtype=tf.float32)[:, None]
    bumps = tf.maximum(0.0, 1 - tf.abs(position - points))
    octaves = tf.nn.relu(tf.math.log(300 / hertz)) + tf.nn.relu(tf.math.log(hertz / 3400))
    return tf.concat([bumps, (-24 / math.log(2)) * octaves[None]], axis=0)
