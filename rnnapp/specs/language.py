"""What a language model is made of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from rnnapp import overrides
from rnnapp.specs.checks import fraction, not_negative, positive, require
from rnnapp.specs.recurrent import CELLS, EmbeddingSpec


@dataclass(frozen=True)
class LanguageSpec:
    """A language model: embedding, recurrent stack, softmax over the vocabulary.

    Regularised as the AWD-LSTM of Merity et al. 2018 (arXiv:1708.02182).

    Args:
        cell: One of `CELLS`.
        units: Width of each recurrent layer; with `tied` and no `projection`, the last one is as
            wide as the embedding.
        num_layers: Recurrent layers.
        embedding: What the model reads tokens by.
        tied: Give tokens the same vectors in the softmax as in the embedding (Press and Wolf 2017,
            arXiv:1608.05859).
        projection: Bring the last layer's outputs to the embedding's size by a linear layer before
            the softmax. With `tied` they need not themselves be like the vectors of tokens, which
            drives a small layer's gates to their ends.
        bidirectional: Train a second recurrent layer, which reads text from its end, beside the
            first, with the same embedding and softmax (Peters et al. 2018, arXiv:1802.05365). Text
            classification that starts from this run reads in both directions; what the run itself
            evaluates, writes and exports is the model that reads forwards.
        dropout: Share of a layer's outputs dropped between recurrent layers in training. This and
            `output_dropout` are locked: the same features at every timestep of a window.
        output_dropout: Share of the last layer's outputs, projected or not, dropped in training.
        weight_drop: Share of the recurrent weights dropped in training, drawn for each batch.
        activation_regularization: Weight of the mean square of the last layer's outputs after
            dropout, which joins the training loss (AR).
        temporal_regularization: Weight of the mean square of what the last layer's outputs change
            by from a timestep to the next (TAR).
        softmax: "full"; "sampled", which trains against some tokens of the vocabulary at a time
            (Jean et al. 2015, arXiv:1412.2007); or "adaptive", which keeps rare tokens in clusters
            of their own (Grave et al. 2017, arXiv:1609.04309).
        num_sampled: Tokens that "sampled" draws for a batch.
        cutoffs: Where the clusters of "adaptive" begin, in the order of token ids, the most
            frequent tokens first.
    """

    cell: str = "lstm"
    units: int = 256
    num_layers: int = 2
    embedding: EmbeddingSpec = EmbeddingSpec(dim=64)
    tied: bool = False
    projection: bool = False
    bidirectional: bool = False
    dropout: float = 0.1
    output_dropout: float = 0.1
    weight_drop: float = 0.0
    activation_regularization: float = 0.0
    temporal_regularization: float = 0.0
    softmax: Literal["full", "sampled", "adaptive"] = "full"
    num_sampled: int = 1024
    cutoffs: tuple[int, ...] = (2000, 10000)

    def __post_init__(self) -> None:
        """Checks the fields against each other."""
        overrides.settle_types(self)
        require(self.cell in CELLS, "cell", f"one of {', '.join(CELLS)}", self.cell)
        positive(self, "units", "num_layers", "num_sampled")
        fraction(self, "dropout", "output_dropout", "weight_drop")
        not_negative(self, "activation_regularization", "temporal_regularization")
        rising = all(low < high for low, high in itertools.pairwise((0, *self.cutoffs)))
        require(bool(self.cutoffs) and rising, "cutoffs", "rising, from 1 upwards", self.cutoffs)
        require(
            not (self.tied and self.softmax == "adaptive"),
            "tied",
            "false with softmax=adaptive, whose clusters have vectors of different sizes",
            self.tied,
        )
        must = "1 with bidirectional=true: a classifier's second layer reads both directions"
        require(not self.bidirectional or self.num_layers == 1, "num_layers", must, self.num_layers)

    @property
    def last_units(self) -> int:
        """Width of the last recurrent layer."""
        return self.embedding.dim if self.tied and not self.projection else self.units
