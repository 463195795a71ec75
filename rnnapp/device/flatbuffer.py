"""Check a .tflite file before a runtime sees it: tflite-runtime crashes on one cut short."""

from __future__ import annotations

import struct

IDENTIFIER = b"TFL3"


def check(content: bytes, name: str) -> None:
    """Raise unless the content is a whole TFLite flatbuffer that a plain runtime can run.

    Args:
        content: the bytes of the file.
        name: what errors call it.

    Raises:
        ValueError: it is empty, not TFLite, cut short, or needs TensorFlow (Flex) operators.
    """
    if not content:
        raise ValueError(f"{name} is empty. Export or copy it again")
    if content[4:8] != IDENTIFIER:
        raise ValueError(
            f"{name} must be a TFLite file, with {IDENTIFIER.decode()} at byte 4. "
            f"Received: {content[:8]!r}"
        )
    try:
        operators = custom_operators(content)
    except (struct.error, EOFError):
        raise ValueError(f"{name} is cut short at {len(content)} bytes. Copy it again") from None
    flex = [operator for operator in operators if operator.startswith("Flex")]
    if flex:
        raise ValueError(
            f"{name} needs the TensorFlow operators {', '.join(flex)}, which no on-device runtime "
            "has. Convert it with TFLITE_BUILTINS alone, from a signature of static shape"
        )


def custom_operators(content: bytes) -> list[str]:
    """List the custom operators that a model names.

    The writers fill a flatbuffer from its end, operator codes first, so the reads here reach the
    last bytes of the file: one that was cut short raises.

    Args:
        content: the bytes of a TFLite flatbuffer.

    Returns:
        Names, such as `FlexTensorListReserve`; empty where all operators are builtin.

    Raises:
        struct.error, EOFError: the content ends too early.
    """
    codes = _field(content, _follow(content, 0), 1)  # Model.operator_codes
    vector = _follow(content, codes)
    names = []
    for index in range(_uint32(content, vector)):
        table = _follow(content, vector + 4 + 4 * index)
        custom_code = _field(content, table, 1)  # OperatorCode.custom_code
        if custom_code:
            text = _follow(content, custom_code)
            end = text + 4 + _uint32(content, text)
            _reach(content, end)
            names.append(content[text + 4 : end].decode(errors="replace"))
    return names


def _reach(content: bytes, end: int) -> None:
    if end > len(content):
        raise EOFError


def _uint32(content: bytes, position: int) -> int:
    return int(struct.unpack_from("<I", content, position)[0])


def _follow(content: bytes, position: int) -> int:
    """Position that the offset stored at `position` points to."""
    return position + _uint32(content, position)


def _field(content: bytes, table: int, index: int) -> int:
    """Position of a table's field; 0 where the table leaves it out."""
    vtable = table - struct.unpack_from("<i", content, table)[0]
    size, table_size = struct.unpack_from("<HH", content, vtable)
    _reach(content, max(vtable + size, table + table_size))
    entry = 4 + 2 * index
    offset = struct.unpack_from("<H", content, vtable + entry)[0] if entry < size else 0
    return int(table + offset) if offset else 0
