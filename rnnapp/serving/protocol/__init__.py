"""TensorFlow Serving's messages and services, without TensorFlow.

`protocol.binpb` is what protoc makes of the `.proto` files here:

    python -m grpc_tools.protoc -I rnnapp/serving/protocol --include_imports \
        --descriptor_set_out rnnapp/serving/protocol/protocol.binpb tensorflow_serving.proto

It is loaded into a pool of its own, so that TensorFlow's messages of the same names may live in the
same process.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

Message = Any  # classes made at run time have no static types

POOL = descriptor_pool.DescriptorPool()
_files = descriptor_pb2.FileDescriptorSet.FromString(
    resources.files(__name__).joinpath("protocol.binpb").read_bytes()
)
for _file in _files.file:  # each after those that it imports
    POOL.Add(_file)


def _message(name: str) -> Message:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"tensorflow.{name}"))


DataType = POOL.FindEnumTypeByName("tensorflow.DataType")
TensorProto = _message("TensorProto")
SignatureDef = _message("SignatureDef")
Example = _message("Example")
ModelSpec = _message("serving.ModelSpec")
PredictRequest = _message("serving.PredictRequest")
PredictResponse = _message("serving.PredictResponse")
Input = _message("serving.Input")
ClassificationRequest = _message("serving.ClassificationRequest")
ClassificationResponse = _message("serving.ClassificationResponse")
ClassificationResult = _message("serving.ClassificationResult")
RegressionRequest = _message("serving.RegressionRequest")
RegressionResponse = _message("serving.RegressionResponse")
RegressionResult = _message("serving.RegressionResult")
MultiInferenceResponse = _message("serving.MultiInferenceResponse")
GetModelMetadataRequest = _message("serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message("serving.GetModelMetadataResponse")
SignatureDefMap = _message("serving.SignatureDefMap")
GetModelStatusRequest = _message("serving.GetModelStatusRequest")
GetModelStatusResponse = _message("serving.GetModelStatusResponse")
ModelVersionStatus = _message("serving.ModelVersionStatus")
ReloadConfigRequest = _message("serving.ReloadConfigRequest")
ReloadConfigResponse = _message("serving.ReloadConfigResponse")


@dataclass(frozen=True)
class Method:
    """A call of a service.

    Args:
        path: Where gRPC finds it.
        request: The class of what is asked.
        response: The class of what is answered.
    """

    path: str
    request: Message
    response: Message


def _methods(service: str) -> dict[str, Method]:
    described = POOL.FindServiceByName(f"tensorflow.serving.{service}")
    return {
        method.name: Method(
            f"/{described.full_name}/{method.name}",
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
        )
        for method in described.methods
    }


METHODS: dict[str, Method] = _methods("PredictionService") | _methods("ModelService")
"""All calls by name."""
