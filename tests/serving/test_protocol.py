"""The messages are TensorFlow Serving's, to the number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor

import rnnapp.serving.protocol as protocol

FOLDER = Path(protocol.__file__).parent


def test_descriptors_are_what_the_proto_files_compile_to(tmp_path: Path) -> None:
    """A change of a .proto file that was not compiled would be believed, and not be sent."""
    from google.protobuf import descriptor_pb2

    out = tmp_path / "compiled"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{FOLDER}", "--include_imports"]
    # Not in this process: the compiler beside TensorFlow would end it.
    subprocess.run(
        [*command, f"--descriptor_set_out={out}", "tensorflow_serving.proto"], check=True
    )
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    shipped = (FOLDER / "protocol.binpb").read_bytes()
    assert descriptor_pb2.FileDescriptorSet.FromString(shipped) == compiled


def _originals() -> dict[str, Any]:
    """TensorFlow Serving's own request and response classes, by the name of the call."""
    from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

    services = [
        *prediction_service_pb2.DESCRIPTOR.services_by_name.values(),
        *model_service_pb2.DESCRIPTOR.services_by_name.values(),
    ]
    return {method.name: method for service in services for method in service.methods}


def _facts(field: FieldDescriptor) -> tuple[Any, ...]:
    return field.name, field.number, field.type, field.is_repeated


def _hold_against(own: Any, original: Any, seen: set[str]) -> None:
    assert own.full_name == original.full_name
    if own.full_name in seen or own.full_name.startswith("google."):
        return
    seen.add(own.full_name)
    for field in own.fields:
        twin = original.fields_by_name[field.name]
        assert _facts(field) == _facts(twin), field.full_name
        assert (field.containing_oneof is None) == (twin.containing_oneof is None), field.full_name
        if field.message_type:
            _hold_against(field.message_type, twin.message_type, seen)
        if field.enum_type:
            known = {value.name: value.number for value in twin.enum_type.values}
            assert known.items() >= {v.name: v.number for v in field.enum_type.values}.items()


def test_every_call_and_field_is_tensorflow_servings() -> None:
    """One wrong number, and production's server reads nonsense that development's understood."""
    originals = _originals()
    assert protocol.METHODS.keys() == originals.keys()
    seen: set[str] = set()
    for name, method in protocol.METHODS.items():
        original = originals[name]
        assert method.path == f"/{original.containing_service.full_name}/{name}"
        _hold_against(method.request.DESCRIPTOR, original.input_type, seen)
        _hold_against(method.response.DESCRIPTOR, original.output_type, seen)
    assert {"tensorflow.TensorProto", "tensorflow.serving.ModelConfig"} <= seen


def test_metadata_is_read_by_tensorflows_classes() -> None:
    """Signatures travel inside a message of any type, which its name must tell."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    signatures = protocol.SignatureDefMap()
    signatures.signature_def["step"].inputs["x"].name = "x:0"
    response = protocol.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    theirs = get_model_metadata_pb2.GetModelMetadataResponse.FromString(
        response.SerializeToString()
    )
    read = get_model_metadata_pb2.SignatureDefMap()
    assert theirs.metadata["signature_def"].Unpack(read)
    assert read.signature_def["step"].inputs["x"].name == "x:0"


@pytest.mark.parametrize("first", ["tensorflow", "rnnapp.serving.protocol"])
def test_tensorflow_may_be_loaded_beside_in_any_order(first: str) -> None:
    """A second class of one name in the common pool would end the process."""
    second = {"tensorflow": "rnnapp.serving.protocol"}.get(first, "tensorflow")
    code = (
        f"import {first}, {second}\n"
        "from tensorflow_serving.apis import predict_pb2\n"
        "from rnnapp.serving.protocol import PredictRequest\n"
        "own = PredictRequest(output_filter=['x']).SerializeToString()\n"
        "print(predict_pb2.PredictRequest.FromString(own).output_filter)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['x']"


def test_clients_need_no_tensorflow() -> None:
    """A client is a part of somebody's service, which has no gigabyte to spare."""
    code = (
        "import sys\n"
        "from rnnapp.serving import Client, AsyncClient\n"
        "Client('127.0.0.1:1', 'x').close(); Client('http://127.0.0.1:1', 'x').close()\n"
        "heavy = {'tensorflow', 'keras', 'uvicorn', 'starlette', 'scipy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_array_of_a_request_is_the_clients() -> None:
    """TensorFlow's own way to write a tensor into a request is read here."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    from rnnapp.serving.tensors import to_array

    request = predict_pb2.PredictRequest()
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(expected))
    own = protocol.PredictRequest.FromString(request.SerializeToString())
    np.testing.assert_array_equal(to_array(own.inputs["x"]), expected)
