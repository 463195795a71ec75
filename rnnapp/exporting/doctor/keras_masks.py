"""Follows masks through the layers of a `.keras` file, as Keras 3 hands them on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rnnapp.exporting.doctor.findings import Fault
from rnnapp.exporting.doctor.keras_file import (
    NESTED,
    RECURRENT,
    Config,
    KerasFile,
    calls_of,
    class_of,
)

# Keras layers that hand the mask of their input on: `supports_masking` is true, and `compute_mask`
# is not their own. Every other layer, and every bare operation, drops it.
_CARRIERS = """
    Activation ActivityRegularization AlphaDropout BatchNormalization Dense Dropout ELU
    GaussianDropout GaussianNoise GroupNormalization Identity InputLayer LayerNormalization
    LeakyReLU Normalization PReLU ReLU Rescaling Softmax SpatialDropout1D SpatialDropout2D
    SpatialDropout3D TimeDistributed UnitNormalization
"""
CARRIERS = frozenset(_CARRIERS.split())
# What mixes timesteps by their mask, and hands on that of the first input.
ATTENTION = frozenset(
    ("AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention")
)
# Layers that leave one vector of a sequence: no mask is missed after them.
REDUCING = frozenset(("Dot", "Flatten", "GlobalAveragePooling1D", "GlobalMaxPooling1D"))
# Programs, and layers of somebody else's: nobody knows what they do with a mask.
UNKNOWN = frozenset(("", "Lambda", "TFSMLayer"))
# Layers of several inputs, each of which must have a mask for the output to have a true one.
MERGING = frozenset(("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"))

History = tuple[str, int, int]  # layer, call, output


@dataclass(frozen=True)
class Mask:
    """The mask of a tensor, or what became of it.

    Args:
        lost_at: The layer that dropped it.
        reversed_at: The layer that turned the timesteps round, and not their mask.
        source: The mask that this layer was given, if it was given one explicitly.
    """

    lost_at: str = ""
    reversed_at: str = ""
    source: History | None = None


State = Mask | None


def lost(file: KerasFile) -> Iterator[Fault]:
    """Layers that would use a mask which a layer before them has dropped."""
    for consumer, mask in _followed(file).missing:
        yield Fault(
            f"layer `{consumer}`, after `{mask.lost_at}`",
            f"The model masks its padding, `{mask.lost_at}` drops the mask, and `{consumer}` takes "
            "padding for data: answers change with the padding, in Keras and in every export.",
            "Compute the mask where it arises, `mask = masking.compute_mask(inputs)`, and pass "
            f"`mask=mask` to `{consumer}`; or take a layer that hands masks on.",
        )


def _reversed_masks(file: KerasFile) -> Iterator[Fault]:
    """Layers whose padding stands at the left, while their mask says right."""
    for consumer, mask in _followed(file).misaligned:
        yield Fault(
            f"layer `{consumer}`, after `{mask.reversed_at}`",
            f"`{mask.reversed_at}` has go_backwards=True and gives its sequence in reverse, which "
            f"puts the padding at the left; its mask is not reversed, so `{consumer}` skips data "
            "and reads padding. With cuDNN, no left-padded mask is accepted either.",
            f"Reverse the output of `{mask.reversed_at}` by `keras.ops.flip(x, axis=1)` and pass "
            "the mask explicitly, or wrap the layer in `Bidirectional`, which does so.",
        )


def left_padding(file: KerasFile) -> Iterator[Fault]:
    """Padding at the left, by a layer's own setting or by turning a sequence round."""
    yield from _reversed_masks(file)
    recurrent = any(class_of(layer) in RECURRENT for layer in file.layers())
    for layer in file.layers():
        if recurrent and layer["config"].get("padding_side") == "left":
            yield Fault(
                f"layer `{layer['config']['name']}`",
                "padding_side='left': on a GPU, cuDNN takes masks of right-padded sequences "
                "alone, and Keras stops at any other; on a CPU the same model answers.",
                "Pad on the right, padding_side='right', or set use_cudnn=False.",
            )


def _followed(file: KerasFile) -> _Follower:
    follower = _Follower()
    if class_of(file.config) in NESTED:
        follower.run(file.config, [])
    return follower


