"""Losses that Keras does not have."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("rnnapp")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits against integer labels, with label smoothing.

    Label smoothing is that of Szegedy et al. 2016 (arXiv:1512.00567); Keras offers it for one-hot
    targets only.

    Args:
        label_smoothing: Share of a target's mass that is spread over all classes.
    """

    def __init__(
        self, label_smoothing: float = 0.0, name: str = "crossentropy", **kwargs: object
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Maps labels (batch,) and logits (batch, classes) to losses (batch,)."""
        targets = tf.one_hot(tf.cast(y_true, tf.int32), tf.shape(y_pred)[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            targets, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, object]:
        """The loss's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
