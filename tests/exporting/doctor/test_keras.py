"""What is found in `.keras` files, and what is not, is true of Keras itself."""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp.exporting.doctor.keras_masks import ATTENTION, CARRIERS

from .keras_faults import FAULTS, FEATURES, SOUND, WARNED

pytestmark = WARNED

# Two files are not as Keras 3 writes them.
OF_PADDING = [
    name
    for name in FAULTS
    if name.startswith(("lost-mask", "left-padding")) and not name.endswith(("Keras 2", "setting"))
]


@pytest.mark.parametrize("name", OF_PADDING)
def test_findings_about_padding_are_true(name: str, tmp_path: Path) -> None:
    """Answers do change with the padding, in Keras itself."""
    bare, padded = answers(FAULTS[name](tmp_path))
    assert np.abs(bare - padded).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in SOUND if name != "unmasked"])
def test_silence_about_padding_is_true(name: str, tmp_path: Path) -> None:
    """Where nothing is found, padding changes nothing."""
    bare, padded = answers(SOUND[name](tmp_path))
    np.testing.assert_allclose(padded, bare, atol=1e-6)  # float32, summed in another order


def answers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What a model says to sequences of four timesteps, bare and with three of padding."""
    model, generator = keras.models.load_model(path), np.random.default_rng(0)
    if model.input_shape[2:]:
        bare = generator.normal(size=(2, 4, FEATURES)).astype(np.float32)
    else:
        bare = generator.integers(1, 8, (2, 4)).astype(np.float32)
    padding = np.zeros((2, 3, *bare.shape[2:]), np.float32)
    said = [model(x).numpy() for x in (bare, np.concatenate([bare, padding], axis=1))]
    short, long = (x[:, 0] if x.ndim == 3 else x for x in said)
    return short, long


def test_time_distributed_is_still_wrong_in_a_graph() -> None:
    """The day it is right, the check has to go."""
    features = keras.Input((None, FEATURES))
    model = keras.Model(features, keras.layers.TimeDistributed(keras.layers.Dense(2))(features))
    traced = tf.function(model, input_signature=[tf.TensorSpec((None, None, FEATURES))])
    x = np.ones((3, 7, FEATURES), np.float32)
    assert model(x).shape == (3, 7, 2)
    assert traced(x).shape == (3, 3, 2)


def test_the_list_of_layers_that_hand_masks_on_is_that_of_keras() -> None:
    """It is written down from the installed Keras; another one may differ."""
    base, carriers = keras.layers.Layer, set()
    for name, kind in vars(keras.layers).items():
        if isinstance(kind, type) and issubclass(kind, base) and kind is not base:
            own = [vars(parent) for parent in kind.__mro__[: kind.__mro__.index(base)]]
            makers = [inspect.getsource(names["__init__"]) for names in own if "__init__" in names]
            supports = any("self.supports_masking = True" in maker for maker in makers)
            if supports and not any("compute_mask" in names for names in own):
                carriers.add(name)
    # Inputs are made with no mask; attention is looked at by itself.
    assert carriers - ATTENTION == CARRIERS - {"InputLayer"}
