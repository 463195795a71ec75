"""TFLite metadata: what a file says of its inputs, outputs and labels to the apps that load it.

Our own writer, because the package that has one pins a protobuf that TensorFlow cannot live with.
"""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rnnapp.device.description import PROBABILITIES
from rnnapp.device.stepper import NEXT
from rnnapp.exporting import flatbuffer
from rnnapp.exporting.metadata_tables import decoded, encoded

ENTRY = b"TFLITE_METADATA"

# Numbers in the schema's union ContentProperties and enum AssociatedFileType, and its first version
# that knows audio.
_AUDIO_PROPERTIES, _TENSOR_AXIS_LABELS, _PARSER = 4, 2, "1.3.0"

_AUDIO_INPUTS = ("waveform", "samples")
_TEXTS = {
    "predict": "Answers a whole window.",
    "step": "Answers one step of a stream, and hands on its states.",
    "waveform": "Audio samples between -1 and 1.",
    "samples": "The next audio samples, between -1 and 1.",
    "features": "A sequence of feature vectors.",
    "logits": "Scores of the labels; their softmax is `probabilities`.",
    PROBABILITIES: "Probabilities of the labels.",
}


@dataclass(frozen=True)
class Audio:
    """The kind of audio that a tensor takes.

    Args:
        sample_rate: In hertz.
        channels: Interleaved channels.
    """

    sample_rate: int
    channels: int = 1


@dataclass(frozen=True)
class TensorDescription:
    """An input or output of a signature.

    Args:
        name: Its name in the signature.
        description: For people.
        audio: Set if it takes audio.
        labels: Name of the associated file with a label on each line, one for each of its values.
    """

    name: str
    description: str = ""
    audio: Audio | None = None
    labels: str = ""


@dataclass(frozen=True)
class SignatureDescription:
    """A signature and its subgraph.

    Args:
        name: The signature's name.
        description: For people.
        inputs: In the subgraph's order.
        outputs: Likewise.
    """

    name: str
    description: str = ""
    inputs: tuple[TensorDescription, ...] = ()
    outputs: tuple[TensorDescription, ...] = ()


@dataclass(frozen=True)
class ModelDescription:
    """What a file says of itself.

    Args:
        name: The model's name.
        description: For people.
        version: The model's version, in any form.
        signatures: In the order of their subgraphs.
    """

    name: str
    description: str = ""
    version: str = ""
    signatures: tuple[SignatureDescription, ...] = ()


def of_signatures(
    content: bytes,
    *,
    name: str,
    description: str = "",
    version: str = "",
    sample_rate: int | None = None,
    labels: str = "labels.txt",
) -> ModelDescription:
    """Describes one of our files, by the names that stand in its signatures.

    Args:
        content: A TFLite flatbuffer.
        name: The model's name.
        description: What it does, for people.
        version: The model's version.
        sample_rate: Of the audio that it hears, in hertz; None if it hears none.
        labels: Name of the associated file with the labels of `probabilities`.
    """
    audio = None if sample_rate is None else Audio(sample_rate)

    def tensor(bare: TensorDescription, known: set[str]) -> TensorDescription:
        return TensorDescription(
            bare.name,
            _text(bare.name, known),
            audio if bare.name in _AUDIO_INPUTS else None,
            labels if bare.name == PROBABILITIES else "",
        )

    def signature(bare: SignatureDescription) -> SignatureDescription:
        known = {each.name for each in bare.inputs + bare.outputs}
        return SignatureDescription(
            bare.name,
            _text(bare.name, set()),
            tuple(tensor(each, known) for each in bare.inputs),
            tuple(tensor(each, known) for each in bare.outputs),
        )

    found = _bare_signatures(flatbuffer.unpack(content)).values()
    return ModelDescription(name, description, version, tuple(map(signature, found)))


def _text(name: str, known: set[str]) -> str:
    """What a name means, beside those of the tensors around it."""
    if NEXT + name in known:
        return f"A state: zeros at first, then `{NEXT + name}`."
    state = name.removeprefix(NEXT)
    if state != name and state in known:
        return f"The next call's `{state}`."
    return _TEXTS.get(name, "")


def described(content: bytes, description: ModelDescription) -> bytes:
    """Writes metadata into a file, in the place of any that it has.

    Args:
        content: A TFLite flatbuffer, to which no files are attached yet.
        description: Of all its signatures, as `of_signatures` lists them.

    Returns:
        The same model with metadata; the same bytes for the same arguments.

    Raises:
        ValueError: If files are attached, or if the names are not those of the file's signatures.
    """
    if zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError(
            "`content` must be a TFLite flatbuffer alone. Received: one with associated files. "
            "Attach them when the metadata is written"
        )
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.unpack(content)
    entries = {entry.name: entry for entry in model.metadata or []}
    if ENTRY not in entries:
        entries[ENTRY] = schema.MetadataT(name=ENTRY, buffer=len(model.buffers))
        model.buffers.append(schema.BufferT())
        model.metadata = list(entries.values())
    fields = _fields(description, _bare_signatures(model))
    model.buffers[entries[ENTRY].buffer].data = np.frombuffer(encoded(fields), np.uint8)
    return flatbuffer.pack(model, len(content))


