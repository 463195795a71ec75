"""What a .tflite file remembers from call to call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from rnnapp.exporting.doctor.findings import Fault, some
from rnnapp.exporting.doctor.tflite_file import Operator, TFLiteFile, text

_TIMEOUT_SECONDS = 120.0
_Place = tuple[int, int]  # subgraph, tensor


def never_filled(file: TFLiteFile) -> list[str]:
    """Resource variables that are read, and that no operator fills before."""
    filled: set[str] = set()
    for access, names in _accesses(file):
        if access.name == "ASSIGN_VARIABLE":
            filled |= names
    return [
        name
        for access, names in _accesses(file)
        if access.name == "READ_VARIABLE"
        for name in sorted(names - filled)
    ]


def kept_state(file: TFLiteFile) -> Iterator[Fault]:
    """Resource variables that a call reads, and that a call writes."""
    once = _initializers(file)
    changed: dict[str, set[str]] = {"READ_VARIABLE": set(), "ASSIGN_VARIABLE": set()}
    for access, names in _accesses(file):
        if access.subgraph not in once:
            changed[access.name] |= names
    if kept := changed["READ_VARIABLE"] & changed["ASSIGN_VARIABLE"]:
        yield Fault(
            f"variables {some(sorted(kept))}",
            "A call changes variables, so the next answer depends on it. The interpreter's "
            "`reset_all_variables` does not reset them.",
            "Run the file's own signature for resetting before each sequence, if it has one; or "
            "convert with stateful=False and explicit states.",
        )


def _accesses(file: TFLiteFile) -> Iterator[tuple[Operator, set[str]]]:
    """Every reading and writing of a resource variable, with the variable's name."""
    handles = _handles(file)
    for operator in file.operators():
        if operator.name in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            yield operator, handles.get((operator.subgraph, operator.inputs[0]), set())


def _handles(file: TFLiteFile) -> dict[_Place, set[str]]:
    """The variables that a tensor may stand for; handles go into loops as their arguments."""
    found: dict[_Place, set[str]] = {}
    operators = list(file.operators())
    for operator in operators:
        if operator.name == "VAR_HANDLE":
            name = text(operator.table.builtinOptions.sharedName)
            found[operator.subgraph, operator.outputs[0]] = {name}
    for _ in range(len(file.model.subgraphs)):  # as deep as loops can be nested
        for operator in operators:
            for source, target in _passed(file, operator):
                if names := found.get(source):
                    found.setdefault(target, set()).update(names)
    return found


def _passed(file: TFLiteFile, operator: Operator) -> Iterator[tuple[_Place, _Place]]:
    """The tensors that an operator hands on as they are: into its subgraphs, and out of a loop."""
    here = operator.subgraph
    for subgraph, skipped in _called(operator):
        targets = map(int, file.model.subgraphs[subgraph].inputs)
        for source, target in zip(operator.inputs[skipped:], targets, strict=False):
            yield (here, source), (subgraph, target)
    if operator.name == "WHILE":
        for source, target in zip(operator.inputs, operator.outputs, strict=False):
            yield (here, source), (here, target)


def _called(operator: Operator) -> list[tuple[int, int]]:
    """The subgraphs that an operator runs, and how many of its own inputs they do not get."""
    options = operator.table.builtinOptions
    if operator.name == "WHILE":
        return [(options.condSubgraphIndex, 0), (options.bodySubgraphIndex, 0)]
    if operator.name == "IF":
        return [(options.thenSubgraphIndex, 1), (options.elseSubgraphIndex, 1)]
    return []


def _initializers(file: TFLiteFile) -> set[int]:
    """The subgraphs that run once, before all calls."""
    return {
        operator.table.builtinOptions.initSubgraphIndex
        for operator in file.operators()
        if operator.name == "CALL_ONCE"
    }


def hidden_state(file: TFLiteFile) -> Iterator[Fault]:
    """Operators with a state of their own, which answer otherwise after another call."""
    found = [operator for operator in file.operators() if _has_variables(file, operator)]
    if found and (leaking := leaks(file)) is not False:
        seen = "Answers to the same input differ after another one. " if leaking else ""
        yield Fault(
            some(operator.name for operator in found),
            f"The operator keeps its state from call to call. {seen}MediaPipe, the Task Library "
            "and servers never reset it, so that every answer depends on those before.",
            "Call `reset_all_variables` before each sequence, where the runtime has it; or convert "
            "a loop, explicit states, or a first frame that closes the gates (`rnnapp export`).",
        )


def _has_variables(file: TFLiteFile, operator: Operator) -> bool:
    tensors: list[Any] = file.model.subgraphs[operator.subgraph].tensors
    return any(tensors[index].isVariable for index in operator.inputs)


def leaks(file: TFLiteFile) -> bool | None:
    """Whether the same input is answered otherwise after another one; None if it does not run.

    It runs in a process of its own, for a foreign file may crash its runtime.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rnnapp.exporting.doctor.replaying", str(file.path)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
        return bool(json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return None
