"""Effects drawn for every clip: as often as asked, the same for the same key."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from pipelines import augmentation, effects, noise, rooms
from pipelines.audio_spec import NO_AUGMENTATION, AudioSpec, AugmentationSpec
from pipelines.base import BadInputs

from .test_effects import int32, speechlike

ALWAYS = {name: 1.0 for name in vars(AugmentationSpec()) if name.endswith("_probability")}


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
    assert np.isfinite(waveform).all()
    assert (np.abs(waveform[:3]).max(axis=1) > 0).all()  # of one sample, all may be masked
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
