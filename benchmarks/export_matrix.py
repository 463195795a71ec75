"""Every kind of model in every format: how far each artefact is from the Keras model.

    rnnapp synthesize --words yes,no,stop --out voices --clips 150
    python benchmarks/export_matrix.py --voices voices --out matrix

Trains a small model of each cell in each form, exports all formats that it has, and prints the
largest difference of a probability over all runtimes at hand, as a table in Markdown: of whole
windows, padded batches (SavedModel alone takes lengths) and a stream step by step. Integers are
judged by what they lose of the accuracy as well; in brackets stands what was too much, so that the
format was left out. What stands in `--out` is not made again.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import rnnapp
from rnnapp.manifests import read_manifest

FORMS = {
    "one layer": ("num_layers=1",),
    "stacked": ("num_layers=2", "layer_norm=true"),
    "bidirectional": ("bidirectional=true",),
    "CRNN": (
        'convolutions=[{"filters": 8, "kernel_time": 3, "kernel_frequency": 5, "stride_time": 2, '
        '"stride_frequency": 2}]',
    ),
    "attention": ("pooling=attention",),
}
SMALL = ("units=32", "num_layers=1", "convolutions=[]", "epochs=25", "prelude_share=0")

CAREFUL = {"simple_rnn": ("learning_rate=0.001", "epochs=50")}  # which diverges by the default


def measure(options: argparse.Namespace) -> None:
    """Prints a row for each model."""
    print(f"| model | right | {' | '.join(f'`{name}`' for name in rnnapp.FORMATS)} |")
    print(f"|---|---|{'---|' * len(rnnapp.FORMATS)}")
    for form, settings in FORMS.items():
        for cell in rnnapp.CELLS:
            folder = options.out / form.replace(" ", "_") / cell
            own = (f"cell={cell}", *SMALL, *settings, *CAREFUL.get(cell, ()))
            run = _trained(options.voices, folder / "run", own)
            export = folder / "export"
            if not export.exists():
                rnnapp.export(run, export)
            print(_row(f"{form}, {cell}", export), flush=True)


def _trained(voices: Path, folder: Path, settings: tuple[str, ...]) -> rnnapp.Run:
    if (folder / "model.keras").exists():
        return rnnapp.Run.open(folder)
    run = rnnapp.train("speech_commands", voices, folder, settings=settings)
    rnnapp.evaluate(run)
    return run


def _row(title: str, export: Path) -> str:
    manifest = read_manifest(export)
    certificate = json.loads((export / "certificate.json").read_text(encoding="utf-8"))
    accuracy = manifest["metrics"]["evaluation"]["test"]["accuracy"]
    cells = [_cell(name, certificate, manifest) for name in rnnapp.FORMATS]
    return f"| {title} | {accuracy:.1%} | {' | '.join(cells)} |"


def _cell(name: str, certificate: dict[str, Any], manifest: dict[str, Any]) -> str:
    """The largest difference, and what integers lose; or, in brackets, why there is no such file.

    A dash stands for a form that the model has not.
    """
    if name in manifest["refused"]:
        found = re.search(r"differs by (\S+),|(\S+) less than", manifest["refused"][name])
        return f"({found[1] or f'{found[2]} lost'})" if found else "—"
    checks = [check for check in certificate["checks"] if check["format"] == name]
    largest = f"{max(check['max_difference'] for check in checks):.0e}"
    lost = max(check["quality_loss"] or 0.0 for check in checks)
    parts = manifest["float_parts"].get(name, [])
    notes = [f"{lost:.1%} lost"] if lost > 0 else []
    notes += [f"{len(parts)} in floats"] if parts else []
    return ", ".join([largest, *notes])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voices", type=Path, required=True, help="what models are trained on")
    parser.add_argument("--out", type=Path, default=Path("matrix"), help="where all of it goes")
    measure(parser.parse_args())
