"""How a model is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnapp import overrides
from rnnapp.specs.checks import fraction, not_negative, positive, require


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
        positive(self, "epochs", "batch_size", "learning_rate", "steps_per_execution")
        positive(self, "gradient_length", "averaging_patience")
        not_negative(self, "weight_decay", "clip_norm", "patience", "seed")
        fraction(self, "warmup_fraction", "label_smoothing")
        rule = 1 <= self.rate_divisor < math.inf
        require(rule, "rate_divisor", "a number of at least 1", self.rate_divisor)
        if self.start is not None and Path(self.start).exists():
            object.__setattr__(self, "start", str(Path(self.start).resolve()))  # from anywhere
