"""What a finished trial weighs and how fast it is: exported, then run as on a device."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp import device
from rnnapp.exporting.export import export
from rnnapp.exporting.formats import FORMATS
from rnnapp.exporting.signatures import hears
from rnnapp.layers.streaming import streams
from rnnapp.runs import Run

WARM_UP, LEAST_CALLS, SECONDS = 10, 30, 0.5


def export_trial(
    run: Run, out: Path, asked: str | None, max_quality_loss: float
) -> tuple[Path, dict[str, Any]]:
    """Exports a run as a SavedModel and in the format that is measured.

    Args:
        run: A finished run.
        out: The export folder.
        asked: The format; None for what suits the model.
        max_quality_loss: As in `rnnapp.export`.

    Returns:
        The file, and what the certificate says of its quality.

    Raises:
        ConversionError: If a converter fails.
        ExportError: If the file is worse than the model by more than it may be.
    """
    name = asked or format_for(run)
    formats = ("saved_model", name)
    export(run, out, formats=formats, overwrite=True, max_quality_loss=max_quality_loss)
    certificate = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    checks = [check for check in certificate["checks"] if check["format"] == name]
    return out / FORMATS[name].path, {"format": name, **_worst(checks)}


def format_for(run: Run) -> str:
    """The smallest format that a model can be expected to have."""
    model = run.load_model()
    return "step_int8" if hears(model) and streams(model) else "tflite_dynamic"


def _worst(checks: list[dict[str, Any]]) -> dict[str, Any]:
    """The quality that is lost most of, in any runtime."""
    known = [check for check in checks if check["quality_loss"] is not None]
    worst = max(known, key=lambda check: check["quality_loss"], default={})
    return {name: worst.get(name) for name in ("measure", "quality", "model_quality")}


def latency_us(path: Path) -> float:
    """The median time of a step, or of a whole call where there are no steps, on one thread.

    Args:
        path: A TFLite file.

    Returns:
        Microseconds.
    """
    model = device.load(path, num_threads=1)
    signature = "step" if "step" in model.signatures else model.signatures[0]
    # What a recurrent layer takes does not depend on what it hears.
    inputs = {
        name: np.zeros(info.shape, info.dtype) for name, info in model.inputs(signature).items()
    }
    lengths = {name: np.ones_like(value) for name, value in inputs.items() if name == "lengths"}
    times: list[float] = []
    ends = time.perf_counter() + SECONDS
    while len(times) < WARM_UP + LEAST_CALLS or time.perf_counter() < ends:
        begun = time.perf_counter()
        model.run(signature, **{**inputs, **lengths})
        times.append(time.perf_counter() - begun)
    return 1e6 * statistics.median(times[WARM_UP:])
