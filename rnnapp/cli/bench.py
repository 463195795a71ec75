"""The commands that measure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnapp import progress
from rnnapp.cli.common import AsJson, app, show, words_of
from rnnapp.specs import require

if TYPE_CHECKING:
    from rnnapp.serving.load.measuring import LoadSpec
    from rnnapp.serving.load.report import Load

bench = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(bench, name="bench")


@bench.callback()  # without one, a single command would take its group's name
def _group() -> None:
    """Measures how much a server bears."""


@bench.command()
def serving(
    target: Annotated[
        str,
        typer.Argument(
            metavar="URL|EXPORT",
            help="A server that is there, this one's or TensorFlow Serving: `host:port` or "
            "`grpc://host:port`, `http://host:port`; or an export folder, which is served for it.",
        ),
    ],
    model: Annotated[str, typer.Option(help="What the server at URL calls the model.")] = "",
    protocol: Annotated[
        str, typer.Option(metavar="grpc|rest", help="How an EXPORT is asked; a URL says it.")
    ] = "grpc",
    signature: Annotated[str, typer.Option(help="What is asked.")] = "serving_default",
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            help="A file of a request, JSON as REST's `:predict` takes it, or JSONL with one a "
            "line; may be repeated. Requests are drawn where none is given.",
        ),
    ] = None,
    lengths: Annotated[
        str,
        typer.Option(
            metavar="N|MIN..MAX", help="Timesteps, or words, of the requests that are drawn."
        ),
    ] = "",
    clients: Annotated[int, typer.Option(help="Clients of the closed loop.")] = 32,
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 10.0,
    shares: Annotated[
        str, typer.Option(help="Rates of the open loop, as shares of the closed loop's.")
    ] = "0.25,0.5,0.75,0.9",
    rates: Annotated[
        str, typer.Option(help="Rates of the open loop in requests a second, instead.")
    ] = "",
    max_in_flight: Annotated[
        int,
        typer.Option(help="Requests that may be unanswered; what is due then counts as not sent."),
    ] = 1000,
    timeout: Annotated[float, typer.Option(help="Seconds that an answer may take.")] = 10.0,
    api_key_file: Annotated[
        Path | None, typer.Option(help="A file whose first line is the server's API key.")
    ] = None,
    ca_cert: Annotated[
        Path | None, typer.Option(help="PEM certificates to trust; the system's by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other requests and times.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw throughput against latency.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Loads a model server, and says how many requests it answers and how long they take.

    First a closed loop: clients that each send a request as soon as the last is answered, whose
    rate is the peak. Then open loops: requests at random times at given rates, whose latency runs
    from when each was to be sent, so that a server that stalls cannot hide it. Nothing is tried
    again.
    """
    from rnnapp.serving.load.measuring import LoadSpec
    from rnnapp.serving.load.pictures import throughput_against_latency
    from rnnapp.serving.load.report import table
    from rnnapp.serving.server.settings import read_keys

    spec = LoadSpec(
        clients=clients,
        seconds=seconds,
        shares=_numbers("shares", shares),
        rates=_numbers("rates", rates),
        max_in_flight=max_in_flight,
        signature=signature,
        inputs=tuple(inputs or ()),
        lengths=_lengths(lengths) if lengths else None,
        seed=seed,
    )
    if out:
        png = out.suffix == ".png" and out.parent.is_dir()
        require(png, "out", "a .png file in a folder that exists", str(out))
    options: dict[str, Any] = {"timeout": timeout, "ca_cert": ca_cert}
    if api_key_file:
        options["api_key"] = read_keys(api_key_file)[0]
    with _server(target, model, protocol) as (url, name, unit):
        loads = _measure(url, name, spec, unit, options)
    result = {
        "url": url,
        "model": name,
        "spec": {**asdict(spec), "inputs": [str(path) for path in spec.inputs]},
        "loads": [asdict(load) for load in loads],
    }
    lines = [table(loads, clients), *_notes(loads, max_in_flight)]
    if out:
        throughput_against_latency(loads, f"{name}, {signature}", out)
        lines.append(f"see {out}")
    show(result, as_json, "\n".join(lines))


@contextlib.contextmanager
def _server(target: str, model: str, protocol: str) -> Iterator[tuple[str, str, int | None]]:
    """A server's URL, its model's name, and how many timesteps a step of it takes if known."""
    require(protocol in ("grpc", "rest"), "protocol", "grpc or rest", protocol)
    if not Path(target).is_dir():
        require(":" in target, "target", "an export folder, or a URL such as host:port", target)
        require(bool(model), "model", f"the name of the model at {target}", model)
        yield target, model, None
        return
    require(not model, "model", "left out: an export is served by its own name", model)
    from rnnapp.manifests import read_manifest
    from rnnapp.serving.load.processes import served

    unit = int(read_manifest(Path(target)).get("unit", 1))
    with served(Path(target)) as server:
        yield (server.address if protocol == "grpc" else server.url), server.name, unit


def _measure(
    url: str, name: str, spec: LoadSpec, unit: int | None, options: dict[str, Any]
) -> list[Load]:
    from rnnapp.serving import AsyncClient
    from rnnapp.serving.load.loops import run
    from rnnapp.serving.load.measuring import measured, requests_of, sender

    async def measure() -> list[Load]:
        async with AsyncClient(url, name, retries=0, **options) as client:
            requests = await requests_of(client, spec, unit)
            with progress.bar("Loading") as report:
                return await measured(sender(client, requests, spec.signature), spec, report)

    return run(measure())


def _notes(loads: list[Load], max_in_flight: int) -> list[str]:
    """What a table does not say by itself, a line each."""
    from rnnapp.serving.load.loops import NOT_SENT

    unsent = sum(load.errors.get(NOT_SENT, 0) for load in loads)
    if not unsent:
        return []
    return [
        f"{unsent} requests were not sent, since {max_in_flight} were unanswered when they were "
        "due: latencies are those of the others."
    ]


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, words_of(text)))
    except ValueError:
        raise ValueError(f"`--{name}` must be numbers, as in 0.5,0.9. Received: {text}") from None


def _lengths(text: str) -> tuple[int, int]:
    fewest, dots, most = text.partition("..")
    try:
        return int(fewest), int(most if dots else fewest)
    except ValueError:
        raise ValueError(
            f"`--lengths` must be as in 16000 or 8000..16000. Received: {text}"
        ) from None
