"""The model card of an export."""

from __future__ import annotations

from typing import Any

from rnnapp.exporting.certificate import table
from rnnapp.exporting.formats import FORMATS


def markdown(manifest: dict[str, Any], certificate: dict[str, Any]) -> str:
    """The model card.

    Args:
        manifest: The export's manifest.
        certificate: The export's certificate.

    Returns:
        Markdown.
    """
    return (
        "\n\n".join(
            [
                f"# {manifest['name']}",
                _about(manifest),
                "## Quality",
                _quality(manifest["metrics"]),
                "## Files",
                _files(manifest),
                *_refused(manifest["refused"]),
                "## Agreement with the Keras model",
                _checks(certificate),
            ]
        )
        + "\n"
    )


def _about(manifest: dict[str, Any]) -> str:
    spec, model = manifest["spec"], manifest["spec"]["model"]
    direction = "bidirectional " if model.get("bidirectional") else ""
    further = (
        [f", {len(convolutions)} convolutions"]
        if (convolutions := model.get("convolutions"))
        else []
    )
    further += [f", pooling `{model['pooling']}`"] if "pooling" in model else []
    trained = manifest["metrics"].get("training", {})
    parameters = f"{trained['parameters']:,} parameters. " if "parameters" in trained else ""
    streaming = manifest["streaming"]
    streams = "It streams." if streaming is True else f"It does not stream: {streaming}"
    return (
        f"Task `{spec['task']}`, trained on "
        f"{spec['data'] or 'the default data that the task makes itself'}: "
        f"{model['num_layers']} {direction}{model['cell']} layers of {model['units']} units"
        f"{''.join(further)}. {parameters}{streams}\n\nMade {manifest['created']} with "
        + ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
        + "."
    )


def _quality(metrics: dict[str, Any]) -> str:
    rows = ["| split | measure | value |", "|---|---|---|"]
    for split, figures in metrics.get("evaluation", {}).items():
        rows += [
            f"| {split} | {name} | {value:.4g} |"
            for name, value in figures.items()
            if isinstance(value, int | float)
        ]
    return "\n".join(rows) if len(rows) > 2 else "Not evaluated yet: `rnnapp evaluate RUN`."


def _files(manifest: dict[str, Any]) -> str:
    rows = ["| format | where | size |", "|---|---|---|"]
    for name in manifest["formats"]:
        path = FORMATS[name].path
        size = sum(
            entry["bytes"]
            for file, entry in manifest["files"].items()
            if file == path or file.startswith(f"{path}/")
        )
        floats = ", ".join(manifest["float_parts"].get(name, []))
        summary = FORMATS[name].summary + (f", floats in {floats}" if floats else "")
        rows.append(f"| {summary} | `{path}` | {size / 1000:,.1f} kB |")
    return "\n".join(rows)


def _refused(refused: dict[str, str]) -> list[str]:
    rows = [f"- `{name}`: {reason}" for name, reason in refused.items()]
    return ["## Left out", "\n".join(rows)] if rows else []


def _checks(certificate: dict[str, Any]) -> str:
    rows = [
        "| | format | runtime | signature | replayed | difference | quality (model) | a call |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [f"| {' | '.join(row)} |" for row in table(certificate)]
    return "\n".join(rows)
