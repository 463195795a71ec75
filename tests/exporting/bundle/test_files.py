from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from rnnapp.exporting.bundle import MODELS, serving_name

from .conftest import Bundle
from .messages import message

NAME = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")  # RFC 1035, which Services follow
KUBERNETES = ("1.29", kubernetes_validate.latest_version())
FILES = {
    *("1", "Dockerfile", "ROLLOUT.md", "batching.config", "docker-compose.yml", "examples"),
    *("kubernetes.yaml", "models.config", "monitoring.config"),
}


def manifests(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Those for Kubernetes, by their kind; of Services, the one with an address."""
    found = list(yaml.safe_load_all((bundle.base / "kubernetes.yaml").read_text()))
    return {each["kind"]: each for each in reversed(found)}


def compose(bundle: Bundle) -> dict[str, Any]:
    """Services of Compose, by name."""
    return yaml.safe_load((bundle.base / "docker-compose.yml").read_text())["services"]


def compose_faults(path: Path) -> str:
    """What a kept tool has against a file of Compose; "" where it has nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def test_a_bundle_is_whole(bundle: Bundle) -> None:
    """Nothing is left open in a template, and nothing else comes to lie in the base path."""
    assert {path.name for path in bundle.base.iterdir()} == FILES
    for path in bundle.base.iterdir():
        if path.is_file():
            assert not re.search(r"(?<!\$)\$[a-z]", path.read_text(encoding="utf-8")), path


def test_the_server_is_told_what_is_there(bundle: Bundle) -> None:
    """The folder as containers see it, and the version that the label points to."""
    config = text_format.Parse((bundle.base / "models.config").read_text(), ModelServerConfig())
    (model,) = config.model_config_list.config
    assert model.base_path == f"{MODELS}/{model.name}" and NAME.fullmatch(model.name)
    assert model.model_platform == "tensorflow"
    (version,) = model.model_version_policy.specific.versions
    assert dict(model.version_labels) == {"stable": version}
    assert (bundle.base / str(version) / "saved_model.pb").is_file()
    assert {request.model_spec.name for request in bundle.warm_up()} == {model.name}


def test_batching_and_monitoring_are_what_the_server_reads(bundle: Bundle) -> None:
    """A server does not start with a field that it does not know."""
    batching = text_format.Parse(
        (bundle.base / "batching.config").read_text(), message("BatchingParameters")
    )
    assert batching.pad_variable_length_inputs  # or requests of different lengths are refused
    assert batching.max_batch_size.value >= 8  # the largest of the warm-up
    monitoring = text_format.Parse(
        (bundle.base / "monitoring.config").read_text(), message("MonitoringConfig")
    )
    assert monitoring.prometheus_config.enable
    pod = manifests(bundle)["Deployment"]["spec"]["template"]
    said = pod["metadata"]["annotations"]["prometheus.io/path"]
    assert said == monitoring.prometheus_config.path


@pytest.mark.parametrize(
    "wrong",
    ["max_batch_size: 32", "batch_size { value: 1 }", "pad_variable_length_inputs { value: true }"],
)
def test_a_wrong_field_would_be_found(wrong: str) -> None:
    """Scalars stand in messages of their own, which is easily forgotten."""
    with pytest.raises(text_format.ParseError):
        text_format.Parse(wrong, message("BatchingParameters"))


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_the_manifests(bundle: Bundle, version: str) -> None:
    """By its published schemas, in which no field is unknown."""
    found = list(yaml.safe_load_all((bundle.base / "kubernetes.yaml").read_text()))
    assert len(found) == 5
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)
        assert NAME.fullmatch(manifest["metadata"]["name"])
    deployment = manifests(bundle)["Deployment"]
    deployment["spec"]["template"]["spec"]["replicas"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="replicas"):
        kubernetes_validate.validate(deployment, version, strict=True)


