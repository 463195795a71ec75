"""What all commands share: the app, its options, its ways to print."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="rnnapp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train a recurrent model once; ship it to TF Serving and to devices, with proof that "
    "they agree.\n\nBegin with `rnnapp quickstart`.",
)

CHECK_FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, as in `--set units=128 --set epochs=40`; may be repeated. "
        "`rnnapp list --settings TASK` shows all of them.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="A folder `DATA/word/*.wav`, several with commas between, or "
        "`tfds:NAME`; the task makes its own data where none is given.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
BadInput = Annotated[
    str | None,
    typer.Option(metavar="skip|stop", help="Leave out files that cannot be read, or stop."),
]


def escaped(error: BaseException | str) -> str:
    """A message that rich prints as it is."""
    from rich.markup import escape

    return escape(str(error))


def show(value: Any, as_json: bool, text: str) -> None:
    """Prints a result as one JSON object, or as text."""
    print(json.dumps(value, indent=2, ensure_ascii=False) if as_json else text)


def words_of(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
