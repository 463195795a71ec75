"""What a model's signatures take and give, and whether a request fits."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rnnapp.device.sequences import LENGTHS
from rnnapp.serving.errors import Code, ServingError, invalid
from rnnapp.serving.protocol import Message
from rnnapp.serving.tensors import STRING, dtype_of, name_of

DEFAULT = "serving_default"
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a signature.

    Args:
        dtype: Its number in DataType.
        shape: Its sizes, -1 for any; None for any shape.
    """

    dtype: int
    shape: tuple[int, ...] | None

    @classmethod
    def of(cls, proto: Message) -> TensorSpec:
        """What a TensorInfo says."""
        shape = proto.tensor_shape
        return cls(
            proto.dtype, None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
        )

    @property
    def is_batch(self) -> bool:
        """Whether its first size is any number of rows."""
        return (self.shape or ())[:1] == (-1,)

    @property
    def is_sequence(self) -> bool:
        """Whether each of its rows is of any length."""
        return (self.shape or ())[:2] == (-1, -1)

    def takes(self, array: np.ndarray) -> bool:
        """Whether an array is of this type and shape."""
        if array.dtype != dtype_of(self.dtype):
            return False
        return self.shape is None or (
            len(self.shape) == array.ndim
            and all(own in (-1, size) for own, size in zip(self.shape, array.shape, strict=True))
        )

    def __str__(self) -> str:
        sizes = (
            "of any shape"
            if self.shape is None
            else str(["any" if size == -1 else size for size in self.shape]).replace("'", "")
        )
        return f"{name_of(self.dtype)} {sizes}"


@dataclass(frozen=True)
class Signature:
    """A function that a model offers.

    Args:
        name: What requests call it.
        method: What it is for, as TensorFlow Serving names it: `PREDICT`, `CLASSIFY`, `REGRESS`.
        inputs: What it takes, by name.
        outputs: What it gives, by name.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    sequences: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        lengths = self.inputs.get(LENGTHS)
        has_lengths = (
            lengths is not None
            and lengths.shape == (-1,)
            and np.issubdtype(dtype_of(lengths.dtype), np.integer)
        )
        found = [name for name, spec in self.inputs.items() if spec.is_sequence]
        object.__setattr__(self, "sequences", tuple(found) if has_lengths else ())

    @classmethod
    def of(cls, name: str, proto: Message) -> Signature:
        """What a SignatureDef says."""
        inputs = {key: TensorSpec.of(proto.inputs[key]) for key in sorted(proto.inputs)}
        outputs = {key: TensorSpec.of(proto.outputs[key]) for key in sorted(proto.outputs)}
        return cls(name, proto.method_name, inputs, outputs)

    @functools.cached_property
    def batches(self) -> bool:
        """Whether requests may be answered in one call, a row of inputs for a row of outputs."""
        return all(spec.is_batch for spec in (*self.inputs.values(), *self.outputs.values()))

    @property
    def main_input(self) -> str | None:
        """The one input that a request must hold, as lengths can be filled in; None of several."""
        names = [name for name in self.inputs if not (self.sequences and name == LENGTHS)]
        return names[0] if len(names) == 1 else None

    @functools.cached_property
    def pads(self) -> bool:
        """Whether sequences of different lengths may be, as true lengths are told to the model.

        Outputs that are sequences themselves would be padded as well.
        """
        return bool(self.sequences) and not any(s.is_sequence for s in self.outputs.values())

    def checked(self, inputs: Arrays) -> Arrays:
        """A request's inputs, with the full length of each sequence where no lengths are told.

        Args:
            inputs: Arrays by name.

        Raises:
            ServingError: If the signature does not take them.
        """
        inputs = self.with_lengths(inputs)
        if inputs.keys() != self.inputs.keys():
            raise invalid(
                f"Signature `{self.name}` takes the inputs {sorted(self.inputs)}. "
                f"Received: {sorted(inputs)}"
            )
        for name, spec in self.inputs.items():
            if not spec.takes(inputs[name]):
                kind = "strings" if inputs[name].dtype == STRING else inputs[name].dtype
                raise invalid(
                    f"`{name}` must be {spec}. Received: {kind} {list(inputs[name].shape)}"
                )
        self._check_rows(inputs)
        return inputs

    def with_lengths(self, inputs: Arrays) -> Arrays:
        """Inputs with the full length of each sequence, where the signature asks and none is told.

        Args:
            inputs: Arrays by name.
        """
        if not self.sequences or LENGTHS in inputs or self.sequences[0] not in inputs:
            return inputs
        sequence = inputs[self.sequences[0]]
        if sequence.ndim < 2:
            return inputs  # its shape is refused
        dtype = dtype_of(self.inputs[LENGTHS].dtype)
        return {**inputs, LENGTHS: np.full(len(sequence), sequence.shape[1], dtype)}

    def _check_rows(self, inputs: Arrays) -> None:
        rows = {n: len(inputs[n]) for n, spec in self.inputs.items() if spec.is_batch}
        if len(set(rows.values())) > 1 or 0 in rows.values():
            raise invalid(f"Inputs must have the same number of rows, at least 1. Received: {rows}")
        if not self.sequences:
            return
        times = {name: inputs[name].shape[1] for name in self.sequences}
        if len(set(times.values())) > 1:
            raise invalid(f"Sequences must have the same number of timesteps. Received: {times}")
        time, lengths = times[self.sequences[0]], inputs[LENGTHS]
        if lengths.min() < 0 or lengths.max() > time:
            raise invalid(
                f"`{LENGTHS}` must be from 0 to the {time} timesteps of the sequences. "
                f"Received: {lengths.min()} to {lengths.max()}"
            )

    def filtered(self, outputs: Arrays, wanted: list[str]) -> Arrays:
        """Those outputs that were asked for; all where none were named.

        Raises:
            ServingError: If one of them is none of the signature's.
        """
        for name in wanted:
            if name not in outputs:
                raise invalid(
                    f"Signature `{self.name}` gives the outputs {sorted(outputs)}. "
                    f"Received: {name!r} in `output_filter`"
                )
        return {name: outputs[name] for name in wanted} if wanted else outputs


def named(signatures: Mapping[str, Signature], name: str) -> Signature:
    """A model's signature by its name, the default one's where that is empty.

    Raises:
        ServingError: If there is none; NOT_FOUND is for models.
    """
    if (name or DEFAULT) not in signatures:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"The model has the signatures {sorted(signatures)}. Received: {name or DEFAULT!r}",
        )
    return signatures[name or DEFAULT]
