"""TensorFlow Serving's gRPC services."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from rnnapp.serving.errors import Code, ServingError, invalid
from rnnapp.serving.protocol import (
    METHODS,
    Message,
    Method,
    MultiInferenceResponse,
    PredictResponse,
)
from rnnapp.serving.server.metrics import Metrics
from rnnapp.serving.server.service import Service, within
from rnnapp.serving.server.settings import ServerSpec, authorize
from rnnapp.serving.signatures import CLASSIFY, REGRESS
from rnnapp.serving.tensors import fill, to_array

logger = logging.getLogger("rnnapp.serving")
MAX_MESSAGE = 2000  # bytes; each may become three in a header, which clients take up to 8 KiB of


class GrpcApi(grpc.GenericRpcHandler):
    """Finds and answers calls.

    Args:
        service: What answers.
        spec: The server's settings.
        metrics: Told of each call.
    """

    def __init__(self, service: Service, spec: ServerSpec, metrics: Metrics) -> None:
        self._service, self._spec, self._metrics = service, spec, metrics
        calls: dict[str, Callable[[Message], Awaitable[Message]]] = {
            "Predict": self._predict,
            "Classify": self._classify,
            "Regress": self._regress,
            "MultiInference": self._multi_inference,
            "GetModelMetadata": self._metadata,
            "GetModelStatus": self._status,
            "HandleReloadConfigRequest": service.reload,
        }
        self._handlers = {
            # Bytes come in and go out: gRPC calls a message that it cannot parse INTERNAL.
            METHODS[name].path: grpc.unary_unary_rpc_method_handler(
                self._handler(name, METHODS[name], call)
            )
            for name, call in calls.items()
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """The handler of a path; None of one that is unknown."""
        return self._handlers.get(handler_call_details.method)

    def _handler(
        self, name: str, method: Method, call: Callable[[Message], Awaitable[Message]]
    ) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]:
        async def handle(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                with self._metrics.request("grpc", name):
                    header = dict(context.invocation_metadata() or ()).get("authorization", "")
                    authorize(self._spec.api_keys, str(header))
                    limits = (self._spec.request_seconds, context.time_remaining())
                    async with within(min(each for each in limits if each is not None)):
                        response = await call(_parsed(method, content))
                    return response.SerializeToString()
            except ServingError as error:
                code, message = error.code, error.message
            except Exception:
                logger.exception("%s failed", name)
                code, message = Code.INTERNAL, "The server failed: its log says why."
            details = message.encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore")
            await context.abort(grpc.StatusCode[code.name], details)
            raise AssertionError("abort raises")

        return handle

    async def _predict(self, request: Message) -> Message:
        answer = await self._service.predict(
            request.model_spec,
            lambda _: {name: to_array(request.inputs[name]) for name in request.inputs},
            list(request.output_filter),
        )
        response = PredictResponse(model_spec=answer.spec)
        for name, array in answer.outputs.items():
            fill(response.outputs[name], array)
        return response

    async def _classify(self, request: Message) -> Message:
        return await self._infer("Classify", request, CLASSIFY)

    async def _regress(self, request: Message) -> Message:
        return await self._infer("Regress", request, REGRESS)

    async def _infer(self, name: str, request: Message, method: str) -> Message:
        result, spec = await self._service.infer(request.model_spec, request.input, method)
        return METHODS[name].response(result=result, model_spec=spec)

    async def _multi_inference(self, request: Message) -> Message:
        if not request.tasks:
            raise invalid("`tasks` must hold at least one. Received: none")
        response = MultiInferenceResponse()
        for task in request.tasks:
            if task.method_name not in (CLASSIFY, REGRESS):
                raise invalid(
                    f"`method_name` must be {CLASSIFY} or {REGRESS}. Received: {task.method_name!r}"
                )
            result, spec = await self._service.infer(
                task.model_spec, request.input, task.method_name
            )
            entry = response.results.add(model_spec=spec)
            part = "classification" if task.method_name == CLASSIFY else "regression"
            getattr(entry, f"{part}_result").CopyFrom(result)
        return response

    async def _metadata(self, request: Message) -> Message:
        return self._service.metadata(request.model_spec, list(request.metadata_field))

    async def _status(self, request: Message) -> Message:
        return self._service.status(request.model_spec)


def _parsed(method: Method, content: bytes) -> Message:
    try:
        return method.request.FromString(content)
    except DecodeError as error:
        raise invalid(f"The request must be a {method.request.DESCRIPTOR.full_name}.") from error


def bound(api: GrpcApi, spec: ServerSpec) -> tuple[grpc.aio.Server, int]:
    """A server that has its port, and is not yet started.

    Args:
        api: What answers.
        spec: The server's settings.

    Returns:
        The server, and its port.

    Raises:
        OSError: If the port is taken.
    """
    server = grpc.aio.server(
        handlers=[api],
        options=[
            ("grpc.max_receive_message_length", spec.max_body),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # two servers at one port would answer by turns
        ],
        maximum_concurrent_rpcs=spec.max_requests,
    )
    address = f"[{spec.host}]" if ":" in spec.host else spec.host
    try:
        if spec.tls_cert and spec.tls_key:
            pair = (spec.tls_key.read_bytes(), spec.tls_cert.read_bytes())
            credentials = grpc.ssl_server_credentials([pair])
            port = server.add_secure_port(f"{address}:{spec.port}", credentials)
        else:
            port = server.add_insecure_port(f"{address}:{spec.port}")
    except RuntimeError as error:
        raise OSError(
            f"gRPC must be able to listen at {address}:{spec.port}. Choose another port by --port, "
            f"or 0 for any. {error}"
        ) from error
    return server, port