def test_manifests_name_each_other(bundle: Bundle) -> None:
    """No schema sees a Service without pods, or a probe of a port that is not there."""
    found = manifests(bundle)
    deployment, pod = found["Deployment"], found["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector and selector.items() <= labels
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} == set(ports)
    flags = dict(flag.removeprefix("--").split("=") for flag in container["args"])
    assert ports == {"grpc": int(flags["port"]), "rest": int(flags["rest_api_port"])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] in ports
        assert asked["path"].startswith(f"/v1/models/{deployment['metadata']['name']}")
    assert container["command"] + container["args"] == (
        compose(bundle)["cpu"]["entrypoint"] + compose(bundle)["cpu"]["command"]
    )


def test_pods_may_do_nothing_but_serve(bundle: Bundle) -> None:
    """A SavedModel is code."""
    pod = manifests(bundle)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    security = pod["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    for service in compose(bundle).values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert not service["user"].startswith(("0", "root"))
        assert all(volume.endswith(":ro") for volume in service["volumes"])
        assert all(port.startswith("${BIND:-127.0.0.1}:") for port in service["ports"])


def test_compose_takes_its_file(bundle: Bundle, tmp_path: Path) -> None:
    """By the published schema of Compose; and every file that the server is told of is mounted."""
    path = bundle.base / "docker-compose.yml"
    assert not compose_faults(path)
    wrong = tmp_path / path.name
    wrong.write_text(path.read_text().replace("read_only:", "readonly:"))
    assert "readonly" in compose_faults(wrong)
    services = compose(bundle)
    assert set(services) == {"cpu", "gpu"}
    for name, service in services.items():
        assert service["profiles"] == [name]
        (mounted,) = (volume.split(":")[1] for volume in service["volumes"])
        told = [flag.partition("=")[2] for flag in service["command"] if MODELS in flag]
        assert len(told) == 3
        assert all((bundle.base / Path(file).relative_to(mounted)).is_file() for file in told)
    assert services["gpu"]["image"] == services["cpu"]["image"] + "-gpu"


def test_written_twice_it_is_the_same(written: Callable[..., Path]) -> None:
    """A bundle in version control changes when the model does, not by itself."""
    first, second = written("first"), written("second")
    for path in first.rglob("*"):
        other = second / path.relative_to(first)
        if path.is_file() and path.name not in {"saved_model.pb", "fingerprint.pb"}:
            assert path.read_bytes() == other.read_bytes(), path


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (404, False)])
def test_a_container_is_healthy_when_the_label_is_served(
    written: Callable[..., Path], status: int, healthy: bool
) -> None:
    """The check is a line of bash, because the image has no curl."""
    text = (written() / "docker-compose.yml").read_text()
    (*command, line) = yaml.safe_load(text)["services"]["cpu"]["healthcheck"]["test"][1:]
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = subprocess.run([*command, line.replace("8501", str(server.server_port))])
        thread.join()
    assert asked == ["/v1/models/grosse-2-versuch/labels/stable/metadata"]
    assert (done.returncode == 0) == healthy


def test_a_name_that_yaml_takes_for_something_else_stays_a_name(
    written: Callable[..., Path],
) -> None:
    """Exports are called after words, and `off` is one."""
    base = written(name="off")
    found = list(yaml.safe_load_all((base / "kubernetes.yaml").read_text()))
    assert {each["metadata"]["name"] for each in found} == {"off", "off-pods"}
    for manifest in found:
        kubernetes_validate.validate(manifest, KUBERNETES[0], strict=True)
    assert yaml.safe_load((base / "docker-compose.yml").read_text())["name"] == "off"


@given(st.text())
def test_any_name_becomes_one_that_all_take(name: str) -> None:
    """A folder may be called anything; and what is served keeps its name."""
    served = serving_name(name)
    assert NAME.fullmatch(served) and len(f"{served}-pods") <= 63
    assert serving_name(served) == served


def test_names_stay_readable() -> None:
    """People look for them in lists of pods."""
    assert serving_name("Größe, 2. Versuch") == "grosse-2-versuch"
    assert serving_name("crnn_v2") == "crnn-v2"
    assert serving_name("2026") == "model-2026"
