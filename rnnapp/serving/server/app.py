"""A server's life: it loads, listens, looks for new versions, and ends when all is answered."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn

from rnnapp.manifests import MANIFEST, read_manifest
from rnnapp.serving.server import grpc_api
from rnnapp.serving.server.batching import Batcher, Slots
from rnnapp.serving.server.connections import Connection
from rnnapp.serving.server.integrity import SAVED_MODELS, check, manifest_of
from rnnapp.serving.server.metrics import Metrics
from rnnapp.serving.server.rest_api import RestApi
from rnnapp.serving.server.saved_model import SavedModel
from rnnapp.serving.server.service import Service
from rnnapp.serving.server.settings import ServerSpec
from rnnapp.serving.server.versions import Loaded, Model, versions_in
from rnnapp.serving.signatures import Arrays, Signature

logger = logging.getLogger("rnnapp.serving")
WARM_STEPS = 16  # length of the sequences of a first call, in steps of the model


class Server:
    """Serves an export.

    Args:
        export: An export folder; where it is trusted, any with versions of a SavedModel.
        spec: The settings.

    Attributes:
        name: What requests call the model.
        address: Where gRPC listens, once started.
        url: Where REST listens, once started.
    """

    def __init__(self, export: Path, spec: ServerSpec) -> None:
        manifest = _manifest(export, spec.trust)
        self.name = spec.name or str(manifest.get("name", "")) or export.resolve().name
        self.address = self.url = ""
        self._export, self._spec = export, spec
        self._folder = _versions_of(export, spec.trust)
        self._timesteps = WARM_STEPS * int(manifest.get("unit", 1))
        self._metrics = Metrics()

    async def start(self) -> None:
        """Loads the model, and begins to listen.

        Raises:
            ValueError: If no version can be served.
            OSError: If a port is taken.
        """
        self._pool = ThreadPoolExecutor(self._spec.batch.threads, "batch")
        self._slots = Slots(self._spec.batch.threads, self._pool)
        self.model = Model(
            self.name,
            lambda: versions_in(self._folder, lambda n: manifest_of(self._export, n)),
            self._load,
            self._batcher,
            self._spec.policy,
            self._spec.labels,
        )
        self._metrics.watch(self.model)
        service = Service(self.model)
        self._rest = RestApi(service, self._spec, self._metrics)
        api = grpc_api.GrpcApi(service, self._spec, self._metrics)
        # Ports first: that one is taken is known at once, a model is loaded in seconds.
        listening = _bound(self._spec.host, self._spec.rest_port, self._spec.request_seconds)
        try:
            self._grpc, port = grpc_api.bound(api, self._spec)
            await self.model.poll()
            self._require_version()
            await self._grpc.start()
        except BaseException:
            listening.close()
            raise
        await self._listen(listening, port)
        self._watching = asyncio.create_task(self.model.watch(self._spec.poll_seconds))

    async def _listen(self, listening: socket.socket, grpc_port: int) -> None:
        self._http = _Uvicorn(_uvicorn_config(self._rest, self._spec))
        self._serving = asyncio.create_task(self._http.serve([listening]))
        while not (self._http.started or self._serving.done()):
            await asyncio.sleep(0.001)
        scheme = "https" if self._spec.tls_cert else "http"
        host = f"[{self._spec.host}]" if ":" in self._spec.host else self._spec.host
        self.address = f"{host}:{grpc_port}"
        self.url = f"{scheme}://{host}:{listening.getsockname()[1]}"

    async def stop(self) -> None:
        """Ends: no request is taken any more, those under way are answered."""
        self._watching.cancel()
        self.model.close()
        self._http.should_exit = True
        await self._grpc.stop(self._spec.grace_seconds)
        await self._serving
        self._pool.shutdown()

    def _load(self, number: int) -> Loaded:
        if not self._spec.trust:
            check(self._export, number)
        loaded = SavedModel(self._folder / str(number))
        loaded.warm_up(self._timesteps)
        return loaded

    def _batcher(self, number: int, model: Loaded, signature: Signature) -> Batcher:
        seconds = self._metrics.model_seconds(number, signature.name)

        def run(inputs: Arrays) -> Arrays:
            with seconds.time():
                return model.run(signature.name, inputs)

        return Batcher(
            signature,
            run,
            self._spec.batch,
            self._slots,
            self._metrics.rows(number, signature.name),
        )

    def _require_version(self) -> None:
        available = self.model.available
        if available and not set(self._spec.labels.values()) <= set(available):
            raise ValueError(
                f"Labels must be of versions that are served: {available}. "
                f"Received: {self._spec.labels}"
            )
        if available:
            return
        reasons = [f"{n}: {v.error.message}" for n, v in self.model.versions.items() if v.error]
        raise ValueError(
            f"{self._folder} must hold a version that can be served, such as {self._folder / '1'}. "
            f"Received: {'; '.join(reasons) or 'none'}"
        )


def serve(export: Path, spec: ServerSpec, ready: Callable[[Server], None]) -> None:
    """Serves an export until the process is told to end, by SIGTERM or Control-C.

    Args:
        export: An export folder.
        spec: The settings.
        ready: Called when the server listens.

    Raises:
        ValueError: If no version can be served.
        OSError: If a port is taken.
    """

    async def main() -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        server = Server(export, spec)
        await server.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        _warn_if_open(spec)
        gc.freeze()  # else all that TensorFlow holds is looked through now and then, for 0.2 s
        ready(server)
        await ended.wait()
        logger.info("answering what is under way, for at most %g s", spec.grace_seconds)
        await server.stop()

    asyncio.run(main())


@contextlib.contextmanager
def running(export: Path, spec: ServerSpec) -> Iterator[Server]:
    """A server in a thread of this process, for notebooks and tests.

    Args:
        export: An export folder.
        spec: The settings; with ports of 0 it finds free ones.

    Raises:
        ValueError: If no version can be served.
        OSError: If a port is taken.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server", daemon=True)
    thread.start()
    try:
        server = Server(export, spec)
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its signal handlers: signals are the server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn_config(rest: RestApi, spec: ServerSpec) -> uvicorn.Config:
    return uvicorn.Config(
        rest.app,
        http=Connection,
        timeout_keep_alive=max(1, round(spec.request_seconds)),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=spec.max_requests,
        ws="websockets-sansio",
        ws_max_size=spec.max_body,
        timeout_graceful_shutdown=max(1, round(spec.grace_seconds)),
        ssl_certfile=spec.tls_cert,
        ssl_keyfile=spec.tls_key,
    )


