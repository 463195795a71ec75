"""The files of a bundle for TensorFlow Serving, beside the versions of a SavedModel.

Whatever watches or mounts the folder finds everything in it: TensorFlow Serving looks at folders
that are named by numbers, and leaves the rest alone.
"""

from __future__ import annotations

import json
import re
import textwrap
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from rnnapp.exporting.bundle import page
from rnnapp.exporting.bundle.requests import (
    Request,
    Signature,
    continued,
    goes_on_from,
    requests,
    rows_of,
    signatures,
)
from rnnapp.exporting.c99 import writer
from rnnapp.exporting.runtimes import SavedModel
from rnnapp.replay import Replay

MODELS = "/models"  # where containers have them
WARM_UP = "assets.extra/tf_serving_warmup_requests"  # in a version's folder
STABLE, CANARY = "stable", "canary"  # labels that clients ask for

_PACKAGE = "rnnapp.exporting.bundle"
_CONFIGS = ("batching.config", "monitoring.config")
_TEMPLATES = ("Dockerfile", "docker-compose.yml", "kubernetes.yaml", "ROLLOUT.md")
_LONGEST_NAME = 50  # a label of DNS has 63 characters, of which Kubernetes and we add some
# What `tensorflow_model_server` is started with, in every container.
_FLAGS = (
    "--port=8500",
    "--rest_api_port=8501",
    "--model_config_file={folder}/models.config",
    "--model_config_file_poll_wait_seconds=10",
    "--allow_version_labels_for_unavailable_models=true",
    "--enable_batching=true",
    "--batching_parameters_file={folder}/batching.config",
    "--monitoring_config_file={folder}/monitoring.config",
)


def write(version: Path, name: str, replay: Replay) -> None:
    """Writes what TensorFlow Serving needs to serve an export.

    Args:
        version: The folder of a SavedModel, named by its version; its parent is the base path,
            where the files go, but for the warm-up, which is the version's own.
        name: What the export is called.
        replay: The sequences that real requests are made of.
    """
    base, name, number = version.parent, serving_name(name), int(version.name)
    asked = _asked(version, replay)
    _write_warm_up(version / WARM_UP, name, asked)
    _write_examples(base / "examples", asked)
    config = models_config({name: {STABLE: number}})
    (base / "models.config").write_text(config, encoding="utf-8")
    writer.copied(_PACKAGE, _CONFIGS, base)
    parts = page.fields(name, STABLE, asked)
    fields = {**_container(name, number), **_rollout(name, number), **parts}
    writer.filled(_PACKAGE, _TEMPLATES, base, fields)


def _asked(version: Path, replay: Replay) -> dict[Signature, list[Request]]:
    """Real requests of each signature, those of a decoder's step among them."""
    asked = {signature: requests(signature, replay) for signature in signatures(version)}
    for signature in asked:
        if not asked[signature] and goes_on_from(signature, asked):
            asked[signature] = continued(signature, asked, SavedModel(version).run)
    return asked


def _container(name: str, version: int) -> dict[str, object]:
    """What a container is told."""
    from importlib import metadata

    folder = f"{MODELS}/{name}"
    flags = "\n".join(f"- {flag.format(folder=folder)}" for flag in _FLAGS)
    return {
        "name": name,
        "folder": folder,
        "models": MODELS,
        "version": version,
        "label": STABLE,
        "serving": metadata.version("tensorflow-serving-api"),  # released with the server
        "compose_flags": textwrap.indent(flags, " " * 4),
        "kubernetes_flags": textwrap.indent(flags, " " * 12),
    }


def _rollout(name: str, version: int) -> dict[str, object]:
    """How a server's configuration changes from one version to the next."""
    following = version + 1
    configs = {
        "canary": models_config({name: {STABLE: version, CANARY: following}}),
        "promoted": models_config({name: {STABLE: following}}, version),
        "finished": models_config({name: {STABLE: following}}),
        "two_models": models_config({name: {STABLE: version}, "another": {STABLE: 1}}),
    }
    return {"next": following, **{step: config.strip() for step, config in configs.items()}}


def serving_name(name: str) -> str:
    """The name of an export as TensorFlow Serving, Compose and Kubernetes all take it.

    Args:
        name: Any name.

    Returns:
        Small letters of ASCII, digits and hyphens, from a letter on.
    """
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    joined = re.sub("[^a-z0-9]+", "-", plain).strip("-")
    named = joined if joined[:1].isalpha() else f"model-{joined}"
    return named[:_LONGEST_NAME].strip("-")


def models_config(labels: Mapping[str, Mapping[str, int]], *loaded: int) -> str:
    """The configuration of a server of one or several models, as text.

    Only versions that are named are loaded, so that one that is being copied is left alone.

    Args:
        labels: Versions by label, by the name of the model.
        loaded: Versions that every model keeps loaded without a label.

    Returns:
        A ModelServerConfig of TensorFlow Serving.
    """
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tensorflow_serving.config import model_server_config_pb2

    server = model_server_config_pb2.ModelServerConfig()
    for name, versions in labels.items():
        model = server.model_config_list.config.add(
            name=name, base_path=f"{MODELS}/{name}", model_platform="tensorflow"
        )
        model.model_version_policy.specific.versions.extend(sorted({*versions.values(), *loaded}))
        model.version_labels.update(versions)
    return text_format.MessageToString(server)


def _write_warm_up(path: Path, name: str, asked: Mapping[Signature, list[Request]]) -> None:
    """What TensorFlow Serving runs before a version is said to be available."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as records:
        for signature, made in asked.items():
            for request in made:
                log = prediction_log_pb2.PredictionLog()
                asking = log.predict_log.request
                asking.model_spec.name = name
                asking.model_spec.signature_name = signature.name
                for key, value in request.items():
                    asking.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                records.write(log.SerializeToString(deterministic=True))


def _write_examples(folder: Path, asked: Mapping[Signature, list[Request]]) -> None:
    """One request of each signature for the REST interface: the shortest, of one row."""
    folder.mkdir()
    for signature, (request, *_) in ((s, made) for s, made in asked.items() if made):
        body = {"signature_name": signature.name, "instances": rows_of(request)}
        (folder / f"{signature.name}.json").write_text(json.dumps(body) + "\n", encoding="utf-8")
