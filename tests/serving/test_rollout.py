"""Versions come, are named and go while requests are answered; changed files never."""

from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from rnnapp.serving import Client
from rnnapp.serving.server.app import Server, running
from tests.serving.conftest import bring, call, client, local, with_second_version


def test_labels_and_policies_change_while_serving(words: Path, tmp_path: Path) -> None:
    """By TensorFlow Serving's own call, which here takes no path."""
    export = with_second_version(words, tmp_path)
    with running(export, local()) as server:
        policy = {"all": {}}
        config = {"name": "words", "model_version_policy": policy}

        def reload(**changes: Any) -> None:
            listed = {"config": [{**config, **changes}]}
            call(server, "HandleReloadConfigRequest", config={"model_config_list": listed})

        reload(version_labels={"stable": 1, "canary": 2})
        with client(server, "grpc") as asking:
            silence = np.zeros((1, 2400), np.float32)
            for label, version in (("stable", 1), ("canary", 2), ("", 2)):
                assert asking.predict(silence, label=label).version == version
        for changes, code in (
            ({"base_path": "/etc"}, grpc.StatusCode.PERMISSION_DENIED),
            ({"name": "other"}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"version_labels": {"next": 9}}, grpc.StatusCode.FAILED_PRECONDITION),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                reload(**changes)
            assert caught.value.code() is code


def test_a_new_version_is_served_without_a_lost_request(words: Path, tmp_path: Path) -> None:
    """Under traffic, while it loads and while the old one ends."""
    export = Path(shutil.copytree(words, tmp_path / "words"))
    silence, seen, ended = np.zeros((1, 2400), np.float32), list[int | None](), threading.Event()

    def ask_on(server: Server) -> None:
        with client(server, "grpc", retries=0) as asking:
            while not ended.is_set():
                seen.append(asking.predict(silence).version)

    with running(export, local()) as server, ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask_on, server) for _ in range(2)]
        bring(words, export)
        limit = time.monotonic() + 60
        while 2 not in seen and time.monotonic() < limit:
            time.sleep(0.05)
        ended.set()
        for each in asking:
            each.result()  # of a request that failed, its error
        with client(server, "rest") as asking_rest:
            while (states := _states(asking_rest)) != {2: "AVAILABLE", 1: "END"}:
                assert time.monotonic() < limit, states
    assert set(seen) == {1, 2} and seen.index(2) > 0


def test_a_version_that_is_gone_takes_no_memory(words: Path, tmp_path: Path) -> None:
    """What TensorFlow's graphs hold refers to them: what a rollout leaves must be looked for."""
    export = Path(shutil.copytree(words, tmp_path / "words"))
    with running(export, local()) as server, client(server, "rest") as asking:
        model = server.model.versions[1].model._model  # TensorFlow's
        graph = weakref.ref(model.signatures["padded"].graph)
        del model
        gc.disable()  # which might come upon it by chance
        try:
            bring(words, export)
            limit = time.monotonic() + 60
            while _states(asking) != {2: "AVAILABLE", 1: "END"}:
                assert time.monotonic() < limit
                time.sleep(0.05)
        finally:
            gc.enable()
        assert graph() is None


def _states(asking: Client) -> dict[int, str]:
    return {each.version: each.state for each in asking.status()}


def test_a_changed_file_is_not_loaded(words: Path, tmp_path: Path) -> None:
    """A SavedModel is code; and whoever trusts it says so."""
    export = Path(shutil.copytree(words, tmp_path / "words"))
    file = export / "serving/1/saved_model.pb"
    file.write_bytes(file.read_bytes() + b"\xaa\x06\x00")  # still a SavedModel
    with pytest.raises(ValueError, match="changed since"), running(export, local()):
        pass
    shutil.copytree(words / "serving/1", tmp_path / "bare/1")
    with pytest.raises(ValueError, match="without manifest.json"):
        Server(tmp_path / "bare", local())
    with running(tmp_path / "bare", local(trust=True)) as server:
        assert server.name == "bare" and server.model.available == [1]
