"""A run folder: what was asked for, the fitted pipeline, the trained model, its figures."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnapp import overrides, progress
from rnnapp.files import replacing
from rnnapp.tasks import RunSpec, Task, task_named

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: Where it is.
        spec: What was asked for.
    """

    folder: Path
    spec: RunSpec

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Run:
        """Opens a run folder.

        Raises:
            ValueError: If the folder holds no run.
        """
        folder = Path(folder)
        path = folder / "spec.json"
        if not path.is_file():
            raise ValueError(
                f"{folder} must be a run folder, as `rnnapp train` writes it. "
                "Received: a path without spec.json"
            )
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(folder, task_named(values["task"]).spec_from_dict(values))

    @property
    def task(self) -> Task:
        """The run's task."""
        return task_named(self.spec.task)

    @property
    def model_path(self) -> Path:
        """The best model, in Keras' format."""
        return self.folder / "model.keras"

    def beside(self, name: str) -> Path:
        """A model that the task trains beside the run's own; not all have any."""
        return self.folder / f"{name}.keras"

    def load_model(self, beside: str | None = None) -> keras.Model:
        """The best model of the run, or one that was trained beside it.

        Args:
            beside: The other model's name.

        Raises:
            ValueError: If training has not come to an end.
        """
        import keras

        import rnnapp.layers  # noqa: F401  registers what the model is made of

        if not self.model_path.is_file():
            raise ValueError(
                f"{self.folder} holds no finished model. Go on with: rnnapp train "
                f"{self.spec.task} --out {self.folder} --resume"
            )
        path = self.beside(beside) if beside else self.model_path
        return keras.models.load_model(path, compile=False)

    def load_pipeline(self) -> Any:
        """The pipeline as it was fitted, without its data."""
        return self.task.pipeline.load(self.folder / "pipeline")

    def data(self) -> str:
        """The run's data; the task's own are made where they are not there yet."""
        if self.spec.data is not None:
            return self.spec.data
        folder = data_home() / self.spec.task
        with progress.bar("Making the default data") as report:
            self.task.default_data(folder, report)
        return str(folder)

    def write_spec(self) -> None:
        """Writes `spec.json`."""
        write_json(self.folder / "spec.json", overrides.to_dict(self.spec))

    def metrics(self) -> dict[str, Any]:
        """What has been measured so far."""
        path = self.folder / "metrics.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def data_home() -> Path:
    """Where default data is kept between runs: `$RNNAPP_HOME`, or the user's cache folder."""
    return Path(os.environ.get("RNNAPP_HOME") or Path.home() / ".cache" / "rnnapp").resolve()


def absolute(data: str | os.PathLike) -> str:
    """Data by a name that means the same in every directory.

    Args:
        data: A path, several with commas between, or another name.

    Returns:
        The whole path of each that exists; other names, such as `tfds:NAME`, as they are.
    """
    name = os.path.expanduser(data)
    if os.path.exists(name):
        return os.path.realpath(name)
    first, comma, others = os.fspath(data).partition(",")
    return f"{absolute(first.strip())},{absolute(others.strip())}" if comma else first


def write_json(path: Path, values: Any) -> None:
    """Writes JSON whole or not at all.

    Args:
        path: The file to make or replace.
        values: JSON types.

    Raises:
        OSError: If the file cannot be written; what stood there stays.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
