"""The floors of the house, read from the source; and what an import may cost."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnnapp

ROOT = Path(__file__).parents[1]

# From the ground up; a module imports from lower floors only. `rnnapp` itself stands near the top:
# its public names are for users, and a part that took them would reach every floor.
FLOORS = (
    {"specs", "overrides", "progress", "files", "manifests", "records", "device", "pipelines"},
    {
        *("layers", "losses", "metrics", "decoding", "plots", "replay", "checkpoints"),
        *("averaging", "token_losses", "translation_metrics", "finetuning"),
    },
    {"builders", "language", "generation", "encoder_decoder", "translation", "optimizers"},
    {"backpropagation", "chunks"},
    {"tasks", "runs", "keeper"},
    {"starting"},
    {"training", "evaluation", "prediction", "exporting", "serving"},
    {"getting_started", "tuning", "archive", "remote"},
    {"beam"},
    {"rnnapp"},
    {"cli"},
)
NEIGHBOURS = {
    ("specs", "overrides"): "a spec checks the types of its fields as `--set` does",
    ("runs", "tasks"): "a run folder names its task",
    ("keeper", "runs"): "what a training reaches goes into its run folder",
}
SOURCES = sorted([*ROOT.glob("rnnapp/**/*.py"), *ROOT.glob("pipelines/**/*.py")])


def unit_of(path: Path) -> str:
    """The part of the house that a source file belongs to, as `FLOORS` calls it."""
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    return rest[0] if top == "rnnapp" and rest[0] != "__init__" else top


def floor_of(unit: str) -> int:
    """The floor of a part, counted from the ground."""
    found = [number for number, units in enumerate(FLOORS) if unit in units]
    assert found, f"`{unit}` stands on no floor: give it one in {Path(__file__).name}"
    return found[0]


def imported_names(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} must import by the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_units(path: Path) -> set[str]:
    """The parts of the house that a file imports from."""
    units = set()
    for name in imported_names(path):
        top, *rest = name.split(".")
        if top == "pipelines":
            units.add(top)
        elif top == "rnnapp":
            module = ROOT / "rnnapp" / rest[0] if rest else None
            is_part = module and (module.is_dir() or module.with_suffix(".py").is_file())
            units.add(rest[0] if is_part else top)
    return units - {unit_of(path)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    """A part that knows those above it, or beside it, cannot be used or changed without them."""
    unit = unit_of(path)
    for imported in imported_units(path):
        assert (unit, imported) in NEIGHBOURS or floor_of(imported) < floor_of(unit), (
            f"{path.relative_to(ROOT)}: `{unit}`, floor {floor_of(unit)}, must not import "
            f"`{imported}`, floor {floor_of(imported)}"
        )


def test_exceptions_are_still_needed() -> None:
    """An exception that nobody uses would let a new one in unseen."""
    pairs = {(unit_of(path), imported) for path in SOURCES for imported in imported_units(path)}
    assert set(NEIGHBOURS) <= pairs


@pytest.mark.parametrize(
    ("folder", "strangers"),
    [("pipelines", {"rnnapp"}), ("rnnapp/device", {"tensorflow", "keras", "pipelines"})],
)
def test_foundations_stand_alone(folder: str, strangers: set[str]) -> None:
    """Pipelines serve any model; the runner serves devices that have no TensorFlow."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        tops = {name.partition(".")[0] for name in imported_names(path)}
        assert not tops & strangers, path
        if folder == "rnnapp/device":
            assert not imported_units(path), path


def test_no_module_hides_behind_a_public_name() -> None:
    """Importing `rnnapp.x` sets the attribute `x`: a function of that name would be gone."""
    modules = {path.stem for path in (ROOT / "rnnapp").iterdir()}
    assert not modules & set(rnnapp.__all__)


def test_help_loads_neither_tensorflow_nor_keras() -> None:
    """Seconds at every `rnnapp --help`, which is where a user begins."""
    code = (
        "import json, sys, rnnapp; loaded = set(sys.modules)\n"
        "from rnnapp.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print(json.dumps(sorted(loaded | set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"rnnapp.cli", "typer"} <= loaded
    assert not loaded & {"tensorflow", "keras", "sklearn", "matplotlib"}


def test_exports_predict_without_tensorflow() -> None:
    """Seconds and a gigabyte that a file for devices does not need."""
    modules = ("archive", "remote", "serving.client", "device.fixed", "cli.prediction")
    imports = ", ".join(f"rnnapp.{module}" for module in modules)
    code = f"import sys, {imports}; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"


def test_public_names_are_where_they_are_said_to_be() -> None:
    """Names are looked up on first use, so a wrong home would show there only."""
    assert set(rnnapp.__all__) <= set(dir(rnnapp))
    for name in rnnapp.__all__:
        assert getattr(rnnapp, name) is getattr(sys.modules[rnnapp._HOMES[name]], name)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        rnnapp.trian  # noqa: B018  the attribute access is what is tested
