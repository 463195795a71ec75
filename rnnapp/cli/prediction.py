"""The command that asks models."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnapp import progress
from rnnapp.cli.common import CHECK_FAILED, AsJson, BadInput, Settings, app, escaped, show

if TYPE_CHECKING:
    from rnnapp.archive import Open
    from rnnapp.generation import Generator


@app.command()
def predict(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|EXPORT INPUT",
            help="A run folder or an export folder, which --server stands for as well; then files "
            "to answer, or texts.",
        ),
    ] = None,
    input_list: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Further inputs, one a line; - for standard input."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write answers to this file, .jsonl or .csv, instead of showing them."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that answer.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an --out that was stopped.")
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask TensorFlow Serving or `rnnapp serve`: host:port or grpc://host:port, "
            "http://host:port for REST; grpcs and https with TLS.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="What the server calls it; the name of --export, or `default`, by default."
        ),
    ] = "",
    export: Annotated[
        Path | None,
        typer.Option(
            help="With --server: the export that is served, or a copy of its manifest.json, "
            "labels.txt and tokenizer. They say how sounds are read, texts are spelt and classes "
            "are called; a classifier of texts answers without."
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="The first of its keys goes to the server.")
    ] = None,
    ca_cert: Annotated[
        Path | None,
        typer.Option(help="Certificates in PEM that servers are trusted by; else the system's."),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that a server may take.")] = 30.0,
    set_: Settings = None,
    on_bad_input: BadInput = None,
    as_json: AsJson = False,
) -> None:
    """Answers files or texts with a trained, an exported or a served model.

    A language model goes on with each text: `--set temperature=0.7 --set max_tokens=200`.

    An archive: `rnnapp predict EXPORT --input-list files.txt --out answers.jsonl --workers 8`;
    what was stopped goes on with `--resume`.

    A server: `rnnapp predict --server localhost:8500 --export EXPORT recording.wav`
    """
    from rnnapp.archive import listed
    from rnnapp.prediction import check_policy

    given, settings, policy = list(inputs or []), tuple(set_ or []), on_bad_input or "skip"
    check_policy(policy)
    if resume and out is None:
        raise ValueError("`--out` must be given with --resume. Received: none")
    if server is not None:
        open_ = _remote(server, model, export, settings, api_key_file, ca_cert, timeout)
    else:
        open_ = _local(given, settings, model, export, api_key_file, ca_cert)
    asked = given + (listed(input_list) if input_list else [])
    if not asked:
        raise ValueError("An INPUT must be given, or an --input-list. Received: none")
    if out is None:
        failed = _show(open_, asked, workers, policy, as_json)
    else:
        failed = _write_down(open_, asked, out, workers, policy, resume, as_json)
    if failed:
        raise typer.Exit(CHECK_FAILED)


def _local(given: list[str], settings: Sequence[str], *of_servers: object) -> Open:
    """Opens the run or the export that is named first."""
    from rnnapp.prediction import Predictor

    if any(of_servers):
        raise ValueError(
            "`--server` must be given with --model, --export, --api-key-file and --ca-cert. "
            "Received: none"
        )
    if not given:
        raise ValueError("A run or an export folder must be named first. Received: none")
    return functools.partial(Predictor.of, given.pop(0), settings)


def _remote(
    url: str,
    model: str,
    export: Path | None,
    settings: tuple[str, ...],
    api_key_file: Path | None,
    ca_cert: Path | None,
    timeout: float,
) -> Open:
    """Opens a server's model."""
    from rnnapp.remote import Remote
    from rnnapp.serving.server.settings import read_keys

    key = read_keys(api_key_file)[0] if api_key_file else ""
    return Remote(url, model, export, settings, key, ca_cert, timeout).open


def _show(
    open_: Open, inputs: Sequence[str], workers: int, on_bad_input: str, as_json: bool
) -> bool:
    """Shows answers as they come, and tells whether some inputs could not be used."""
    from rnnapp.archive import answers
    from rnnapp.generation import Generator

    if workers == 1 and not as_json:
        predictor = open_()
        if isinstance(predictor.writer, Generator):
            _write(predictor.writer, predictor.writer.read(inputs))
            return False
        open_ = lambda: predictor  # noqa: E731
    found, shown = answers(open_, inputs, workers, on_bad_input), []
    for each in list(found) if on_bad_input == "stop" else found:
        shown.append(each)
        if "error" in each:
            progress.console().print(f"[red]error:[/red] {escaped(each['error'])}")
        elif not as_json:
            print(f"{each['input']}  {_answer(each)}")
    if as_json:
        print(json.dumps({"answers": shown}, indent=2, ensure_ascii=False))
    return any("error" in each for each in shown)


def _write_down(
    open_: Open,
    inputs: Sequence[str],
    out: Path,
    workers: int,
    on_bad_input: str,
    resume: bool,
    as_json: bool,
) -> bool:
    """Writes answers into a file, and tells whether some inputs could not be used."""
    from rnnapp.archive import score

    with progress.bar("Predicting") as report:
        done = score(
            open_,
            inputs,
            out,
            workers=workers,
            on_bad_input=on_bad_input,
            resume=resume,
            progress=report,
        )
    told = f"{out}: {done.answered} answered"
    if done.failed:
        told += f", {done.failed} could not be used: their `error` says why"
    show({"out": str(out), **asdict(done)}, as_json, told)
    return bool(done.failed)


def _answer(answer: dict[str, Any]) -> str:
    """An answer on a line."""
    if "text" in answer:
        return answer["text"]
    return f"{answer['label']}  {answer['probabilities'][answer['label']]:.2f}"


def _write(generator: Generator, prompts: list[str]) -> None:
    """Writes on from each prompt, and shows every piece as it comes."""
    for prompt in prompts:
        print(prompt, end="", flush=True)
        for piece in generator.write(prompt):
            print(piece, end="", flush=True)
        print()
