"""The front of a model in C: embeddings, audio frames, their running mean, causal convolutions.

Each public function is an `Emitter`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.text.tokenization import UNKNOWN
from rnnapp.exporting.c99.program import Program, Value, floats, folded, number
from rnnapp.layers import CausalConv, LogMel, RunningMean
from rnnapp.layers.front import FLOOR, diagonal_blocks, mel_matrix


def embedding(program: Program, layer: keras.layers.Embedding, x: Value) -> Value:
    """Token ids to vectors."""
    settings = program.struct(
        "rnn_embedding",
        f"{layer.name}_layer",
        unknown=unknown_of(layer),
        **program.table(f"{layer.name}_table", floats(layer.embeddings)),
    )
    y = program.output(x, (*x.shape, layer.output_dim))
    program.step(f"rnn_embed({settings}, {x.name}, {x.size}, {y.name});")
    return y


def unknown_of(layer: keras.layers.Embedding) -> int:
    """The id that stands for all outside of an embedding's vocabulary.

    Args:
        layer: The embedding.
    """
    return min(UNKNOWN, layer.input_dim - 1)


def log_mel(program: Program, layer: LogMel, x: Value) -> Value:
    """Samples to frames."""
    y = program.output(x, (x.size // layer.frame_step, layer.num_features))
    s: dict[str, Any] = layer.settings
    bins, mel_bins = layer.fft_length // 2 + 1, s["num_mel_bins"]
    mel = mel_matrix(mel_bins, bins, s["sample_rate"], s["lower_hz"], s["upper_hz"])
    fft_length = max(2, layer.fft_length)  # the kernel takes numbers in pairs
    program.need(work=max(fft_length, bins + mel_bins))
    settings = program.struct(
        "rnn_log_mel_settings",
        f"{layer.name}_layer",
        frame_length=layer.frame_length,
        frame_step=layer.frame_step,
        fft_length=fft_length,
        num_mel_bins=mel_bins,
        floor=number(FLOOR),
        **_spectrum(program, layer, fft_length),
        **_filters(program, layer, mel),
    )
    tail = program.state(f"{layer.name}_samples")
    program.step(f"rnn_log_mel({settings}, {x.name}, {y.rows}, {tail}, {y.name}, &scratch);")
    return y


def _spectrum(program: Program, layer: LogMel, fft_length: int) -> dict[str, object]:
    """The tables of the Fourier transform."""
    angles = 2 * np.pi / fft_length * np.arange(3 * fft_length // 4)
    window = tf.signal.hann_window(layer.frame_length).numpy()  # as `tf.signal.stft` has it
    return {
        "window": program.array(f"{layer.name}_window", window),
        "sines": program.array(f"{layer.name}_sines", np.sin(angles)),
    }


def _filters(program: Program, layer: LogMel, mel: np.ndarray) -> dict[str, object]:
    """The filter bank (num_mel_bins, bins) without its zeros, and the DCT."""
    bands = diagonal_blocks(mel, len(mel))  # (first bin, last bin + 1, weights) each
    fields: dict[str, object] = {
        "mel_starts": program.array(f"{layer.name}_starts", _counts(b[0] for b in bands)),
        "mel_counts": program.array(f"{layer.name}_counts", _counts(b[2].size for b in bands)),
        "mel_weights": program.array(f"{layer.name}_mel", np.hstack([b[2] for b in bands])),
    }
    if layer.dct is not None:
        # Float in every variant: rounded, soft bands drown in loud ones.
        fields["dct"] = program.matrix(f"{layer.name}_dct", layer.dct, quantize=False)
    return fields


def _counts(numbers: Iterable[int]) -> np.ndarray:
    return np.array(list(numbers), np.uint16)


def running_mean(program: Program, layer: RunningMean, x: Value) -> Value:
    """The mean of the past off each feature."""
    y, rate = program.output(x, x.shape), 1.0 / layer.frames
    mean, weight = program.state(f"{layer.name}_mean"), program.state(f"{layer.name}_weight")
    program.step(
        f"rnn_running_mean({number(1.0 - rate)}, {number(rate)}, {x.name}, {x.rows}, "
        f"{x.features}, {mean}, {weight}, {y.name});"
    )
    return y


def causal_conv(program: Program, layer: CausalConv, x: Value) -> Value:
    """A convolution, with its batch normalisation in its kernel."""
    timesteps, bands, channels = x.shape
    factor, offset = folded(layer.normalization)
    kernel = floats(layer.convolution.kernel) * factor  # (time, bands, channels, filters)
    kernel_time, kernel_bands, _, filters = kernel.shape
    stride_time, stride_bands = layer.convolution.strides
    rows = np.moveaxis(kernel, -1, 0).reshape(filters, -1)
    settings = program.struct(
        "rnn_convolution_settings",
        f"{layer.name}_layer",
        bands=bands,
        channels=channels,
        output_bands=layer.output_bands,
        kernel_time=kernel_time,
        kernel_bands=kernel_bands,
        stride_time=stride_time,
        stride_bands=stride_bands,
        padding=layer.band_padding[0],
        kernel=program.matrix(f"{layer.name}_kernel", rows),
        bias=program.array(f"{layer.name}_bias", offset),
    )
    past = program.state(f"{layer.name}_frames")  # none where the stride is the kernel
    y = program.output(x, (timesteps // stride_time, layer.output_bands, filters))
    program.need(work=rows.shape[1])
    program.step(f"rnn_convolve({settings}, {x.name}, {timesteps}, {past}, {y.name}, &scratch);")
    return y
