"""Recurrent models: trained once in Keras, shipped everywhere, with proof that they agree.

The verbs of the command line are functions here: `rnnapp.train(...)`, `rnnapp.export(...)`.
Importing this package imports neither TensorFlow nor Keras; a name's first use does, if it must.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.synthesis import synthesize
    from rnnapp.evaluation import evaluate
    from rnnapp.exporting.export import export, verify
    from rnnapp.exporting.formats import FORMATS
    from rnnapp.getting_started import quickstart
    from rnnapp.layers import CELLS
    from rnnapp.prediction import predict
    from rnnapp.runs import Run
    from rnnapp.tasks import TASKS
    from rnnapp.training import train
    from rnnapp.tuning.tune import tune

__all__ = [
    "CELLS",
    "FORMATS",
    "TASKS",
    "Run",
    "evaluate",
    "export",
    "predict",
    "quickstart",
    "synthesize",
    "train",
    "tune",
    "verify",
]

_HOMES = {
    "CELLS": "rnnapp.layers",
    "FORMATS": "rnnapp.exporting.formats",
    "TASKS": "rnnapp.tasks",
    "Run": "rnnapp.runs",
    "evaluate": "rnnapp.evaluation",
    "export": "rnnapp.exporting.export",
    "predict": "rnnapp.prediction",
    "quickstart": "rnnapp.getting_started",
    "synthesize": "pipelines.synthesis",
    "train": "rnnapp.training",
    "tune": "rnnapp.tuning.tune",
    "verify": "rnnapp.exporting.export",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("rnnapp")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rnnapp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
