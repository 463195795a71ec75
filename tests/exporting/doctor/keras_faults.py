"""Faulty `.keras` files, one kind of fault each, and sound ones."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest

Builder = Callable[[Path], Path]
Wiring = Callable[[Any], Any]
FEATURES = 5
# Keras warns of some lost masks itself, though not of all.
WARNED = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")


class Scaled(keras.layers.Layer):
    """A layer of somebody else's, which nobody has registered."""

    def call(self, x: Any) -> Any:
        """Twice the input."""
        return 2 * x


def doubled(x: Any) -> Any:
    """An activation of somebody else's."""
    return 2 * x


def gru(**settings: Any) -> keras.layers.GRU:
    """A small GRU."""
    return keras.layers.GRU(3, **settings)


def masked(wiring: Wiring) -> Builder:
    """A functional model whose padding is masked before what `wiring` adds."""

    def build(folder: Path) -> Path:
        features = keras.Input((None, FEATURES))
        return saved(folder, keras.Model(features, wiring(keras.layers.Masking()(features))))

    return build


def stacked(*layers: keras.layers.Layer | keras.KerasTensor) -> Builder:
    """A sequential model."""
    return lambda folder: saved(folder, keras.Sequential([*layers]))


def saved(folder: Path, model: keras.Model) -> Path:
    """The model as a file."""
    path = folder / "model.keras"
    model.save(path)
    return path


def rewritten(
    change: Callable[[dict[str, bytes]], None], builder: Builder | None = None
) -> Builder:
    """A model's file, by default a sound one's, with its members changed."""

    def build(folder: Path) -> Path:
        path = (builder or sound)(folder)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    return build


