"""What a model from a sequence to a vector is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rnnapp import overrides
from rnnapp.specs.checks import fraction, not_negative, positive, require

# The class of each cell's recurrent layer, as `rnnapp.layers.CELLS` resolves it. As text, because
# whoever reads a spec need not load Keras.
CELLS = {
    "simple_rnn": "keras.layers:SimpleRNN",
    "lstm": "keras.layers:LSTM",
    "gru": "keras.layers:GRU",
}
PoolingName = Literal["last", "mean", "max", "mean_max", "attention"]


@dataclass(frozen=True)
class FrontSpec:
    """The audio front end: waveform to log-mel or MFCC frames, inside the model's graph.

    Args:
        kind: "log_mel" or "mfcc".
        frame_length_ms: Length of a frame, in milliseconds.
        frame_step_ms: Time from a frame to the next, in milliseconds.
        num_mel_bins: Bands of the mel filter bank.
        num_mfcc: Cepstral coefficients that are kept; used by "mfcc".
        lower_hz: Lower edge of the lowest band, in hertz.
        upper_hz: Upper edge of the highest band, in hertz.
        mean_seconds: Time constant of the running mean that is taken off each band, which makes
            the model deaf to a microphone's colour and level; 0 leaves the frames as they are.
        prelude_share: Share of training batches in which each clip is heard after another, as in a
            stream, whose states are never zeros again.
        time_masks: SpecAugment's time masks a clip (Park et al. 2019, arXiv:1904.08779).
        time_mask_ms: Longest time mask, in milliseconds.
        frequency_masks: SpecAugment's frequency masks a clip.
        frequency_mask_bins: Widest frequency mask, in bands.
    """

    kind: Literal["log_mel", "mfcc"] = "log_mel"
    frame_length_ms: float = 25.0
    frame_step_ms: float = 10.0
    num_mel_bins: int = 40
    num_mfcc: int = 13
    lower_hz: float = 60.0
    upper_hz: float = 7600.0
    mean_seconds: float = 0.0
    prelude_share: float = 0.5
    time_masks: int = 0
    time_mask_ms: float = 100.0
    frequency_masks: int = 0
    frequency_mask_bins: int = 7

    def __post_init__(self) -> None:
        """Checks the fields against each other."""
        overrides.settle_types(self)
        positive(self, "frame_length_ms", "frame_step_ms", "num_mel_bins", "num_mfcc", "upper_hz")
        not_negative(self, "mean_seconds", "time_masks", "time_mask_ms")
        not_negative(self, "frequency_masks", "frequency_mask_bins", "lower_hz")
        step, bins = self.frame_step_ms, self.num_mel_bins
        frames = self.mean_seconds * 1000 / step
        mfcc_fit = self.kind != "mfcc" or self.num_mfcc <= bins
        rules = {
            "frame_length_ms": (self.frame_length_ms >= step, f"at least frame_step_ms={step}"),
            "upper_hz": (self.upper_hz > self.lower_hz, f"above lower_hz={self.lower_hz}"),
            "mean_seconds": (
                frames == 0 or frames >= 1,
                f"0, or a frame's step, {step / 1000:g}, at least",
            ),
            "num_mfcc": (mfcc_fit, f"at most num_mel_bins={bins}"),
            "frequency_mask_bins": (
                self.frequency_mask_bins <= bins,
                f"from 0 to num_mel_bins={bins}",
            ),
            "prelude_share": (0 <= self.prelude_share <= 1, "in [0, 1]"),
        }
        for name, (condition, must) in rules.items():
            require(condition, name, must, getattr(self, name))


@dataclass(frozen=True)
class EmbeddingSpec:
    """The front of a model of tokens: a vector for each.

    Args:
        dim: Size of the vectors.
        token_dropout: Share of tokens whose vector is dropped whole in training (Gal and
            Ghahramani 2016, arXiv:1512.05287).
        dropout: Share of the vectors' features dropped in training, the same ones at every
            timestep of a sequence.
    """

    dim: int = 128
    token_dropout: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        overrides.settle_types(self)
        positive(self, "dim")
        fraction(self, "token_dropout", "dropout")


@dataclass(frozen=True)
class ConvSpec:
    """One causal convolution over (time, frequency), with batch normalisation and ReLU.

    Args:
        filters: Output channels.
        kernel_time: Frames that the kernel spans.
        kernel_frequency: Bands that the kernel spans; 0 spans them all, which makes the
            convolution one-dimensional over time.
        stride_time: Frames from an output to the next; a streaming step takes as many at once.
        stride_frequency: Bands from an output to the next.
    """

    filters: int = 32
    kernel_time: int = 5
    kernel_frequency: int = 5
    stride_time: int = 1
    stride_frequency: int = 2

    def __post_init__(self) -> None:
        """Checks the fields against each other."""
        overrides.settle_types(self)
        positive(self, "filters", "kernel_time", "stride_time", "stride_frequency")
        not_negative(self, "kernel_frequency")
        require(
            self.kernel_time >= self.stride_time,
            "kernel_time",
            f"at least stride_time={self.stride_time}: no frame may be left out",
            self.kernel_time,
        )


@dataclass(frozen=True)
class RNNSpec:
    """A recurrent model: front, convolutions, recurrent stack, pooling.

    Args:
        cell: One of `CELLS`.
        units: Width of each recurrent layer (and direction).
        num_layers: Recurrent layers.
        last_units: Width of the last recurrent layer; None for `units`.
        bidirectional: Read in both directions; such a model cannot stream.
        dropout: Share of each recurrent layer's inputs dropped in training.
        head_dropout: Share of the head's inputs dropped in training; None for `dropout`.
        recurrent_dropout: Share of the recurrent state dropped in training.
        layer_norm: Normalise each recurrent layer's outputs (Ba et al. 2016, arXiv:1607.06450).
        pooling: How a sequence becomes a vector: its last state, a mean, a maximum, both, or
            multi-head attention with the last state as the query (Rybakov et al. 2020,
            arXiv:2005.06720).
        num_heads: Heads of attention pooling.
        convolutions: Causal convolutions between front and stack, which make a CRNN
            (Arik et al. 2017, arXiv:1703.05390).
        front: The audio front end; None for a model that hears no waveform.
        embedding: The front of a model that reads tokens; None for one that does not.
    """

    cell: str = "gru"
    units: int = 64
    num_layers: int = 2
    last_units: int | None = None
    bidirectional: bool = False
    dropout: float = 0.1
    head_dropout: float | None = None
    recurrent_dropout: float = 0.0
    layer_norm: bool = False
    pooling: PoolingName = "last"
    num_heads: int = 4
    convolutions: tuple[ConvSpec, ...] = ()
    front: FrontSpec | None = None
    embedding: EmbeddingSpec | None = None

    def __post_init__(self) -> None:
        """Checks the fields against each other."""
        overrides.settle_types(self)
        require(self.cell in CELLS, "cell", f"one of {', '.join(CELLS)}", self.cell)
        positive(self, "units", "num_layers", "last_units", "num_heads")
        fraction(self, "dropout", "head_dropout", "recurrent_dropout")
        require(
            self.front is None or self.embedding is None,
            "embedding",
            "null in a model with an audio front end",
            self.embedding,
        )
