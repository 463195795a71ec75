"""What the page of a bundle says of the export's own signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipelines.text.tokenization import BEGIN
from rnnapp.device.sequences import LENGTHS
from rnnapp.device.stepper import NEXT
from rnnapp.exporting.bundle.requests import Request, Signature, Tensor, goes_on_from

_DEFAULT = "serving_default"  # what is asked where a request names no signature
_CARRIED = f"""\
What an answer gives as `{NEXT}NAME` is what the next request takes as
`NAME`; the client carries it."""
_UNTOLD = f"""\
It is told no lengths: among longer ones in a batch, TensorFlow Serving fills a sequence up with its
own first element, and that is taken for part of it. Ask it with sequences of one length, and a
signature with `{LENGTHS}` with those of several."""


def fields(name: str, label: str, asked: Mapping[Signature, list[Request]]) -> dict[str, str]:
    """What the page leaves open.

    Args:
        name: The model's name.
        label: The label that is asked for.
        asked: The real requests of each signature.

    Returns:
        Parts of the page, by name.
    """
    known = [signature for signature, made in asked.items() if made]
    # One stands for all in gRPC: the default signature, where there is a request of it.
    foremost, *_ = sorted(known or asked, key=lambda signature: signature.name != _DEFAULT)
    url = f"localhost:8501/v1/models/{name}/labels/{label}:predict"
    return {
        "signatures": "\n\n".join(_described(each, asked) for each in asked),
        "curl": "\n".join(f"curl -d @examples/{each.name}.json {url}" for each in known),
        "signature": foremost.name,
        "dtypes": ", ".join(f'"{key}": tf.{t.dtype}' for key, t in foremost.inputs.items()),
        "warm_up": _warm_up(asked),
    }


def _described(signature: Signature, others: Iterable[Signature]) -> str:
    """What a signature takes and gives, how a stream goes on, and what padding does to it."""
    rows = [f"### `{signature.name}`", "", "| | name | type | shape |", "|---|---|---|---|"]
    for way, tensors in (("takes", signature.inputs), ("gives", signature.outputs)):
        rows += [_row(way, name, tensor) for name, tensor in tensors.items()]
    if signature.states:
        rows += ["", _begins(signature, others), _CARRIED]
    if signature.needs_padding and not any(name.endswith(LENGTHS) for name in signature.inputs):
        rows += ["", _UNTOLD]
    return "\n".join(rows)


def _begins(signature: Signature, others: Iterable[Signature]) -> str:
    """What is in the place of an answer before the first."""
    source = goes_on_from(signature, others)
    if source is None:
        return "A stream begins with zeros."
    return f"It begins with token {BEGIN} and what `{source.name}` gives, under the same names."


def _row(way: str, name: str, tensor: Tensor) -> str:
    """A line of the table; sizes of -1 vary."""
    sizes = ", ".join("-1" if size is None else str(size) for size in tensor.shape)
    return f"| {way} | `{name}` | {tensor.dtype} | ({sizes}) |"


def _warm_up(asked: Mapping[Signature, list[Request]]) -> str:
    """How many requests a version is warmed with, and what stays cold."""
    counts = ", ".join(f"{len(made)} of `{each.name}`" for each, made in asked.items() if made)
    cold = [f"`{each.name}`" for each, made in asked.items() if not made]
    lines = [
        "Before a version becomes `AVAILABLE`, the server runs what is in its",
        "`assets.extra/tf_serving_warmup_requests`, so that no client waits for what a first call",
        f"makes. These are sequences of the export's own replay: {counts or 'none'}.",
    ]
    if cold:
        lines += [
            f"Of them, none could be made for {', '.join(cold)}: the first call of that is slow."
        ]
    return "\n".join(lines)