def configured(change: Callable[[Any], None], builder: Builder | None = None) -> Builder:
    """A model's file, with its configuration changed."""

    def apply(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        change(config["config"]["layers"])
        members["config.json"] = json.dumps(config).encode()

    return rewritten(apply, builder)


def _padded_left(layers: list[Any]) -> None:
    """As layers of keras_hub are set, which pack tokens."""
    layers[1]["config"]["padding_side"] = "left"


def _of_keras_2(layers: list[Any]) -> None:
    """Calls as Keras 2 has written them, which hold no masks."""
    for layer in layers:
        layer["inbound_nodes"] = [
            [[*argument["config"]["keras_history"], {}] for argument in call["args"]]
            for call in layer["inbound_nodes"]
        ]


def _without_weights(members: dict[str, bytes]) -> None:
    del members["model.weights.h5"]


def _with_weights(change: Callable[[h5py.File], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        stream = io.BytesIO(members["model.weights.h5"])
        with h5py.File(stream, "r+") as file:
            change(file)
        members["model.weights.h5"] = stream.getvalue()

    return apply


def _without_kernel(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]


def _with_nan(file: h5py.File) -> None:
    file["layers/gru/cell/vars/1"][0, 0] = np.nan


def _attended(x: Any) -> Any:
    flattened = keras.layers.Conv1D(FEATURES, 3, padding="same")(x)
    return keras.layers.MultiHeadAttention(1, 2)(flattened, flattened)


def _positioned(x: Any) -> Any:
    """Positions without a mask are added: the sum has none either."""
    return gru()(keras.layers.Add()([x, keras.ops.ones_like(x)]))


def _nested(x: Any) -> Any:
    inner = keras.Sequential([keras.Input((None, FEATURES)), keras.layers.Reshape((-1, 1)), gru()])
    return inner(x)


def _in_training(folder: Path) -> Path:
    features = keras.Input((FEATURES,))
    outputs = keras.layers.Dropout(0.5)(features, training=True)
    return saved(folder, keras.Model(features, outputs))


def _of_text(folder: Path) -> Path:
    text = keras.Input((None,), dtype="string")
    ids = keras.layers.Hashing(8)(text)
    return saved(folder, keras.Model(text, gru()(keras.layers.Embedding(8, 4)(ids))))


def _turned_twice(x: Any) -> Any:
    return gru()(gru(go_backwards=True, return_sequences=True)(x))


CONV, OPEN = keras.layers.Conv1D, (None, FEATURES)

# Each is `CODE/CASE`, and has that fault and no other.
FAULTS: dict[str, Builder] = {
    "lost-mask/convolution": masked(lambda x: gru()(CONV(4, 3, padding="causal")(x))),
    "lost-mask/operation": masked(lambda x: gru()(2 * x)),
    "lost-mask/reshape": masked(lambda x: gru()(keras.layers.Reshape((-1, FEATURES))(x))),
    "lost-mask/sum": masked(_positioned),
    "lost-mask/nested": masked(_nested),
    "lost-mask/mean": masked(
        lambda x: keras.layers.GlobalAveragePooling1D()(keras.layers.AveragePooling1D(2)(x))
    ),
    "lost-mask/attention": masked(_attended),
    "lost-mask/bidirectional": masked(
        lambda x: keras.layers.Bidirectional(gru())(keras.layers.ZeroPadding1D(1)(x))
    ),
    "lost-mask/embedding": lambda folder: stacked(
        keras.Input((None,)),
        keras.layers.Embedding(8, 4, mask_zero=True),
        keras.layers.RMSNormalization(),
        gru(),
    )(folder),
    "lost-mask/Keras 2": configured(
        _of_keras_2, masked(lambda x: gru()(CONV(4, 3, padding="causal")(x)))
    ),
    "left-padding/setting": configured(_padded_left),
    "left-padding/functional": masked(_turned_twice),
    "left-padding/sequential": lambda folder: stacked(
        keras.Input(OPEN),
        keras.layers.Masking(),
        gru(go_backwards=True, return_sequences=True),
        keras.layers.GlobalAveragePooling1D(),
    )(folder),
    "missing-weights/file": rewritten(_without_weights),
    "missing-weights/kernel": rewritten(_with_weights(_without_kernel)),
    "non-finite-weights/nan": rewritten(_with_weights(_with_nan)),
    "code-inside/lambda": masked(lambda x: keras.layers.Lambda(lambda t: t[:, -1])(x)),
    "unknown-objects/layer": masked(lambda x: Scaled()(x)),
    "unknown-objects/activation": lambda folder: stacked(
        keras.Input((FEATURES,)), keras.layers.Dense(2, activation=doubled)
    )(folder),
    "open-time-distributed/dense": masked(
        lambda x: gru()(keras.layers.TimeDistributed(keras.layers.Dense(2))(x))
    ),
    "kept-state/stateful": lambda folder: stacked(
        keras.Input(batch_shape=(1, 7, FEATURES)), gru(stateful=True), keras.layers.Dense(2)
    )(folder),
    "always-training/dropout": _in_training,
    "long-unrolled/gru": lambda folder: stacked(keras.Input((60, FEATURES)), gru(unroll=True))(
        folder
    ),
    "odd-inputs/float64": lambda folder: stacked(
        keras.Input((FEATURES,), dtype="float64"), keras.layers.Dense(2)
    )(folder),
    "odd-inputs/string": _of_text,
}


def sound(folder: Path) -> Path:
    """Padding that is masked, from an embedding to the last layer."""
    return stacked(
        keras.Input((None,)),
        keras.layers.Embedding(8, 4, mask_zero=True),
        keras.layers.Dense(4),
        gru(return_sequences=True),
        keras.layers.LayerNormalization(),
        gru(),
        keras.layers.Dense(2, activation="softmax"),
    )(folder)


def _explicit(folder: Path) -> Path:
    """The mask goes round a convolution that would drop it, and both directions are read."""
    features = keras.Input(OPEN)
    masking = keras.layers.Masking()
    x, mask = masking(features), masking.compute_mask(features)
    x = gru()(CONV(4, 3, padding="causal")(x), mask=mask)
    return saved(folder, keras.Model(features, x))


def _autoencoder(x: Any) -> Any:
    code = keras.layers.RepeatVector(4)(gru()(x))
    return keras.layers.TimeDistributed(keras.layers.Dense(2))(gru(return_sequences=True)(code))


def _flipped(folder: Path) -> Path:
    """The output of a layer that goes backwards, and its mask, are both turned round."""
    features = keras.Input(OPEN)
    masking = keras.layers.Masking()
    x, mask = masking(features), masking.compute_mask(features)
    x = gru(go_backwards=True, return_sequences=True)(x, mask=mask)
    x = gru()(x, mask=keras.ops.flip(mask, axis=1))
    return saved(folder, keras.Model(features, x))


SOUND: dict[str, Builder] = {
    "masked": sound,
    "explicit": _explicit,
    "bidirectional": masked(
        lambda x: gru()(keras.layers.Bidirectional(gru(return_sequences=True))(x))
    ),
    "autoencoder": masked(_autoencoder),
    "flipped": _flipped,
    "unmasked": lambda folder: stacked(
        keras.Input(OPEN), CONV(4, 3), keras.layers.MaxPooling1D(2), gru()
    )(folder),
    "backwards": masked(lambda x: gru(go_backwards=True)(x)),
    "maximum": masked(lambda x: keras.layers.GlobalMaxPooling1D()(gru(return_sequences=True)(x))),
    "attention": masked(
        lambda x: keras.layers.GlobalAveragePooling1D()(keras.layers.MultiHeadAttention(1, 2)(x, x))
    ),
}
