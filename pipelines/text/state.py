"""The settings of a fitted text pipeline in a folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

Spec = TypeVar("Spec")


def save(folder: Path, spec: Any, seed: int) -> None:
    """Writes `pipeline.json`; the folder is made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {"spec": dataclasses.asdict(spec), "seed": seed}
    (folder / "pipeline.json").write_text(json.dumps(state, indent=2), encoding="utf-8")


def load(folder: Path, kind: type[Spec]) -> tuple[Spec, int]:
    """The settings, of that kind, and the seed, as `save` wrote them.

    Raises:
        FileNotFoundError: If the folder holds no pipeline.
    """
    state = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    return kind(**state["spec"]), state["seed"]
