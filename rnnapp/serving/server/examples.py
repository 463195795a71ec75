"""Classify and regress: requests of tf.Examples, for signatures that parse those."""

from __future__ import annotations

import numpy as np

from rnnapp.serving.errors import Code, ServingError, invalid
from rnnapp.serving.protocol import (
    ClassificationResult,
    Message,
    RegressionResult,
)
from rnnapp.serving.signatures import CLASSIFY, REGRESS, Arrays, Signature

EXAMPLES = "inputs"  # what such signatures call their one input
CLASSES, SCORES = "classes", "scores"  # and their outputs; of a regression, VALUES
VALUES = "outputs"
MAX_SHARED = 64 * 2**20  # bytes that features in common may become, in each of the examples


def inputs_of(request: Message) -> Arrays:
    """Examples as a signature that parses them takes them.

    Args:
        request: An Input.

    Raises:
        ServingError: If there are none.
    """
    kind = request.WhichOneof("kind")
    if kind == "example_list_with_context":
        given = request.example_list_with_context
        if given.context.ByteSize() * len(given.examples) > MAX_SHARED:
            raise invalid(f"`context` must be at most {MAX_SHARED} bytes, times the examples.")
        merged = [_with_context(each, given.context) for each in given.examples]
    else:
        merged = list(request.example_list.examples)
    if not merged:
        raise invalid("Input is empty: it must hold at least one example.")
    array = np.empty(len(merged), object)
    array[:] = [example.SerializeToString() for example in merged]
    return {EXAMPLES: array}


def _with_context(example: Message, context: Message) -> Message:
    """An example, and the features that it has in common with others; its own come first."""
    merged = type(example)()
    merged.CopyFrom(context)
    merged.MergeFrom(example)
    return merged


def check_method(signature: Signature, method: str) -> None:
    """Makes sure that a signature is for what is asked of it.

    Raises:
        ServingError: If it is not.
    """
    if signature.method != method:
        raise invalid(
            f"Signature `{signature.name}` must be one of method {method}. "
            f"Received: one of {signature.method}; ask it by `predict`"
        )


def result_of(method: str, outputs: Arrays) -> Message:
    """What a classification or a regression says, as a message.

    Args:
        method: `CLASSIFY` or `REGRESS`.
        outputs: What the signature gave.

    Raises:
        ServingError: If it gave something else.
    """
    try:
        return _RESULTS[method](outputs)
    except (LookupError, ValueError, AttributeError) as error:
        raise ServingError(
            Code.FAILED_PRECONDITION, f"The model gave no outputs of {method}: {sorted(outputs)}"
        ) from error


def _classifications(outputs: Arrays) -> Message:
    """(batch, classes) of names, of scores, or of both."""
    result = ClassificationResult()
    known = [outputs[name] for name in (CLASSES, SCORES) if name in outputs]
    rows, count = known[0].shape
    names = outputs.get(CLASSES, np.full((rows, count), b"", object))
    scores = outputs.get(SCORES, np.zeros((rows, count), np.float32))
    for row in range(rows):
        classes = result.classifications.add().classes
        for name, score in zip(names[row], scores[row], strict=True):
            classes.add(label=name.decode(errors="replace"), score=score)
    return result


def _regressions(outputs: Arrays) -> Message:
    """(batch,) or (batch, 1)."""
    values = outputs[VALUES]
    result = RegressionResult()
    for value in values.reshape(len(values)):
        result.regressions.add(value=value)
    return result


_RESULTS = {CLASSIFY: _classifications, REGRESS: _regressions}
