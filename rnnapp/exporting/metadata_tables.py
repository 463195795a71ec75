"""The flatbuffer tables of TFLite metadata, as nested dictionaries.

After the public schema that ships in MediaPipe's wheel, `metadata_schema.fbs` 1.5.0.
"""

from __future__ import annotations

import struct
from typing import Any

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table

IDENTIFIER = b"M001"

# The tables that are used here, their fields in the schema's order, which numbers their slots. A
# field that is never used stands as None, or is left out at a table's end.
TABLES: dict[str, dict[str, str | None]] = {
    "ModelMetadata": {
        "name": "string",
        "description": "string",
        "version": "string",
        "subgraph_metadata": "[SubGraphMetadata]",
        "author": None,
        "license": None,
        "associated_files": None,
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        "name": "string",
        "description": "string",
        "input_tensor_metadata": "[TensorMetadata]",
        "output_tensor_metadata": "[TensorMetadata]",
    },
    "TensorMetadata": {
        "name": "string",
        "description": "string",
        "dimension_names": None,
        "content": "Content",
        "process_units": None,
        "stats": None,
        "associated_files": "[AssociatedFile]",
    },
    # `content_properties` is a union; of its tables, only that of audio says anything here.
    "Content": {"content_properties_type": "ubyte", "content_properties": "AudioProperties"},
    "AudioProperties": {"sample_rate": "uint", "channels": "uint"},
    "AssociatedFile": {"name": "string", "description": "string", "type": "byte"},
}
_SCALARS = {
    "ubyte": number_types.Uint8Flags,
    "byte": number_types.Int8Flags,
    "uint": number_types.Uint32Flags,
}


def encoded(fields: dict[str, Any]) -> bytes:
    """Writes the table `ModelMetadata`.

    Args:
        fields: Its fields: text, numbers, and dictionaries or lists of them for tables.

    Returns:
        A flatbuffer; the same bytes for the same fields.
    """
    builder = flatbuffers.Builder()
    builder.Finish(_write(builder, "ModelMetadata", fields), IDENTIFIER)
    return bytes(builder.Output())


def decoded(content: bytes) -> dict[str, Any]:
    """Reads the table `ModelMetadata`.

    Args:
        content: A flatbuffer, as `encoded` or anybody else wrote it.

    Returns:
        Those fields that are in `TABLES` and were written.

    Raises:
        ValueError: If the content is something else, or cut short.
    """
    try:
        if content[4:8] == IDENTIFIER:
            return _read(Table(content, Table(content, 0).Indirect(0)), "ModelMetadata")
    except (struct.error, TypeError):  # a place beyond the end, or before the start
        pass
    raise ValueError(
        f"TFLite metadata must be a whole flatbuffer with {IDENTIFIER.decode()} at byte 4. "
        f"Received: {len(content)} bytes that begin with {content[:8]!r}"
    )


def _write(builder: flatbuffers.Builder, name: str, fields: dict[str, Any]) -> int:
    """Writes a table after all that it points to, and returns its place."""
    kinds = TABLES[name]
    stored = {field: _stored(builder, kinds[field], value) for field, value in fields.items()}
    builder.StartObject(len(kinds))
    for slot, (field, kind) in enumerate(kinds.items()):
        if field in stored and kind in _SCALARS:
            builder.PrependSlot(_SCALARS[kind], slot, stored[field], 0)
        elif field in stored:
            builder.PrependUOffsetTRelativeSlot(slot, stored[field], 0)
    return builder.EndObject()


def _stored(builder: flatbuffers.Builder, kind: str | None, value: Any) -> int:
    """What goes into a slot: a number, or the place of what was written."""
    assert kind, "a field that is never used"
    if kind in _SCALARS:
        return value
    if kind == "string":
        return builder.CreateString(value)
    if not kind.startswith("["):
        return _write(builder, kind, value)
    places = [_write(builder, kind.strip("[]"), item) for item in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()


def _read(table: Table, name: str) -> dict[str, Any]:
    offsets = {field: table.Offset(4 + 2 * slot) for slot, field in enumerate(TABLES[name])}
    return {
        field: _loaded(table, kind, offsets[field])
        for field, kind in TABLES[name].items()
        if kind and offsets[field]
    }


def _loaded(table: Table, kind: str, offset: int) -> Any:
    """What a slot says."""
    position = table.Pos + offset
    if kind in _SCALARS:
        return table.Get(_SCALARS[kind], position)
    if kind == "string":
        return table.String(position).decode(errors="replace")
    if not kind.startswith("["):
        return _read(Table(table.Bytes, table.Indirect(position)), kind)
    first = table.Vector(offset)
    places = [table.Indirect(first + 4 * item) for item in range(table.VectorLen(offset))]
    return [_read(Table(table.Bytes, place), kind.strip("[]")) for place in places]
