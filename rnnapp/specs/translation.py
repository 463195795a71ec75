"""Settings of a translator: plain data, checked when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rnnapp import overrides
from rnnapp.specs.checks import fraction, not_negative, positive, require
from rnnapp.specs.recurrent import CELLS


@dataclass(frozen=True)
class TranslationSpec:
    """An encoder-decoder: a bidirectional encoder, attention, a decoder.

    Args:
        cell: One of `CELLS`.
        units: Width of each recurrent layer: of the decoder's, and of both directions of an
            encoder's together, so that the final states of one begin the other.
        num_layers: Recurrent layers of the encoder, and of the decoder.
        embedding_dim: Size of the tokens' vectors.
        attention: "bahdanau" (additive, Bahdanau et al. 2015, arXiv:1409.0473), "luong"
            (multiplicative, Luong et al. 2015, arXiv:1508.04025), or "none", by which all that is
            known of a source is the encoder's final state.
        luong_score: "general" or "dot".
        tied: Use the target tokens' vectors as the weights of the logits.
        dropout: Share of vectors and of each layer's outputs dropped in training.
        sampling_probability: Scheduled sampling (Bengio et al. 2015, arXiv:1506.03099): the share
            of the tokens fed to the decoder that are its own, in the end.
        sampling_steps: Training steps in which that share rises from zero.
    """

    cell: str = "gru"
    units: int = 512
    num_layers: int = 1
    embedding_dim: int = 256
    attention: Literal["bahdanau", "luong", "none"] = "luong"
    luong_score: Literal["general", "dot"] = "general"
    tied: bool = True
    dropout: float = 0.2
    sampling_probability: float = 0.0
    sampling_steps: int = 5000

    def __post_init__(self) -> None:
        """Checks the fields."""
        overrides.settle_types(self)
        require(self.cell in CELLS, "cell", f"one of {', '.join(CELLS)}", self.cell)
        positive(self, "units", "num_layers", "embedding_dim", "sampling_steps")
        require(self.units % 2 == 0, "units", "even: half of them read backwards", self.units)
        fraction(self, "dropout", "sampling_probability")


@dataclass(frozen=True)
class DecodingSpec:
    """How a trained translator is asked and judged.

    Args:
        beam_size: Hypotheses that are kept; 1 is greedy.
        length_penalty: The exponent by which longer translations may be less probable (Wu et al.
            2016, arXiv:1609.08144).
        coverage_penalty: How much it counts that each source token was attended to (likewise).
        max_length_ratio: Longest translation, in tokens for each of the source's, and
            `max_length_extra` more.
        max_length_extra: See `max_length_ratio`.
        max_sentences: Source sentences of a split that are translated to judge a model, drawn by
            `seed`; 0 takes them all.
        bleu_tokenizer: SacreBLEU's; "13a" for languages that part words by spaces, "char" for any,
            "zh", "ja-mecab" or "ko-mecab" for those.
        pictures: Sentences whose attention is drawn.
        seed: Draws the sentences.
    """

    beam_size: int = 4
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    max_length_ratio: float = 2.0
    max_length_extra: int = 10
    max_sentences: int = 1000
    bleu_tokenizer: Literal["13a", "intl", "char", "zh", "ja-mecab", "ko-mecab"] = "13a"
    pictures: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the fields."""
        overrides.settle_types(self)
        positive(self, "beam_size", "max_length_extra")
        not_negative(self, "length_penalty", "coverage_penalty", "max_length_ratio")
        not_negative(self, "max_sentences", "pictures", "seed")