@dataclass
class _Follower:
    """Walks a model from its inputs on, and notes who misses a mask."""

    missing: list[tuple[str, Mask]] = field(default_factory=list)
    misaligned: list[tuple[str, Mask]] = field(default_factory=list)

    def run(self, model: Config, inputs: list[State]) -> State:
        """The mask of a model's output, from those of its inputs."""
        if class_of(model) == "Sequential":
            state = inputs[0] if inputs else None
            for layer in model["config"]["layers"]:
                state = self._through(layer, [state], {})
            return state
        return self._functional(model["config"], inputs)

    def _functional(self, config: Config, inputs: list[State]) -> State:
        layers = {layer["name"]: layer for layer in config["layers"]}
        starts = [name for name, *_ in _histories(config["input_layers"])]
        known: dict[tuple[str, int], State] = {
            (name, 0): state for name, state in zip(starts, inputs, strict=False)
        }

        def state_of(history: History) -> State:
            name, call, output = history
            calls = calls_of(layers[name])
            if (name, call) not in known and call < len(calls):
                given = calls[call]
                before = [state_of(found) for found in _histories(given["args"])]
                known[name, call] = self._through(layers[name], before, given["kwargs"])
            # Only the first output of a recurrent layer is a sequence; the others are its states.
            return None if output else known.get((name, call))

        for name, layer in layers.items():  # in order, so that none has to look far back
            for call in range(len(calls_of(layer))):
                state_of((name, call, 0))
        outputs = [state_of(found) for found in _histories(config["output_layers"])]
        return outputs[0] if outputs else None

    def _through(self, layer: Config, before: list[State], kwargs: Config) -> State:
        """The mask of a layer's output, from those of its inputs and its arguments."""
        kind, name = class_of(layer), layer["config"].get("name", layer["class_name"])
        explicit = next(_explicit(kwargs), None)
        first = before[0] if before else None
        if kind in NESTED:
            inputs = [Mask() if explicit and (not s or s.lost_at) else s for s in before]
            return self.run(layer, inputs)
        if kind == "Masking" or layer["config"].get("mask_zero"):
            return Mask()
        if kind in RECURRENT or kind in ATTENTION or kind == "GlobalAveragePooling1D":
            return self._through_consumer(layer, kind, name, before, explicit)
        if kind in CARRIERS:
            return Mask() if explicit and not (first and first.reversed_at) else first
        if kind in REDUCING or kind in UNKNOWN:
            return None
        present = [state for state in before if state]
        if kind in MERGING and len(present) == len(before):
            return next((state for state in present if state.lost_at), first)
        if not present:
            return None
        return next((state for state in present if state.lost_at), Mask(lost_at=name))

    def _through_consumer(
        self, layer: Config, kind: str, name: str, before: list[State], explicit: History | None
    ) -> State:
        present = [state for state in before if state]
        gone = next((state for state in present if state.lost_at), None)
        if gone and not explicit:
            self.missing.append((name, gone))
            return None
        turned = next((state for state in present if state.reversed_at), None)
        if turned and explicit in (None, turned.source):
            self.misaligned.append((name, turned))
            return None
        if kind in ATTENTION:
            return before[0] if before else None
        inner = layer["config"].get("layer", layer)["config"]
        if not inner.get("return_sequences") or not (present or explicit):
            return None
        backwards = kind != "Bidirectional" and inner.get("go_backwards")
        return Mask(reversed_at=name, source=explicit) if backwards else Mask()


def _explicit(kwargs: Config) -> Iterator[History]:
    """The masks among a call's arguments."""
    for key, value in kwargs.items():
        if key.endswith("mask"):
            yield from _histories(value)


def _histories(value: Any) -> Iterator[History]:
    """Every tensor in a call's arguments, or in a model's lists of inputs and outputs."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        yield tuple(value["config"]["keras_history"])
    elif isinstance(value, list) and [type(item) for item in value] == [str, int, int]:
        yield tuple(value)
    elif isinstance(value, dict | list):
        inner: Iterable[Any] = value.values() if isinstance(value, dict) else value
        for item in inner:
            yield from _histories(item)
