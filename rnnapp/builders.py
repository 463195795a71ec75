"""Keras models from specs: a front, a recurrent stack, a head."""

from __future__ import annotations

import math

import keras
from keras import KerasTensor

from rnnapp.layers import (
    CELLS,
    MASK_VALUE,
    CausalConv,
    LogMel,
    PadMarker,
    Prelude,
    RunningMean,
    SequencePooling,
    SpecAugment,
)
from rnnapp.specs import ConvSpec, EmbeddingSpec, FrontSpec, RNNSpec


def many_to_one(
    spec: RNNSpec,
    num_outputs: int,
    *,
    sample_rate: int | None = None,
    vocabulary_size: int | None = None,
    num_features: int | None = None,
    window: float | None = None,
    name: str = "many_to_one",
) -> keras.Model:
    """A model from a sequence to one vector of logits.

    Its inputs are a sequence, of which the spec decides the kind, and `lengths`, int32 (batch,),
    the true length of each. The sequence is `waveform`, float32 (batch, samples), where
    `spec.front` is set; `token_ids`, int32 (batch, timesteps), where `spec.embedding` is; else
    `features`, float32 (batch, timesteps, features).

    Args:
        spec: The model.
        num_outputs: Logits.
        sample_rate: Of the waveform, in hertz; where `spec.front` is set.
        vocabulary_size: Tokens, padding included; where `spec.embedding` is set.
        num_features: Of the features; where neither is.
        window: What a pooling layer looks back at, in seconds of a waveform or timesteps of
            another sequence; None for the whole sequence.
        name: The model's name.

    Returns:
        A functional model with output `logits`, float32 (batch, num_outputs).

    Raises:
        ValueError: If `sample_rate`, `vocabulary_size` or `num_features` is missing or superfluous.
    """
    size = _size(spec, sample_rate, vocabulary_size, num_features)
    lengths = keras.Input((), dtype="int32", name="lengths")
    strides = math.prod(convolution.stride_time for convolution in spec.convolutions)
    window_unit = 1.0
    # Front
    if spec.front is not None:
        source = keras.Input((None,), name="waveform")
        x, mask = _waveform_front(spec.front, size, strides, source, lengths)
        window_unit = 1000.0 / spec.front.frame_step_ms  # frames
    elif spec.embedding is not None:
        source = keras.Input((None,), dtype="int32", name="token_ids")
        x, mask = _mask(_embedded(spec.embedding, size, source), lengths, stride=1)
    else:
        source = keras.Input((None, size), name="features")
        x, mask = _mask(source, lengths, stride=1)
    # Recurrent stack
    x, mask = _convolutions(spec.convolutions, x, mask)
    x = _recurrent_stack(spec, x, mask)
    if spec.pooling != "last":
        timesteps = None if window is None else max(1, round(window * window_unit / strides))
        x = SequencePooling(spec.pooling, timesteps, spec.num_heads, name="pooling")(x, mask)
    # Head
    head_dropout = spec.dropout if spec.head_dropout is None else spec.head_dropout
    x = keras.layers.Dropout(head_dropout, name="head_dropout")(x)
    logits = keras.layers.Dense(num_outputs, name="logits")(x)
    return keras.Model([source, lengths], logits, name=name)


def _size(
    spec: RNNSpec, sample_rate: int | None, vocabulary_size: int | None, num_features: int | None
) -> int:
    """The one size that the model's kind of input wants."""
    sizes = {
        "sample_rate": (sample_rate, spec.front is not None),
        "vocabulary_size": (vocabulary_size, spec.embedding is not None),
        "num_features": (num_features, spec.front is None and spec.embedding is None),
    }
    (wanted,) = (name for name, (_, wants) in sizes.items() if wants)
    size = sizes[wanted][0]
    if size is None or any(other is not None and not wants for other, wants in sizes.values()):
        received = ", ".join(f"{name}={other}" for name, (other, _) in sizes.items())
        raise ValueError(
            f"A model with front={spec.front}, embedding={spec.embedding} must get `{wanted}`, and "
            f"nothing else of its kind. Received: {received}"
        )
    return size


