"""Effects on batches of waveforms: pure functions of the clips and of one number for each.

A waveform is float32 (batch, samples), padded with zeros past `lengths`, int32 (batch,).
"""

from __future__ import annotations

import math

import tensorflow as tf

Batch = tuple[tf.Tensor, tf.Tensor]
"""Waveform and lengths."""
_BLOCK = 16  # clips are moved by whole blocks: copying rows is cheaper than copying samples


def change_speed(waveform: tf.Tensor, lengths: tf.Tensor, speed: tf.Tensor) -> Batch:
    """Plays clips faster or slower, their pitch with it, by linear interpolation.

    Args:
        waveform: float32 (batch, samples).
        lengths: int32 (batch,).
        speed: Above 1 is faster, float32 (batch,).

    Returns:
        Waveform, as wide as its longest clip, and lengths.
    """
    lengths = tf.cast(tf.math.ceil(tf.cast(lengths, tf.float32) / speed), tf.int32)
    return _interpolate(waveform, 0.0, speed, tf.reduce_max(lengths)), lengths


def shift_pitch(
    waveform: tf.Tensor, lengths: tf.Tensor, semitones: tf.Tensor, frame_length: int = 512
) -> Batch:
    """Shifts pitch and keeps duration: a phase vocoder stretches, resampling undoes it.

    Flanagan and Golden 1966, doi:10.1002/j.1538-7305.1966.tb01706.x. Frames are written as far
    apart as they are read, so that phases need no unwrapping.

    Args:
        waveform: float32 (batch, samples).
        lengths: int32 (batch,).
        semitones: float32 (batch,).
        frame_length: Samples in a frame of the vocoder. At 32 ms it holds several periods of a
            voice, and smears consonants by no more than half of that.

    Returns:
        Waveform of the same shape and root mean square, and the same lengths.
    """
    width, hop, half = tf.shape(waveform)[1], frame_length // 4, frame_length // 2
    ratio = tf.pow(2.0, semitones / 12)
    # Half a frame of zeros in front centres frame t on sample t * hop.
    padded = tf.pad(waveform, [[0, 0], [half, 2 * frame_length]])
    frames = tf.signal.stft(padded, frame_length, hop)  # (batch, frames, bins)
    stretched = tf.signal.inverse_stft(
        _stretch(frames, ratio), frame_length, hop, window_fn=tf.signal.inverse_stft_window_fn(hop)
    )
    shifted = _mask(_interpolate(stretched, half, ratio, width), lengths)
    return _with_energy_of(waveform, shifted), lengths


