"""What models and their training are made of: frozen dataclasses that check themselves."""

from rnnapp.specs.checks import require
from rnnapp.specs.language import LanguageSpec
from rnnapp.specs.listening import ListeningSpec
from rnnapp.specs.recurrent import (
    CELLS,
    ConvSpec,
    EmbeddingSpec,
    FrontSpec,
    PoolingName,
    RNNSpec,
)
from rnnapp.specs.training import TrainSpec
from rnnapp.specs.translation import DecodingSpec, TranslationSpec

__all__ = [
    "CELLS",
    "ConvSpec",
    "DecodingSpec",
    "EmbeddingSpec",
    "FrontSpec",
    "LanguageSpec",
    "ListeningSpec",
    "PoolingName",
    "RNNSpec",
    "TrainSpec",
    "TranslationSpec",
    "require",
]
