"""Room impulse responses: recorded, or made of a direct path, early reflections and a tail."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipelines import audio_files, noise
from pipelines.audio_files import BadAudio
from pipelines.audio_spec import AudioSpec
from pipelines.base import BadInputs

_GENERATED = 200
_SECONDS = 0.25  # what comes later is too faint to matter next to a word


def bank(spec: AudioSpec, seed: int, bad: BadInputs) -> tf.Tensor:
    """Gathers the rooms that training may hear.

    Args:
        spec: The settings; `rooms` names a folder of recorded responses.
        seed: Draws the generated rooms.
        bad: Takes the files that cannot be used.

    Returns:
        Impulse responses of unit energy that begin with their direct path, float32
        (rooms, taps). The first is a direct path alone, and the only one where no clip is put
        into a room.

    Raises:
        FileNotFoundError: If the folder is absent.
        ValueError: If it holds no recordings.
    """
    if not spec.augmentation.room_probability:
        return tf.ones([1, 1])
    taps = round(_SECONDS * spec.sample_rate)
    draw = np.random.default_rng(seed)
    low, high = spec.augmentation.room_decay_seconds
    responses = [np.eye(1, taps)[0]]
    responses += [
        simulate(draw.uniform(low, high), spec.sample_rate, taps, draw) for _ in range(_GENERATED)
    ]
    for path in noise.recordings(spec.rooms, "rooms") if spec.rooms is not None else ():
        try:
            responses.append(align(audio_files.read(path, spec.sample_rate), taps))
        except BadAudio as error:
            bad.add(path, error.reason)
    return tf.constant(np.stack(responses), tf.float32)


def simulate(
    decay_seconds: float, sample_rate: int, taps: int, draw: np.random.Generator
) -> np.ndarray:
    """Makes the impulse response of a room by Moorer's model (1979, doi:10.2307/3680280).

    Args:
        decay_seconds: Time in which the echo falls by 60 dB (T60), in seconds.
        sample_rate: Samples a second, in hertz.
        taps: Length of the result.
        draw: Draws reflections, tail, and a direct-to-reverberant ratio of -3 to 12 dB.

    Returns:
        The response, its direct path first, float64 (taps,) of unit energy.
    """
    seconds = np.arange(taps) / sample_rate
    decay = 10 ** (-3 * seconds / decay_seconds)
    onset = round(draw.uniform(0.005, 0.02) * sample_rate)
    tail = draw.normal(size=taps) * decay * (np.arange(taps) >= onset)
    early = np.zeros(taps)
    arrivals = draw.integers(sample_rate // 1000, sample_rate // 25, size=8)
    early[arrivals] = draw.choice([-1, 1], 8) * decay[arrivals] * draw.uniform(1, 4, 8)
    echo = tail + early
    direct_to_echo = 10 ** (draw.uniform(-3, 12) / 20)
    echo[0] = direct_to_echo * np.linalg.norm(echo[1:])
    return echo / np.linalg.norm(echo)


def align(response: np.ndarray, taps: int) -> np.ndarray:
    """Cuts a recorded response to begin with its direct path, its largest sample.

    Args:
        response: As recorded, float (samples,).
        taps: Length of the result.

    Returns:
        The response, faded out, float (taps,) of unit energy.
    """
    direct = int(np.argmax(np.abs(response)))
    kept = response[direct : direct + taps] * np.sign(response[direct] or 1)
    kept = np.pad(kept, (0, taps - len(kept)))
    fade = np.minimum(1, np.linspace(8, 0, taps))
    return kept * fade / (np.linalg.norm(kept * fade) or 1)