def _embedded(spec: EmbeddingSpec, vocabulary_size: int, token_ids: KerasTensor) -> KerasTensor:
    """A vector for each token, (batch, timesteps, dim)."""
    x = keras.layers.Embedding(vocabulary_size, spec.dim, name="embedding")(token_ids)
    if spec.token_dropout:
        # One draw for all features of a timestep.
        x = keras.layers.Dropout(
            spec.token_dropout, noise_shape=(None, None, 1), name="token_dropout"
        )(x)
    return keras.layers.SpatialDropout1D(spec.dropout, name="embedding_dropout")(x)


def _waveform_front(
    front: FrontSpec,
    sample_rate: int,
    min_timesteps: int,
    waveform: KerasTensor,
    lengths: KerasTensor,
) -> tuple[KerasTensor, KerasTensor]:
    """Frames and their mask: (batch, timesteps, features) and (batch, timesteps)."""
    frame_step = round(front.frame_step_ms * sample_rate / 1000)
    log_mel = LogMel(
        sample_rate,
        round(front.frame_length_ms * sample_rate / 1000),
        frame_step,
        front.num_mel_bins,
        front.lower_hz,
        min(front.upper_hz, sample_rate / 2),
        front.num_mfcc if front.kind == "mfcc" else 0,
        min_timesteps,
        name=front.kind,
    )
    x = log_mel(waveform)
    if front.prelude_share:
        x, lengths = Prelude(front.prelude_share, frame_step, name="prelude")(x, lengths)
    x, mask = _mask(x, lengths, frame_step)
    if front.mean_seconds:
        frames = front.mean_seconds * 1000 / front.frame_step_ms
        x = RunningMean(frames, name="running_mean")(x)
    if front.time_masks or front.frequency_masks:
        x = SpecAugment(
            front.time_masks,
            round(front.time_mask_ms / front.frame_step_ms),
            front.frequency_masks,
            front.frequency_mask_bins,
            name="spec_augment",
        )(x)
    return x, mask


def _mask(x: KerasTensor, lengths: KerasTensor, stride: int) -> tuple[KerasTensor, KerasTensor]:
    """Padding as Keras' `Masking` sees it; the mask travels explicitly from here on."""
    masking = keras.layers.Masking(MASK_VALUE, name="masking")
    marked = PadMarker(stride, name="pad_marker")(x, lengths)
    return masking(marked), masking.compute_mask(marked)


def _convolutions(
    specs: tuple[ConvSpec, ...], x: KerasTensor, mask: KerasTensor
) -> tuple[KerasTensor, KerasTensor]:
    """Frames as an image of one channel, convolved, and flattened to frames again."""
    if not specs:
        return x, mask
    x = keras.ops.expand_dims(x, -1)
    for number, spec in enumerate(specs, 1):
        mask = mask[:, spec.stride_time - 1 :: spec.stride_time]
        x = CausalConv(
            spec.filters,
            spec.kernel_time,
            min(spec.kernel_frequency, x.shape[2]),
            spec.stride_time,
            spec.stride_frequency,
            name=f"conv_{number}",
        )(x, mask=mask)
    return keras.layers.Reshape((-1, x.shape[2] * x.shape[3]), name="flatten")(x), mask


def _recurrent_stack(spec: RNNSpec, x: KerasTensor, mask: KerasTensor) -> KerasTensor:
    """Recurrent layers with dropout and normalisation between; a vector where pooling is "last"."""
    for number in range(1, spec.num_layers + 1):
        last = number == spec.num_layers
        x = keras.layers.Dropout(spec.dropout, name=f"dropout_{number}")(x)
        layer = CELLS[spec.cell](
            (last and spec.last_units) or spec.units,
            return_sequences=not last or spec.pooling != "last",
            recurrent_dropout=spec.recurrent_dropout,
            name=f"{spec.cell}_{number}",
        )
        if spec.bidirectional:
            layer = keras.layers.Bidirectional(layer, name=f"bidirectional_{number}")
        x = layer(x, mask=mask)
        if spec.layer_norm:
            x = keras.layers.LayerNormalization(name=f"norm_{number}")(x)
    return x
