"""The command that serves an export."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnapp.cli.common import app, words_of

if TYPE_CHECKING:
    from rnnapp.serving.server.app import Server


@app.command()
def serve(
    export: Annotated[Path, typer.Argument(help="An export folder.")],
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="gRPC's port; 0 for any.")] = 8500,
    rest_port: Annotated[int, typer.Option(help="REST's port; 0 for any.")] = 8501,
    name: Annotated[
        str, typer.Option(help="What requests call the model; the export's name by default.")
    ] = "",
    max_batch_size: Annotated[int, typer.Option(help="Rows in a call of the model.")] = 32,
    batch_timeout_ms: Annotated[
        float,
        typer.Option(
            help="How long a batch waits to become full. What comes in while the model is busy "
            "becomes a batch anyway."
        ),
    ] = 0.0,
    max_queue: Annotated[
        int, typer.Option(help="Rows that may wait; what comes then is told to try again.")
    ] = 1024,
    batch_threads: Annotated[int, typer.Option(help="Batches that run at the same time.")] = 1,
    versions: Annotated[
        int, typer.Option(help="As many of the newest versions are served; 0 for all.")
    ] = 1,
    labels: Annotated[
        str, typer.Option(metavar="NAME=VERSION,...", help="Names that requests may ask for.")
    ] = "",
    request_seconds: Annotated[float, typer.Option(help="What an answer may take.")] = 30.0,
    max_body_mb: Annotated[float, typer.Option(help="Megabytes of a request.")] = 16.0,
    max_streams: Annotated[
        int, typer.Option(help="WebSockets, at REST's `...NAME:stream`, that may be open.")
    ] = 64,
    stream_seconds: Annotated[
        float, typer.Option(help="How long a stream may say nothing before it is ended.")
    ] = 60.0,
    grace_seconds: Annotated[
        float, typer.Option(help="What requests under way may take when the server is to end.")
    ] = 30.0,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="Keys, one a line; requests carry one as `Authorization: Bearer KEY`."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificates in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Their key in PEM.")] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Load SavedModels that are in no manifest of an export. They are code: whoever "
            "wrote them may do anything on this machine.",
        ),
    ] = False,
) -> None:
    """Serves an export by TensorFlow Serving's own protocol, gRPC and REST.

    Requests that come in while the model is busy are answered in one call. A new version is
    served as soon as its folder appears: copy NEW/manifest.json to EXPORT/serving/2.manifest.json,
    then NEW/serving/1 to another name, and rename that to EXPORT/serving/2.

    It is for development; in production, TensorFlow Serving takes the same folder and the same
    requests.
    """
    try:
        from rnnapp.serving.server.app import serve as run
    except ModuleNotFoundError as error:
        raise ImportError(
            f"`rnnapp serve` needs {error.name}. pip install 'rnnapp[serving]' brings it."
        ) from error
    from rnnapp.serving.server.batching import BatchSpec
    from rnnapp.serving.server.settings import ServerSpec, read_keys
    from rnnapp.serving.server.versions import Policy

    spec = ServerSpec(
        host=host,
        port=port,
        rest_port=rest_port,
        name=name,
        batch=BatchSpec(max_batch_size, batch_timeout_ms / 1000, max_queue, batch_threads),
        policy=Policy(versions),
        labels=_labels(labels),
        request_seconds=request_seconds,
        max_body=round(max_body_mb * 2**20),
        max_streams=max_streams,
        stream_seconds=stream_seconds,
        grace_seconds=grace_seconds,
        api_keys=read_keys(api_key_file) if api_key_file else (),
        tls_cert=tls_cert,
        tls_key=tls_key,
        trust=trust,
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(export, spec, _greet)


def _greet(server: Server) -> None:
    """Where the server listens, and how it is asked."""
    from rnnapp.serving.signatures import DEFAULT

    version = server.model.versions[server.model.available[-1]]
    assert version.model
    signature = version.model.signatures.get(DEFAULT)
    print(f"gRPC  {server.address}\nREST  {server.url}/v1/models/{server.name}", flush=True)
    if signature and signature.main_input == "text":
        example: Any = {"instances": ["some text"]}
        print(
            f"Ask it:\n  curl {server.url}/v1/models/{server.name}:predict "
            f"-d '{json.dumps(example)}'",
            flush=True,
        )


def _labels(text: str) -> dict[str, int]:
    """`stable=1,canary=2` as numbers by name."""
    labels = {}
    for pair in words_of(text):
        name, _, number = pair.partition("=")
        if not name or not number.isdecimal():
            raise ValueError(f"`--labels` must be as in `stable=1,canary=2`. Received: {text}")
        labels[name] = int(number)
    return labels
