"""Layers of recurrent models: front ends, convolutions, recurrent stacks, pooling, attention."""

from __future__ import annotations

import pkgutil

import keras

from rnnapp import specs
from rnnapp.layers.attention import BahdanauAttention, LuongAttention
from rnnapp.layers.convolution import CausalConv
from rnnapp.layers.decoder import Decoder
from rnnapp.layers.front import LogMel
from rnnapp.layers.language import AdaptiveLogits, TiedEmbedding
from rnnapp.layers.last import LastTimestep
from rnnapp.layers.masking import MASK_VALUE, PadMarker
from rnnapp.layers.normalization import RunningMean
from rnnapp.layers.pooling import SequencePooling
from rnnapp.layers.prelude import Prelude
from rnnapp.layers.spec_augment import SpecAugment

CELLS: dict[str, type[keras.layers.RNN]] = {
    name: pkgutil.resolve_name(home) for name, home in specs.CELLS.items()
}

__all__ = [
    "CELLS",
    "MASK_VALUE",
    "AdaptiveLogits",
    "BahdanauAttention",
    "CausalConv",
    "Decoder",
    "LastTimestep",
    "LogMel",
    "LuongAttention",
    "PadMarker",
    "Prelude",
    "RunningMean",
    "SequencePooling",
    "SpecAugment",
    "TiedEmbedding",
]
