"""The average of a training's late weights, which is better than the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class TriggeredAverage(keras.layers.Layer):
    """The mean of weights over the steps since validation got no better, of ASGD.

    Non-monotonically triggered (Merity et al. 2018, arXiv:1708.02182, algorithm 1): averaging
    begins at the first epoch whose validation loss is over the least of all but the last
    `patience` epochs before it. Until then the average is the weights themselves. All of its state
    is variables, so that a checkpoint holds it.

    Args:
        weights: The weights, of a built model.
        patience: Epochs.
    """

    def __init__(self, weights: Sequence[keras.Variable], patience: int) -> None:
        super().__init__(name="average", trainable=False)
        self.averaged = list(weights)
        self.means = [
            self.add_weight(shape=w.shape, trainable=False, name=f"mean_{number}")
            for number, w in enumerate(self.averaged)
        ]
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")
        self.running = self.add_weight(shape=(), initializer="zeros", name="running")
        # Losses of the last epochs, the oldest first; and the least of all before them.
        infinite = keras.initializers.Constant(float("inf"))
        self.recent = self.add_weight(shape=(patience,), initializer=infinite, name="recent")
        self.least = self.add_weight(shape=(), initializer=infinite, name="least")
        self.built = True
        self.update()

    def update(self) -> None:
        """Takes in the weights as a step has left them."""
        self.count.assign(self.count + self.running)
        share = 1.0 / tf.maximum(tf.convert_to_tensor(self.count), 1.0)
        for mean, weight in zip(self.means, self.averaged, strict=True):
            mean.assign(mean + share * (weight - mean))

    def note(self, loss: float) -> None:
        """Takes in an epoch's validation loss, and begins averaging where it is time."""
        if loss > float(self.least):
            self.running.assign(1.0)
        recent = [*keras.ops.convert_to_numpy(self.recent).tolist(), loss]
        self.least.assign(min(float(self.least), recent.pop(0)))
        self.recent.assign(recent)

    def mapping(self) -> list[tuple[keras.Variable, Any]]:
        """Each weight with its mean, as `keras.StatelessScope` takes them."""
        return [(w, m.value) for w, m in zip(self.averaged, self.means, strict=True)]