def read(content: bytes) -> ModelDescription | None:
    """Reads what a file says of itself.

    Args:
        content: A TFLite flatbuffer, with or without associated files, made by anyone.

    Returns:
        Its description; None if it has no metadata.

    Raises:
        ValueError: If the metadata is damaged.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    for entry in map(model.Metadata, range(model.MetadataLength())):
        buffer = model.Buffers(entry.Buffer())
        if entry.Name() == ENTRY and buffer.DataLength():
            return _description(decoded(buffer.DataAsNumpy().tobytes()))
    return None


def _bare_signatures(model: Any) -> dict[int, SignatureDescription]:
    """The signatures by subgraph, with nothing but names, in the subgraph's order."""

    def tensors(maps: Sequence[Any], order: Sequence[int]) -> tuple[TensorDescription, ...]:
        names = defaultdict(list)  # one tensor may have several
        for entry in maps:
            names[entry.tensorIndex].append(entry.name.decode())
        return tuple(TensorDescription(names[index].pop(0)) for index in order)

    found = {}
    for definition in model.signatureDefs or []:
        number = definition.subgraphIndex
        inputs = tensors(definition.inputs, model.subgraphs[number].inputs)
        outputs = tensors(definition.outputs, model.subgraphs[number].outputs)
        name = definition.signatureKey.decode()
        found[number] = SignatureDescription(name, inputs=inputs, outputs=outputs)
    return dict(sorted(found.items()))


def _fields(
    description: ModelDescription, bare: Mapping[int, SignatureDescription]
) -> dict[str, Any]:
    """A description as the schema has it."""
    received, names = list(map(_names, description.signatures)), list(map(_names, bare.values()))
    if received != names:
        raise ValueError(
            "`description` must have the file's signatures, inputs and outputs, in this order: "
            f"{names}. Received: {received}"
        )
    # A table for each subgraph; those without a signature, such as the body of a loop, stay empty.
    tables: list[dict[str, Any]] = [{} for _ in range(max(bare, default=-1) + 1)]
    for number, signature in zip(bare, description.signatures, strict=True):
        tables[number] = {
            "name": signature.name,
            "description": signature.description,
            "input_tensor_metadata": list(map(_tensor_fields, signature.inputs)),
            "output_tensor_metadata": list(map(_tensor_fields, signature.outputs)),
        }
    return {
        "name": description.name,
        "description": description.description,
        "version": description.version,
        "subgraph_metadata": tables,
        "min_parser_version": _PARSER,
    }


def _names(signature: SignatureDescription) -> tuple[str, list[str], list[str]]:
    inputs, outputs = signature.inputs, signature.outputs
    return signature.name, [each.name for each in inputs], [each.name for each in outputs]


def _tensor_fields(tensor: TensorDescription) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tensor.name, "description": tensor.description}
    if tensor.audio:
        fields["content"] = {
            "content_properties_type": _AUDIO_PROPERTIES,
            "content_properties": asdict(tensor.audio),
        }
    if tensor.labels:
        file = {"name": tensor.labels, "description": "Labels.", "type": _TENSOR_AXIS_LABELS}
        fields["associated_files"] = [file]
    return fields


def _description(fields: dict[str, Any]) -> ModelDescription:
    """The schema's fields as a description."""
    signatures = tuple(
        SignatureDescription(
            *_texts(table),
            tuple(map(_tensor_description, table.get("input_tensor_metadata", []))),
            tuple(map(_tensor_description, table.get("output_tensor_metadata", []))),
        )
        for table in fields.get("subgraph_metadata", [])
        if table
    )
    return ModelDescription(*_texts(fields), fields.get("version", ""), signatures)


def _tensor_description(fields: dict[str, Any]) -> TensorDescription:
    content, files = fields.get("content", {}), fields.get("associated_files", [])
    audio = None
    if content.get("content_properties_type") == _AUDIO_PROPERTIES:
        properties = content.get("content_properties", {})
        audio = Audio(properties.get("sample_rate", 0), properties.get("channels", 0))
    labels = [file.get("name", "") for file in files if file.get("type") == _TENSOR_AXIS_LABELS]
    return TensorDescription(*_texts(fields), audio, labels[0] if labels else "")


def _texts(fields: dict[str, Any]) -> tuple[str, str]:
    return fields.get("name", ""), fields.get("description", "")
