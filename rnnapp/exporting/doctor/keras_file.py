"""A `.keras` file as it lies there: its configuration and its weights, nothing of it executed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.exporting.doctor.findings import BadFileError

Config = dict[str, Any]
WEIGHTS = "model.weights.h5"

# Classes that loop over timesteps, and those that hold a model of their own.
RECURRENT = frozenset(
    ("RNN", "SimpleRNN", "LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional")
)
NESTED = frozenset(("Functional", "Sequential"))


class KerasFile:
    """A `.keras` file.

    Args:
        path: The file.

    Attributes:
        config: The model's configuration, which fixes may change.
        runtimes: None: such a file does not say where it is to run.

    Raises:
        BadFileError: If it is no zip, damaged, or has no configuration.
    """

    runtimes: frozenset[str] | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {info: archive.read(info) for info in archive.infolist()}
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise BadFileError(f"{path} is damaged: {error}. Save or copy it again") from error
        self._files = {info.filename: content for info, content in self._members.items()}
        if "config.json" not in self._files:
            raise BadFileError(
                f"{path} must be a .keras file, a zip with config.json. "
                f"Received: a zip with {', '.join(self._files) or 'nothing'}"
            )
        try:
            self.config: Config = json.loads(self._files["config.json"])
        except (ValueError, RecursionError) as error:
            raise BadFileError(f"{path}: config.json must be JSON. {error}") from error

    def objects(self) -> Iterator[Config]:
        """Every serialized object of the model, outer ones first; not those that train it."""
        return _objects(self.config.get("config"))

    def layers(self) -> Iterator[Config]:
        """Every object with a name of its own: layers, inner ones too, and operations."""
        for found in self.objects():
            if isinstance(found.get("config"), dict) and "name" in found["config"]:
                yield found

    @cached_property
    def weights(self) -> dict[str, np.ndarray] | None:
        """The model's arrays by path, without the optimizer's; None if the file has none.

        Raises:
            BadFileError: If they cannot be read.
        """
        import h5py  # type: ignore[import-untyped]

        if WEIGHTS not in self._files:
            return None
        found: dict[str, np.ndarray] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
                found[name] = item[()]

        try:
            # `visititems` follows no links, which could lead to other files.
            with h5py.File(io.BytesIO(self._files[WEIGHTS])) as file:
                file.visititems(visit)
                self._groups = _named_groups(file)
        except (OSError, RuntimeError, KeyError) as error:
            raise BadFileError(f"{self.path}: {WEIGHTS} is damaged. {error}") from error
        return found

    def arrays_of(self, name: str, unknown: int) -> int:
        """How many arrays a layer has; `unknown` where the file does not name its layers."""
        weights = self.weights or {}
        if not self._groups:
            return unknown
        groups = [group for group, layer in self._groups.items() if layer == name]
        sizes = [sum(path.startswith(f"{group}/") for path in weights) for group in groups]
        return max(sizes, default=0)

    def write(self, path: Path) -> None:
        """Writes the file with `config` as it is now, and all else as it was."""
        with zipfile.ZipFile(path, "w") as archive:
            for info, content in self._members.items():
                changed = info.filename == "config.json"
                archive.writestr(info, json.dumps(self.config) if changed else content)


def calls_of(layer: Config) -> list[Config]:
    """How a layer is called in its model: positional arguments as `args`, others as `kwargs`."""
    nodes = layer.get("inbound_nodes") or []
    return [node if isinstance(node, dict) else _of_keras_2(node) for node in nodes]


def _of_keras_2(node: list[list[Any]]) -> Config:
    """A call as Keras 2 writes it: layer, call, output and arguments of each tensor."""
    kwargs = [entry[3] for entry in node if len(entry) > 3]
    return {"args": [entry[:3] for entry in node], "kwargs": kwargs[0] if kwargs else {}}


def class_of(found: Config) -> str:
    """The class of one of Keras' own objects, with `ops.` before operations; else nothing."""
    module = found.get("module") or ""
    if ".ops" in module:  # an operation `Add` is not the layer `Add`
        return f"ops.{found['class_name']}"
    own = module == "keras" or module.startswith("keras.")
    return str(found["class_name"]) if own else ""


def _objects(value: Any) -> Iterator[Config]:
    if isinstance(value, dict):
        if "class_name" in value and "config" in value:
            yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _named_groups(file: Any) -> dict[str, str]:
    """Which layer each group belongs to; Keras notes its name on the subgroup `vars`."""
    groups: dict[str, str] = {}

    def visit(path: str, item: Any) -> None:
        group, _, last = path.rpartition("/")
        if last == "vars" and "name" in item.attrs:
            groups[group] = str(item.attrs["name"])

    file.visititems(visit)
    return groups
