"""The runtimes that an export is replayed in, behind one interface."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp import device
from rnnapp.device import TensorInfo
from rnnapp.device.stepper import Runnable
from rnnapp.exporting import c99, chromium, compiled, environments, micro, tf_c_api
from rnnapp.exporting.c99 import library
from rnnapp.exporting.environments import MEDIAPIPE, TFLITE_RUNTIME, Environment


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Runtime:
    """Something that runs exported files.

    Args:
        load: Loads an artefact, to be used in a `with` statement.
        package: The Python package that it is or needs; "" for what is no package here.
        missing: What else it lacks on this machine, as a reason for people; None if nothing.
        asked: Says its version, where no package here does.
        apart: Whether it runs in a process of its own.
    """

    load: Callable[[Path], AbstractContextManager[Runnable]]
    package: str = ""
    missing: Callable[[], str | None] = _nothing
    asked: Callable[[], str] | None = None
    apart: bool = False

    @property
    def absence(self) -> str | None:
        """Why it cannot run here; None if it can."""
        if self.package and importlib.util.find_spec(self.package) is None:
            return "not installed"
        return self.missing()

    @property
    def version(self) -> str:
        """The installed version."""
        return self.asked() if self.asked else version_of(self.package)


def version_of(package: str) -> str:
    """The version of a package, by whatever name it was installed (tensorflow-cpu, for one)."""
    names = metadata.packages_distributions().get(package)
    return metadata.version(names[0]) if names else "unknown"


def _litert(path: Path) -> AbstractContextManager[Runnable]:
    # Of a page's folder, its model: the same file in another runtime.
    return nullcontext(device.load(path / "model.tflite" if path.is_dir() else path))


class SavedModel:
    """A SavedModel in Python's TensorFlow.

    Args:
        folder: The SavedModel.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        # The loaded object is kept: its functions die with it.
        self._model, self._convert = tf.saved_model.load(str(folder)), tf.constant
        self.name, self.signatures = str(folder), list(self._model.signatures)

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's inputs, with 1 for what is not fixed."""
        specs = self._model.signatures[signature].structured_input_signature[1]
        return {name: _info(name, spec) for name, spec in specs.items()}

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's outputs, with 1 for what is not fixed."""
        specs = self._model.signatures[signature].structured_outputs
        return {name: _info(name, spec) for name, spec in specs.items()}

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature."""
        tensors = {name: self._convert(value) for name, value in inputs.items()}
        outputs = self._model.signatures[signature](**tensors)
        return {name: value.numpy() for name, value in outputs.items()}


class CApi:
    """A SavedModel in TensorFlow's C API.

    Args:
        folder: The SavedModel.
    """

    def __init__(self, folder: Path) -> None:
        from tensorflow.core.protobuf import meta_graph_pb2

        self._session = tf_c_api.CApiSession(folder)
        graph = meta_graph_pb2.MetaGraphDef.FromString(self._session.meta_graph)
        self._signatures = {
            name: signature
            for name, signature in graph.signature_def.items()
            if name != "__saved_model_init_op"
        }
        # Sorted, because a map of a protocol buffer has no order of its own.
        self.name, self.signatures = str(folder), sorted(self._signatures)

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's inputs, with 1 for what is not fixed."""
        return {n: _proto_info(n, t) for n, t in self._signatures[signature].inputs.items()}

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's outputs, with 1 for what is not fixed."""
        return {n: _proto_info(n, t) for n, t in self._signatures[signature].outputs.items()}

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature."""
        definition = self._signatures[signature]
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        names = list(definition.outputs)
        values = self._session.run(feeds, [definition.outputs[name].name for name in names])
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Frees the session."""
        self._session.close()


def _info(name: str, spec: Any) -> TensorInfo:
    return TensorInfo(name, tuple(size or 1 for size in spec.shape), spec.dtype.as_numpy_dtype)


def _proto_info(name: str, proto: Any) -> TensorInfo:
    import tensorflow as tf

    shape = tuple(max(1, dim.size) for dim in proto.tensor_shape.dim)
    return TensorInfo(name, shape, tf.as_dtype(proto.dtype).as_numpy_dtype)


def _in(
    environment: Environment, load: Callable[[Path], AbstractContextManager[Runnable]]
) -> Runtime:
    return Runtime(
        load,
        missing=lambda: environment.absence,
        asked=lambda: environment.version,
        apart=True,
    )


RUNTIMES: dict[str, Runtime] = {
    "saved_model": Runtime(lambda folder: nullcontext(SavedModel(folder)), "tensorflow"),
    "tf_c_api": Runtime(lambda folder: closing(CApi(folder)), "tensorflow", tf_c_api.missing),
    "ai_edge_litert": Runtime(_litert, "ai_edge_litert"),
    "compiled_model": Runtime(compiled.load, "ai_edge_litert"),
    "tflite_runtime": _in(TFLITE_RUNTIME, environments.tflite_runtime),
    "mediapipe": _in(MEDIAPIPE, environments.mediapipe),
    "tflite_micro": Runtime(micro.load, "tflite_micro", c99.missing),  # fronts are compiled
    "c99": Runtime(c99.load, missing=c99.missing, asked=library.compiler_version),
    "chromium": Runtime(
        chromium.load, "playwright", chromium.missing, chromium.version, apart=True
    ),
}
