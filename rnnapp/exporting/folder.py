"""What an export folder holds: artefacts, their certificate, manifest, card and report."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnapp import overrides, plots
from rnnapp.exporting import bundle, card, report, translators
from rnnapp.exporting.formats import FORMATS, Source
from rnnapp.exporting.proof import prove
from rnnapp.exporting.runtimes import version_of
from rnnapp.files import sha256
from rnnapp.layers.streaming import NotCausalError, StepModel
from rnnapp.manifests import MANIFEST
from rnnapp.replay import Replay
from rnnapp.runs import Run, write_json

if TYPE_CHECKING:
    import keras

MODEL, REPLAY = "source/model.keras", "source/replay.npz"
TOKENIZER = "tokenizer"  # of a model of texts; `predict` looks for it


def write(run: Run, folder: Path, names: list[str], max_quality_loss: float) -> None:
    """Writes an export, and proves it.

    Args:
        run: A finished run.
        folder: A new folder.
        names: Names in `FORMATS`, or "all" alone.
        max_quality_loss: By what share of the model's quality an artefact may be worse.

    Raises:
        ValueError: If the model has no such format.
        ConversionError: If a converter fails.
        ExportError: If an artefact differs from the model by more than its bound.
    """
    model = run.task.exported(run.load_model())
    (folder / "source").mkdir(parents=True)
    model.save(folder / MODEL)
    shutil.copyfile(run.folder / "replay.npz", folder / REPLAY)
    source = source_of(run, model, folder)
    if source.read is not None:
        run.load_pipeline().tokenizer.save(folder / TOKENIZER)
    proof = prove(source, folder, names, max_quality_loss)
    if "saved_model" in proof.formats:
        bundle.write(
            folder / FORMATS["saved_model"].path, source.name, Replay.load(folder / REPLAY)
        )
    (folder / "labels.txt").write_text("\n".join(source.labels) + "\n", encoding="utf-8")
    write_json(folder / "certificate.json", proof.certificate)
    manifest = {
        **_manifest(run, folder),
        "formats": proof.formats,
        "refused": proof.refused,
        "float_parts": proof.float_parts,
        "unit": source.unit,
        "max_quality_loss": max_quality_loss,
        "streaming": source.no_step or True,
    }
    _write_card(run, folder, manifest, proof.certificate)
    write_json(folder / MANIFEST, manifest)


def _write_card(
    run: Run, folder: Path, manifest: dict[str, Any], certificate: dict[str, Any]
) -> None:
    """The model card, and the report with the run's pictures and how streams drift."""
    text = card.markdown(manifest, certificate)
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    pictures = sorted(run.folder.glob("*.png"))
    streams = {
        f"{check['format']} in {check['runtime']}": check["drift"]
        for check in certificate["checks"]
        if check["drift"] is not None
    }
    with tempfile.TemporaryDirectory() as scratch:
        if streams:
            drift = Path(scratch) / "streams,_step_by_step.png"
            pictures.append(plots.drift(certificate["places"], streams, drift))
        (folder / "report.html").write_text(report.page(text, pictures), encoding="utf-8")


def source_of(run: Run, model: keras.Model, folder: Path) -> Source:
    """What artefacts are made from.

    Args:
        run: A finished run.
        model: Its model.
        folder: The export folder, with the run's model and sequences in it.
    """
    pipeline = run.load_pipeline()
    stepper, no_step = _stepper(model)
    return Source(
        folder.name,
        model,
        folder / MODEL,
        list(pipeline.labels),
        Replay.load(run.folder / "replay.npz").time,  # an error names the run's own file
        folder / REPLAY,
        run.folder / "calibration.npz",
        stepper,
        no_step,
        pipeline.graph() if hasattr(pipeline, "graph") else None,
        _settings(run, pipeline, stepper),
        run.spec.evaluation.beam_size if translators.translates(model) else 1,
    )


def _stepper(model: Any) -> tuple[StepModel | None, str]:
    if translators.translates(model):
        return None, translators.NO_STREAM
    try:
        return StepModel(model), ""
    except NotCausalError as error:
        return None, str(error)


def _settings(run: Run, pipeline: Any, stepper: StepModel | None) -> dict[str, Any]:
    """What a device must know."""
    background = [label for label in pipeline.labels if label.startswith("_")]
    notes = {
        "sample_rate": getattr(pipeline.spec, "sample_rate", None),
        "frames_per_step": stepper.frames_per_step if stepper else None,
        "detector": run.metrics().get("detector"),
        "background_labels": background if run.task.listen else None,
    }
    return {key: value for key, value in notes.items() if value is not None}


def _manifest(run: Run, folder: Path) -> dict[str, Any]:
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        "name": folder.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version_of(name) for name in ("rnnapp", "tensorflow", "keras")},
        "spec": overrides.to_dict(run.spec),
        "metrics": run.metrics(),
        "files": files,
    }
