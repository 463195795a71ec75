"""What a model and its training are made of: frozen dataclasses that check themselves."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnapp import overrides

# The class of each cell's recurrent layer, as `rnnapp.layers.CELLS` resolves it. As text, because
# whoever reads a spec need not load Keras.
CELLS = {
    "simple_rnn": "keras.layers:SimpleRNN",
    "lstm": "keras.layers:LSTM",
    "gru": "keras.layers:GRU",
}
PoolingName = Literal["last", "mean", "max", "mean_max", "attention"]


def require(condition: bool, name: str, must: str, received: object) -> None:
    """Raises the one form of error that every spec uses.

    Args:
        condition: What has to hold.
        name: The field's name.
        must: What the field must be, as in "must be ...".
        received: The value that was given.

    Raises:
        ValueError: If `condition` is false.
    """
    if not condition:
        raise ValueError(f"`{name}` must be {must}. Received: {name}={received!r}")


def _positive(spec: object, *names: str) -> None:
    for name in names:
        value = getattr(spec, name)
        kind = "integer" if isinstance(value, int) else "number"
        require(0 < value < math.inf, name, f"a positive {kind}", value)


def _not_negative(spec: object, *names: str) -> None:
    for name in names:
        value = getattr(spec, name)
        require(0 <= value < math.inf, name, "zero or more", value)


def _fraction(spec: object, *names: str) -> None:
    for name in names:
        value = getattr(spec, name)
        require(0 <= value < 1, name, "in [0, 1)", value)


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
        _positive(self, "frame_length_ms", "frame_step_ms", "num_mel_bins", "num_mfcc", "upper_hz")
        _not_negative(self, "mean_seconds", "time_masks", "time_mask_ms")
        _not_negative(self, "frequency_masks", "frequency_mask_bins", "lower_hz")
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
        _positive(self, "dim")
        _fraction(self, "token_dropout", "dropout")


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
        _positive(self, "filters", "kernel_time", "stride_time", "stride_frequency")
        _not_negative(self, "kernel_frequency")
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
        dropout: Share of a layer's outputs dropped in training.
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
        _positive(self, "units", "num_layers", "num_heads")
        _positive(self, *(["last_units"] if self.last_units is not None else []))
        _fraction(self, "dropout", "recurrent_dropout")
        require(
            self.front is None or self.embedding is None,
            "embedding",
            "null in a model with an audio front end",
            self.embedding,
        )


@dataclass(frozen=True)
class LanguageSpec:
    """A language model: embedding, recurrent stack, softmax over the vocabulary.

    Regularised as the AWD-LSTM of Merity et al. 2018 (arXiv:1708.02182).

    Args:
        cell: One of `CELLS`.
        units: Width of each recurrent layer; with `tied`, the last one is as wide as the embedding.
        num_layers: Recurrent layers.
        embedding: What the model reads tokens by.
        tied: Give tokens the same vectors in the softmax as in the embedding (Press and Wolf 2017,
            arXiv:1608.05859).
        bidirectional: Train a second recurrent layer, which reads text from its end, beside the
            first, with the same embedding and softmax (Peters et al. 2018, arXiv:1802.05365). Text
            classification that starts from this run reads in both directions; what the run itself
            evaluates, writes and exports is the model that reads forwards.
        dropout: Share of a layer's outputs dropped between recurrent layers in training. This and
            `output_dropout` are locked: the same features at every timestep of a window.
        output_dropout: Share of the last layer's outputs dropped in training.
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
        _positive(self, "units", "num_layers", "num_sampled")
        _fraction(self, "dropout", "output_dropout", "weight_drop")
        _not_negative(self, "activation_regularization", "temporal_regularization")
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


