"""The main job from start to end: voices, model, figures, exports, certificate."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnapp import progress
from rnnapp.evaluation import evaluate
from rnnapp.exporting.export import export
from rnnapp.tasks.speech_commands import TASK
from rnnapp.training import train_with_pipeline

# What most people deploy; `rnnapp export` makes the others.
_FORMATS = ("saved_model", "tflite_float", "tflite_dynamic", "tflite_float16")


def quickstart(
    out: str | os.PathLike = "quickstart", *, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """Synthesises spoken commands, trains on them, evaluates, exports and certifies.

    A call that was stopped goes on where it was when it is made again.

    Args:
        out: The folder for all of it.
        settings: `key=value` assignments to fields of the spec; a call that goes on may leave
            them out, but not change them.

    Returns:
        `run`, `export`, `evaluation`, `certificate`, and `summary` for people.

    Raises:
        ValueError: If a setting is wrong, or other than the run in `out` was begun with.
    """
    out = Path(out)
    with progress.bar("Synthesizing voices") as report:
        TASK.default_data(out / "voices", report)
    begun = (out / "run" / "spec.json").exists()
    run, pipeline = train_with_pipeline(
        TASK.name, out / "voices", out / "run", settings=settings, resume=begun
    )
    figures = evaluate(run, pipeline=pipeline)
    exported = export(run, out / "export", formats=_FORMATS, overwrite=True)
    certificate = json.loads((exported / "certificate.json").read_text(encoding="utf-8"))
    return {
        "run": str(run.folder),
        "export": str(exported),
        "evaluation": figures,
        "certificate": certificate,
        "summary": _summary(out, figures, certificate),
    }


def _summary(out: Path, figures: dict[str, Any], certificate: dict[str, Any]) -> str:
    checks = certificate["checks"]
    streams = "test_misses" in figures
    listen = f"\n  rnnapp listen {out / 'export' / 'device' / 'dynamic.tflite'} --mic"
    return f"""
Voices that it never heard: {figures["accuracy"]:.1%} of {figures["examples"]} clips right.
{_as_a_listener(figures) if streams else "It cannot stream: whole clips alone were judged."}
All exports agree with the model: {len(checks)} checks, largest difference of a float export \
{max(c["max_difference"] for c in checks if c["bound"] <= 1e-5):.0e}.

  {out / "voices"}   what it was trained on
  {out / "run"}      model, history, pictures
  {out / "export"}   SavedModel, TFLite, certificate, model card

Next:{listen if streams else ""}
  rnnapp predict {out / "export"} {out / "voices" / "yes"}/*.flac
  rnnapp export {out / "run"}   integers, C, MediaPipe, a web page, too
  rnnapp train speech_commands --data YOUR_RECORDINGS,{out / "voices"} --out runs/mine
"""


def _as_a_listener(figures: dict[str, Any]) -> str:
    return (
        f"In a recording of {figures['minutes']:g} minutes: {figures['test_misses']:.1%} of the "
        f"commands missed, {figures['test_false_accepts_per_hour']:.1f} false accepts an hour."
    )
