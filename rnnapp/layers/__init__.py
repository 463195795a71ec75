"""Layers of recurrent models: front ends, causal convolutions, recurrent stacks, pooling."""

from __future__ import annotations

import pkgutil

import keras

from rnnapp import specs
from rnnapp.layers.convolution import CausalConv
from rnnapp.layers.front import LogMel
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
    "CausalConv",
    "LogMel",
    "PadMarker",
    "Prelude",
    "RunningMean",
    "SequencePooling",
    "SpecAugment",
]