@dataclass(frozen=True)
class TrainSpec:
    """How a model is trained: AdamW (Loshchilov and Hutter 2019), warm-up, decay.

    Language models can also be trained by "asgd": plain stochastic gradient descent at a constant
    rate, whose weights are averaged from when validation gets no better (Merity et al. 2018,
    arXiv:1708.02182).

    Args:
        epochs: Passes over the training data.
        batch_size: Sequences a step.
        learning_rate: The peak of the schedule.
        schedule: "cosine" rises from zero and decays to zero as a cosine; "slanted_triangular"
            rises from, and falls to, a 32nd of the peak, in straight lines (Howard and Ruder 2018,
            arXiv:1801.06146).
        weight_decay: AdamW's decoupled decay.
        warmup_fraction: Share of all steps in which the learning rate rises.
        clip_norm: Largest global norm of the gradients, or of those of each layer group where
            groups are told apart; 0 leaves them as they are.
        label_smoothing: Share of a target's mass spread over all classes.
        patience: Epochs without a better objective before training stops; 0 never stops.
        seed: Seed of weights, dropout, shuffling and augmentation.
        jit_compile: Compile the step with XLA: faster for small recurrent layers on a CPU, slower
            for convolutions.
        steps_per_execution: Steps that run between two returns to Python.
        start: A run folder whose model training goes on from, with other data say; or a language
            model's, whose encoder goes on to classify texts. None begins with drawn weights.
        gradual_unfreezing: Train the head alone in the first epoch, and a layer more, from the top
            down, in each that follows (Howard and Ruder 2018).
        rate_divisor: A layer's learning rate over that of the layer below it, the head's being
            `learning_rate`; 2.6 in that paper.
        gradient_length: Timesteps through which training propagates back: of a longer sequence,
            chunks of that length, with the state carried from one to the next (truncated
            back-propagation through time). None propagates through all. Of a language model, it is
            the pipeline's `sequence_length`.
        optimizer: "adamw" or "asgd".
        averaging_patience: Of "asgd": averaging begins at an epoch whose validation loss is over
            the least of all but that many epochs before it.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "slanted_triangular"] = "cosine"
    weight_decay: float = 1e-3
    warmup_fraction: float = 0.1
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    patience: int = 0
    seed: int = 0
    jit_compile: bool = False
    steps_per_execution: int = 1
    start: str | None = None
    gradual_unfreezing: bool = False
    rate_divisor: float = 1.0
    gradient_length: int | None = None
    optimizer: Literal["adamw", "asgd"] = "adamw"
    averaging_patience: int = 5

    def __post_init__(self) -> None:
        """Checks the fields against each other."""
        overrides.settle_types(self)
        _positive(self, "epochs", "batch_size", "learning_rate", "steps_per_execution")
        _positive(self, "averaging_patience")
        length = self.gradient_length
        require(length is None or length > 0, "gradient_length", "positive, or none", length)
        _not_negative(self, "weight_decay", "clip_norm", "patience", "seed")
        _fraction(self, "warmup_fraction", "label_smoothing")
        rule = 1 <= self.rate_divisor < math.inf
        require(rule, "rate_divisor", "a number of at least 1", self.rate_divisor)
        if self.start is not None and Path(self.start).exists():
            object.__setattr__(self, "start", str(Path(self.start).resolve()))  # from anywhere


@dataclass(frozen=True)
class ListeningSpec:
    """How a command model is judged as a listener: over a long recording, not clip by clip.

    Args:
        minutes: Length of the recording of each split, made of its commands, words and noise.
        false_accepts_per_hour: What the threshold, chosen on validation data, lets through.
        smoothing_ms: Moving average over the probabilities, in milliseconds.
        refractory_ms: Least time between two detections, in milliseconds.
        tolerance_ms: How long after a clip's end its detection still counts, in milliseconds.
        seed: Of the recording.
    """

    minutes: float = 30.0
    false_accepts_per_hour: float = 30.0
    smoothing_ms: float = 200.0
    refractory_ms: float = 750.0
    tolerance_ms: float = 500.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the fields."""
        overrides.settle_types(self)
        _positive(self, "minutes")
        _not_negative(self, "false_accepts_per_hour", "smoothing_ms", "refractory_ms")
        _not_negative(self, "tolerance_ms", "seed")