def _bound(host: str, port: int, patience: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # ends connections whose answers nobody reads
            milliseconds = round(1000 * patience)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(
            f"REST must be able to listen at {host}:{port}. Choose another port by --rest-port, or "
            f"0 for any. {error}"
        ) from error
    return listening


def _manifest(export: Path, trusted: bool) -> dict:
    """An export's manifest; of a folder that is trusted and has none, nothing."""
    if trusted and not (export / MANIFEST).is_file():
        if not export.is_dir():
            raise ValueError(f"{export} must be a folder.")
        return {}
    return read_manifest(export)


def _versions_of(export: Path, trusted: bool) -> Path:
    """The folder of an export with a folder for each version."""
    folder = export / SAVED_MODELS
    if folder.is_dir():
        return folder
    if trusted:  # as TensorFlow Serving's base path
        return export
    raise ValueError(
        f"{export} must hold a SavedModel in `{SAVED_MODELS}`: export with --formats all, or with "
        "saved_model among them."
    )


def _warn_if_open(spec: ServerSpec) -> None:
    try:
        own = ipaddress.ip_address(spec.host).is_loopback
    except ValueError:
        own = spec.host == "localhost"
    if not own and not spec.api_keys:
        logger.warning(
            "%s is no loopback address, and requests need no API key: whoever reaches this machine "
            "may ask the model. --api-key-file asks for keys",
            spec.host,
        )
    if not own and spec.tls_cert is None:
        logger.warning("requests travel in the clear. --tls-cert and --tls-key encrypt them")
