"""Serving exports: TensorFlow Serving's protocol, a local server for it, and clients of both.

    from rnnapp.serving import Client

    with Client("127.0.0.1:8500", "words") as client:
        print(client.predict({"waveform": samples[None]}).labels)

Importing this imports no TensorFlow; a server does, when it loads a model.
"""

from __future__ import annotations

from rnnapp.serving.client import AsyncClient, Client
from rnnapp.serving.client.results import Prediction, VersionStatus
from rnnapp.serving.client.streams import AsyncStream, Stream
from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.signatures import Signature, TensorSpec

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "Code",
    "Prediction",
    "ServingError",
    "Signature",
    "Stream",
    "TensorSpec",
    "VersionStatus",
]