def move(
    waveform: tf.Tensor, lengths: tf.Tensor, start: tf.Tensor, width: tf.Tensor | int
) -> Batch:
    """Puts each clip somewhere into a window; what hangs over an edge is cut.

    Args:
        waveform: float32 (batch, samples).
        lengths: int32 (batch,).
        start: Where in the window a clip begins, in samples, rounded down to a multiple of 16;
            below zero its beginning is cut. int32 (batch,).
        width: Samples in the window.

    Returns:
        Waveform (batch, width) and lengths; zeros in front count as part of a clip.
    """
    start = start // _BLOCK
    padded = tf.pad(waveform, [[0, 0], [0, -tf.shape(waveform)[1] % _BLOCK]])
    batch, blocks = tf.shape(padded)[0], tf.shape(padded)[1] // _BLOCK
    source = tf.range(-(-width // _BLOCK)) - start[:, None]  # (batch, blocks of the window)
    rows = tf.range(batch)[:, None] * blocks + source
    silent = batch * blocks  # the row of zeros at the end
    rows = tf.where((source >= 0) & (source < blocks), rows, silent)
    table = tf.pad(tf.reshape(padded, [-1, _BLOCK]), [[0, 1], [0, 0]])
    moved = tf.reshape(tf.gather(table, rows), [batch, -1])[:, :width]
    return moved, tf.clip_by_value(lengths + start * _BLOCK, 1, width)


def filter_clips(
    waveform: tf.Tensor, lengths: tf.Tensor, responses: tf.Tensor, gains_db: tf.Tensor
) -> Batch:
    """Convolves clips with rooms and colours them as microphones do, in one pass by FFT.

    Args:
        waveform: float32 (batch, samples).
        lengths: int32 (batch,).
        responses: A room for each clip, float32 (batch, taps); the direct path comes first, so
            clips stay where they are. A single 1 is no room.
        gains_db: Gain at `bins` frequencies evenly spaced from 0 to half the sample rate, in dB,
            float32 (batch, bins) or (1, bins); bins as `fft_bins` says.

    Returns:
        Waveform of the same shape and root mean square; lengths grow by the room's echo.
    """
    width = tf.shape(waveform)[1]
    size = 2 * (tf.shape(gains_db)[1] - 1)
    spectrum = tf.signal.rfft(waveform, [size]) * tf.signal.rfft(responses, [size])
    gains = tf.exp(gains_db * (math.log(10) / 20))
    filtered = tf.signal.irfft(spectrum * tf.cast(gains, tf.complex64), [size])[:, :width]
    heard = responses != 0
    last = tf.reduce_max(tf.where(heard, tf.range(tf.shape(responses)[1]), 0), axis=1)
    lengths = tf.minimum(lengths + last, width)
    return _with_energy_of(waveform, _mask(filtered, lengths)), lengths


def add_noise(
    waveform: tf.Tensor, lengths: tf.Tensor, noise: tf.Tensor, snr_db: tf.Tensor, fill: tf.Tensor
) -> Batch:
    """Adds noise at a signal-to-noise ratio.

    Args:
        waveform: float32 (batch, samples).
        lengths: Samples over which a clip's power is taken, int32 (batch,).
        noise: float32 (batch, samples).
        snr_db: The clip's mean power over the noise's, in dB, float32 (batch,).
        fill: Samples that the noise covers, at least `lengths`, int32 (batch,).

    Returns:
        Waveform and `fill`, the new lengths.
    """
    noise = _mask(noise, fill)
    power = _energy(waveform) / tf.cast(lengths, tf.float32)
    noise_power = _energy(noise) / tf.cast(fill, tf.float32)
    wanted = power * tf.pow(10.0, -snr_db / 10)
    return waveform + noise * tf.sqrt(tf.math.divide_no_nan(wanted, noise_power))[:, None], fill


def clip_peaks(waveform: tf.Tensor, depth_db: tf.Tensor) -> tf.Tensor:
    """Cuts clips off below their peak, as an overdriven converter does.

    Args:
        waveform: float32 (batch, samples).
        depth_db: How far below the peak, in dB; 0 cuts nothing. float32 (batch,).

    Returns:
        The waveform.
    """
    peak = tf.reduce_max(tf.abs(waveform), axis=1)
    limit = (peak * tf.pow(10.0, -depth_db / 20))[:, None]
    return tf.clip_by_value(waveform, -limit, limit)


def change_gain(waveform: tf.Tensor, gain_db: tf.Tensor) -> tf.Tensor:
    """Changes the level of clips.

    Args:
        waveform: float32 (batch, samples).
        gain_db: In dB, float32 (batch,).

    Returns:
        The waveform.
    """
    return waveform * tf.pow(10.0, gain_db / 20)[:, None]


def fft_bins(width: tf.Tensor | int, taps: int) -> tf.Tensor | int:
    """Frequencies in the FFT by which clips of `width` are convolved with `taps`.

    The FFT's size is a multiple of 1000, whose small factors make it fast.
    """
    return -(-(width + taps) // 1000) * 500 + 1


def _stretch(frames: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """Stretches spectra in time: magnitudes are interpolated, phases go on as they turned."""
    count = tf.cast(tf.shape(frames)[1], tf.float32)
    steps = tf.range(tf.math.ceil(count * tf.reduce_max(ratio)))
    position = tf.minimum(steps / ratio[:, None], count - 1.001)  # (batch, new frames)
    before = tf.cast(position, tf.int32)
    share = (position - tf.floor(position))[..., None]
    real, imaginary = tf.math.real(frames), tf.math.imag(frames)
    angle = tf.atan2(imaginary, real)
    turn = tf.concat([angle[:, :1], angle[:, 1:] - angle[:, :-1]], axis=1)
    # A frame's phase is the first one's, and what every frame read since then has turned.
    read = tf.pad(before[:, :-1] + 1, [[0, 0], [1, 0]])
    turns = tf.transpose(tf.gather(turn, read, batch_dims=1), [1, 0, 2])
    phase = tf.transpose(tf.scan(tf.add, turns), [1, 0, 2])  # faster than tf.cumsum
    magnitude = tf.sqrt(tf.square(real) + tf.square(imaginary))
    low = tf.gather(magnitude, before, batch_dims=1)
    level = low + share * (tf.gather(magnitude, before + 1, batch_dims=1) - low)
    return tf.complex(level * tf.cos(phase), level * tf.sin(phase))


def _interpolate(waveform: tf.Tensor, start: float, step: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Reads clips at `start + step * t` for t below `width`; past their end is silence."""
    # A waveform is an image one pixel high: this kernel is faster than two gathers.
    zero, one = tf.zeros_like(step), tf.ones_like(step)
    transforms = tf.stack([step, zero, one * start, zero, one, zero, zero, zero], axis=1)
    read = tf.raw_ops.ImageProjectiveTransformV3(
        images=waveform[:, None, :, None],
        transforms=transforms,
        output_shape=tf.stack([1, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
    )
    return read[:, 0, :, 0]


def _mask(waveform: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Zeros past every length."""
    return tf.where(tf.sequence_mask(lengths, tf.shape(waveform)[1]), waveform, 0.0)


def _with_energy_of(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Scales clips to the energy that they had before."""
    return after * tf.sqrt(tf.math.divide_no_nan(_energy(before), _energy(after)))[:, None]


def _energy(waveform: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(waveform), axis=1)
