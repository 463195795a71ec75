"""Texts of tensorflow-datasets: any features that are text, labels, or languages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.base import SPLITS, BadInputs, Split
from pipelines.text import files, tables
from pipelines.text.spec import PairSpec

PREFIX = "tfds:"
_UNNAMED = (PairSpec.source_column, PairSpec.target_column)  # where nobody has named others


def splits(data: str) -> list[Split]:
    """The official splits of a data set, those that no pipeline knows left out."""
    official = _builder(data).info.splits
    return [split for split in SPLITS if split in official]


def read(
    data: str, columns: tuple[str, ...], bad: BadInputs
) -> Iterator[tuple[str, int, Split, tuple[str, ...]]]:
    """Reads some features of a data set, downloading it when it is not there.

    Args:
        data: `tfds:NAME[/CONFIG]`.
        columns: The features. For source and target, as pairs are called where nobody names
            their languages, the data set's own supervised pair is taken if it lacks them.
        bad: Takes rows with an empty field or invalid UTF-8.

    Yields:
        `tfds:NAME/SPLIT`, the number in that split, the split, and the features as text, of each
        usable example.

    Raises:
        ModuleNotFoundError: If tensorflow-datasets is not installed.
        ValueError: If the data set has no such features; the message names those that it has.
    """
    builder = _builder(data)
    names = _features(data, builder.info, columns)
    builder.download_and_prepare()
    for split in splits(data):
        path = f"{data}/{split}"
        for row, example in enumerate(builder.as_dataset(split=split).as_numpy_iterator()):
            fields = tuple(_text(example[name], builder.info.features[name]) for name in names)
            reason = files.fault(fields, columns)
            if reason:
                bad.add(f"{path}#{row}", reason)
            else:
                yield path, row, split, fields


def _builder(data: str) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`data={data}` needs tensorflow-datasets. Run: pip install tensorflow-datasets "
            "importlib_resources"
        ) from error
    return tfds.builder(data.removeprefix(PREFIX))


def _features(data: str, info: Any, columns: tuple[str, ...]) -> tuple[str, ...]:
    present = [*info.features]
    if set(columns) <= set(present):
        return columns
    supervised = info.supervised_keys
    if columns == _UNNAMED and supervised and set(supervised) <= set(present):
        return tuple(supervised)
    raise ValueError(
        f"{data}: the data set must have the features {', '.join(columns)}. Received: "
        f"{', '.join(present)}. Name yours by the settings that end in _column."
    )


def _text(value: Any, feature: Any) -> str:
    """A text, or the name of a label; empty where it is missing."""
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if value >= 0 else ""
    return tables.plain(value)
