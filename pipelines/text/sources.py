"""Which files some data name, and which split each of them is for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.base import SPLITS, Split
from pipelines.text.files import SUFFIXES

_ROLES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_ROLE = re.compile(rf"({'|'.join(_ROLES)})(?:[-_].*)?")
_UNLABELLED = "unsup"  # as the reviews of aclImdb that nobody has rated


@dataclass(frozen=True)
class Source:
    """A file of texts.

    Args:
        path: The file.
        split: The split that it is for; None where nothing says.
        label: The label of all that is in it; None where the file itself says.
        beside: The file of translations, line by line, of two that belong together.
    """

    path: Path
    split: Split | None = None
    label: str | None = None
    beside: Path | None = None


def find(data: str, *, labelled: bool = False) -> list[Source]:
    """Finds the files of some data.

    Args:
        data: A file or a folder, or two or three of them with commas between: TRAIN,TEST or
            TRAIN,VALIDATION,TEST, of which any but the first may be empty. `SOURCE+TARGET` are
            two files whose lines belong together. In a folder, files or folders named train,
            valid or dev, and test keep their splits; where there are such, all others are left
            alone.
        labelled: Take the folder of a `LABEL/*.txt` for its label.

    Returns:
        The files, sorted by path within a folder.

    Raises:
        FileNotFoundError: If a file is absent, or a folder holds none.
        ValueError: If there are more than three parts.
    """
    parts = [data] if _path(data).exists() else [part.strip() for part in data.split(",")]
    splits: tuple[Split | None, ...] = (None,)
    if len(parts) > 1:
        splits = SPLITS if len(parts) == 3 else ("train", "test")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(
            "`data` must be a file or folder, or TRAIN,TEST or TRAIN,VALIDATION,TEST. "
            f"Received: data={data!r}"
        )
    found = []
    for part, split in zip(parts, splits, strict=True):
        for source in _files(part, labelled) if part else ():
            found.append(replace(source, split=split or source.split))
    return found


def _path(name: str) -> Path:
    return Path(name).expanduser()


def _files(name: str, labelled: bool) -> list[Source]:
    path = _path(name)
    if path.is_dir():
        return _scan(path, labelled)
    first, plus, second = name.partition("+")
    paths = [path] if path.exists() or not plus else [_path(first), _path(second)]
    for one in paths:
        if not one.is_file():
            raise FileNotFoundError(
                f"`data` must be a file or a folder of text. Received: {one}, which does not exist."
            )
    return [Source(paths[0], beside=paths[1] if plus and len(paths) > 1 else None)]


def _scan(folder: Path, labelled: bool) -> list[Source]:
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith((".", "__MACOSX")) for part in relative.parts)
        split = _role(relative)
        if path.is_file() and not hidden and (split or path.suffix.lower() in SUFFIXES):
            found.append(Source(path, split, _label(relative) if labelled else None))
    # Lists and notes stand beside the folders of labels; unrated texts in one of their own.
    if any(source.label for source in found):
        found = [source for source in found if source.label not in (None, _UNLABELLED)]
    if any(source.split for source in found):
        found = [source for source in found if source.split]
    if not found:
        raise FileNotFoundError(
            f"{folder}: the folder must hold files named train.*, valid.*, test.*, or any of "
            f"{', '.join(SUFFIXES)}. Received: none."
        )
    return found


def _role(relative: Path) -> Split | None:
    """The split that the first telling part of a path names: train/a.txt, dev.csv, x.test."""
    words = [*relative.parts[:-1], *relative.name.lower().split(".")]
    matches = (_ROLE.fullmatch(word.lower()) for word in words)
    return next((_ROLES[match[1]] for match in matches if match), None)


def _label(relative: Path) -> str | None:
    """The folder of a text file, unless that is the name of a split."""
    folder = relative.parent.name
    named = relative.suffix.lower() == ".txt" and folder and not _ROLE.fullmatch(folder.lower())
    return folder if named else None
