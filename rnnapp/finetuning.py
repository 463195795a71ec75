"""Learning rates for weights that know something already (Howard and Ruder 2018)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

RATIO = 32  # of a slanted triangle's peak to its ends


@keras.saving.register_keras_serializable("rnnapp")
class SlantedTriangular(LearningRateSchedule):
    """Straight up to the peak, and straight down from there (arXiv:1801.06146, equation 3).

    Args:
        peak: The highest rate; the first and the last are a 32nd of it.
        steps: Steps of the whole training.
        rising_steps: Those of them in which the rate rises.
    """

    def __init__(self, peak: float, steps: int, rising_steps: int) -> None:
        self.settings = {"peak": peak, "steps": steps, "rising_steps": rising_steps}

    def __call__(self, step: Any) -> Any:
        """The rate of a step."""
        peak, steps, rising = self.settings.values()
        step = keras.ops.cast(step, "float32")
        up, down = step / max(1, rising), (steps - step) / max(1, steps - rising)
        height = keras.ops.clip(keras.ops.where(step < rising, up, down), 0.0, 1.0)
        return peak * (1.0 + height * (RATIO - 1)) / RATIO

    def get_config(self) -> dict[str, Any]:
        """The schedule's arguments."""
        return self.settings


@keras.saving.register_keras_serializable("rnnapp")
class GroupRate(LearningRateSchedule):
    """A layer group's part of a schedule; zero until the group is unfrozen.

    Args:
        schedule: The head's.
        divisor: The head's rate over the group's.
        frozen_steps: Steps in which the group is frozen.
    """

    def __init__(self, schedule: LearningRateSchedule, divisor: float, frozen_steps: int) -> None:
        self.schedule, self.divisor, self.frozen_steps = schedule, divisor, frozen_steps

    def __call__(self, step: Any) -> Any:
        """The rate of a step."""
        unfrozen = keras.ops.cast(step >= self.frozen_steps, "float32")
        return unfrozen * self.schedule(step) / self.divisor

    def get_config(self) -> dict[str, Any]:
        """The schedule's arguments."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {
            "schedule": schedule,
            "divisor": self.divisor,
            "frozen_steps": self.frozen_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GroupRate:
        """The schedule of some arguments."""
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(**{**config, "schedule": schedule})


def layer_groups(model: keras.Model) -> list[list[keras.Variable]]:
    """The trainable weights of a model, layer by layer, the lowest first.

    What stands above the last recurrent layer is one group, the head: it is what a new task draws.

    Args:
        model: A functional model.

    Returns:
        The weights of each group; there is none without weights.
    """
    layers = model.layers
    recurrent = (keras.layers.RNN, keras.layers.Bidirectional)
    top = max((i for i, each in enumerate(layers) if isinstance(each, recurrent)), default=-1)
    groups = [each.trainable_variables for each in layers[: top + 1]]
    head = [weight for each in layers[top + 1 :] for weight in each.trainable_variables]
    return [list(group) for group in [*groups, head] if group]


def layerwise(
    model: keras.Model,
    optimizer: Callable[[LearningRateSchedule], keras.optimizers.Optimizer],
    schedule: LearningRateSchedule,
    rate_divisor: float,
    steps_a_group: int,
) -> keras.optimizers.MultiOptimizer:
    """An optimizer for each layer group, which keep their state apart.

    Frozen weights have a rate of zero: what is frozen is a function of the step alone, so that
    nothing is compiled anew and a resumed training unfreezes where it would have.

    Args:
        model: The model.
        optimizer: Makes an optimizer of a learning rate.
        schedule: The head's learning rate.
        rate_divisor: A group's rate over that of the group below it.
        steps_a_group: Steps from when a group is unfrozen until the one below it is.

    Returns:
        One optimizer of them all.
    """
    groups = layer_groups(model)[::-1]  # from the head down
    made = [
        optimizer(GroupRate(schedule, rate_divisor**depth, depth * steps_a_group))
        for depth in range(len(groups))
    ]
    # A pattern for each group, not a path for each weight: what they share survives being saved.
    patterns = ("|".join(re.escape(weight.path) for weight in group) for group in groups[1:])
    owners = dict(zip(patterns, made[1:], strict=True))
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(made[0], owners))
