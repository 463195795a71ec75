"""The `rnnapp` command."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from rnnapp import progress
from rnnapp.cli import (  # noqa: F401  their commands join the app
    bench,
    exports,
    models,
    native_logs,
    prediction,
    serving,
    tuning,
)
from rnnapp.cli.common import CHECK_FAILED, INTERRUPTED, WRONG_USE, app, escaped


def main() -> None:
    """Runs the command; what a user can mend becomes a message, not a traceback."""
    with native_logs.unheard():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        warnings.showwarning = _show_warning
        _run()


def _run() -> None:
    try:
        app()
    except _failures() as error:
        progress.console().print(f"[red]error:[/red] {escaped(error)}")
        sys.exit(CHECK_FAILED if isinstance(error, RuntimeError) else WRONG_USE)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # what typer makes of Control-C
            progress.console().print(
                "Stopped. A training, or an --out of `predict`, goes on with --resume; a search by "
                "the same command."
            )
        raise


# Where the errors live whose message is for the user, and which are no mistakes of the user's.
FAILURES = {
    "rnnapp.archive": "ArchiveError",
    "rnnapp.exporting.c99": "CompilationError",
    "rnnapp.exporting.chromium": "BrowserError",
    "rnnapp.exporting.environments": "InstallError",
    "rnnapp.exporting.export": "ExportError",
    "rnnapp.exporting.tf_c_api": "CApiError",
    "rnnapp.exporting.tflite": "ConversionError",
    "rnnapp.keeper": "TrainingError",
    "rnnapp.serving.errors": "ServingError",
    "rnnapp.tuning.plan": "TuningError",
    "pipelines.voices.base": "SynthesisError",
}


def _failures() -> tuple[type[Exception], ...]:
    """Errors whose message is for the user; what was never imported was not raised either."""
    homes = [(sys.modules[home], name) for home, name in FAILURES.items() if home in sys.modules]
    return (ValueError, OSError, ImportError, *(getattr(home, name) for home, name in homes))


def _show_warning(message: Any, category: type, *_: Any, **__: Any) -> None:
    progress.console().print(f"[yellow]warning:[/yellow] {escaped(message)}")
