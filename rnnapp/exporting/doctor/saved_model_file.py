"""A SavedModel as it lies there: its graph and its variables' values, nothing of it executed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.exporting.doctor.findings import BadFileError

GRAPH = "saved_model.pb"
_INIT = "__saved_model_init_op"
_SHARD = re.compile(r"variables\.data-\d{5}-of-(\d{5})")


@dataclass(frozen=True)
class Reached:
    """An operation that a signature runs.

    Args:
        node: It.
        function: The function that it stands in; empty for the graph outside of all.
        guarded: Whether it runs on a condition only.
        needed: Whether the signature's outputs are computed from its result. Keras draws the masks
            of a recurrent layer's dropout in inference too, and does not use them.
        variable: The variable that is its first input, if that is one.
    """

    node: Any
    function: str
    guarded: bool
    needed: bool
    variable: str


@dataclass(frozen=True)
class _Call:
    """A body of operations as it is called: `Reached` without the operation."""

    nodes: Sequence[Any]
    function: str
    guarded: bool
    needed: frozenset[str]
    variables: Mapping[str, str]


class SavedModelFile:
    """A SavedModel.

    Args:
        path: Its folder.

    Attributes:
        graph: The graph for serving, a MetaGraphDef.
        functions: The functions of its library, by name.
        signatures: The definitions of its signatures, by name.
        runtimes: None: a SavedModel does not say where it is to run.

    Raises:
        BadFileError: If it is damaged.
    """

    runtimes: frozenset[str] | None = None

    def __init__(self, path: Path) -> None:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from tensorflow.core.protobuf import saved_model_pb2

        self.path = path
        content = (path / GRAPH).read_bytes()
        try:
            graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
        except DecodeError as error:
            raise BadFileError(f"{path / GRAPH} is damaged: {error}. Copy it again") from error
        if not graphs:
            raise BadFileError(f"{path / GRAPH} must hold a graph. Received: {len(content)} bytes")
        serving = [graph for graph in graphs if "serve" in graph.meta_info_def.tags]
        self.graph = (serving or graphs)[0]
        self.functions = {f.signature.name: f for f in self.graph.graph_def.library.function}
        self.signatures = {
            name: definition
            for name, definition in sorted(self.graph.signature_def.items())
            if name != _INIT
        }
        self._nodes = {node.name: node for node in self.graph.graph_def.node}

    def reached(self, signature: str, device: str) -> Iterator[Reached]:
        """Every operation that a signature runs on a kind of device.

        Args:
            signature: Its name.
            device: "CPU" or "GPU": what a graph that has an implementation for each goes by.
        """
        outputs = self.signatures[signature].outputs.values()
        nodes = self.before(output.name for output in outputs)
        variables = {node.name: variable_of(node) for node in nodes if node.op == "VarHandleOp"}
        needed = frozenset(node.name for node in nodes)
        yield from self._inside(_Call(nodes, "", False, needed, variables), device, set())

    def before(self, names: Iterable[str]) -> list[Any]:
        """The operations of the outer graph that tensors or operations are computed from."""
        found: dict[str, Any] = {}
        waiting = [_operation(name) for name in names]
        while waiting:
            name = waiting.pop()
            if name in self._nodes and name not in found:
                found[name] = self._nodes[name]
                waiting += [_operation(source) for source in self._nodes[name].input]
        return list(found.values())

    def initialized(self) -> list[Any]:
        """The operations of the outer graph that run when a C++ program loads it."""
        starts = [self.graph.saver_def.restore_op_name]
        init = self.graph.signature_def.get(_INIT)
        starts += [output.name for output in init.outputs.values()] if init else []
        return self.before(starts)

    def absent_values(self) -> list[str]:
        """The files of the variables' values that are not there."""
        folder = self.path / "variables"
        present = {path.name for path in folder.glob("variables.*")}
        shards = {match[1] for name in present if (match := _SHARD.fullmatch(name))} or {"00001"}
        names = [f"variables.data-{i:05}-of-{n}" for n in shards for i in range(int(n))]
        return [f"variables/{n}" for n in ("variables.index", *names) if n not in present]

    @cached_property
    def values(self) -> dict[str, Any]:
        """The dtype of each variable's value, by the value's name; empty where files are absent.

        Raises:
            BadFileError: If they are damaged.
        """
        from tensorflow import train

        if self.absent_values():
            return {}
        with self._damage():
            self._reader = train.load_checkpoint(str(self.path / "variables" / "variables"))
            return self._reader.get_variable_to_dtype_map()

    def value(self, name: str) -> np.ndarray:
        """One of `values`.

        Raises:
            BadFileError: If it is damaged.
        """
        with self._damage():
            return self._reader.get_tensor(name)

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """Turns TensorFlow's errors into ours."""
        from tensorflow import errors

        try:
            yield
        except (errors.OpError, IndexError, RuntimeError, ValueError) as error:
            place = self.path / "variables"
            raise BadFileError(f"{place} is damaged: {error}. Copy it again") from error

    def _inside(self, call: _Call, device: str, seen: set[Any]) -> Iterator[Reached]:
        """The operations of a body, and of the functions that it calls."""
        around = {node.name: node for node in call.nodes}
        for node in call.nodes:
            needed = node.name in call.needed
            variable = call.variables.get(_operation(node.input[0]), "") if node.input else ""
            yield Reached(node, call.function, call.guarded, needed, variable)
            for name in self._called(node, around, device):
                function = self.functions.get(self._sibling(name, device))
                if function is None:
                    continue
                inner = self._call(function, node, call, needed)
                key = inner.function, inner.guarded, needed, tuple(inner.variables.items())
                if key not in seen:
                    seen.add(key)
                    yield from self._inside(inner, device, seen)

    def _call(self, function: Any, node: Any, call: _Call, needed: bool) -> _Call:
        """A function as an operation of a body calls it."""
        branching = node.op in ("Case", "If", "StatelessCase", "StatelessIf")
        given = [_operation(name) for name in node.input][1 if branching else 0 :]
        arguments = [argument.name for argument in function.signature.input_arg]
        variables = {
            argument: call.variables[name]
            for argument, name in zip(arguments, given, strict=False)
            if name in call.variables
        }
        guarded = call.guarded or node.op in ("If", "StatelessIf")
        inside = _needed(function) if needed else frozenset()
        return _Call(function.node_def, function.signature.name, guarded, inside, variables)

    def _called(self, node: Any, around: dict[str, Any], device: str) -> list[str]:
        """The functions that an operation calls, of those for each device the right one."""
        if node.op in ("Case", "StatelessCase"):
            index = around.get(_operation(node.input[0]))
            branches = [function.name for function in node.attr["branches"].list.func]
            if index is not None and index.op == "DeviceIndex":
                devices = [name.decode() for name in index.attr["device_names"].list.s]
                # The last branch is for devices that have none of their own.
                return branches[devices.index(device) :][:1] if device in devices else branches[-1:]
            return branches
        called = [value.func.name for value in node.attr.values() if value.HasField("func")]
        for value in node.attr.values():
            called += [function.name for function in value.list.func]
        return called

    def _sibling(self, name: str, device: str) -> str:
        """The function that Grappler takes on a device, where several implement the same."""
        kind = _text(self.functions, name, "api_implements")
        if not kind:
            return name
        for other in self.functions:
            preferred = _text(self.functions, other, "api_preferred_device")
            if _text(self.functions, other, "api_implements") == kind and preferred == device:
                return other
        return name


def variable_of(node: Any) -> str:
    """What the runtime knows a VarHandleOp's variable by."""
    return node.attr["shared_name"].s.decode() or node.name


def _needed(function: Any) -> frozenset[str]:
    """The operations of a function that its results are computed from."""
    nodes = {node.name: node for node in function.node_def}
    found: set[str] = set()
    waiting = [_operation(value) for value in function.ret.values()]
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in found:
            found.add(name)
            sources = [source for source in nodes[name].input if not source.startswith("^")]
            waiting += [_operation(source) for source in sources]
    return frozenset(found)


def _operation(tensor: str) -> str:
    """The name of the operation that a tensor comes from."""
    return tensor.removeprefix("^").partition(":")[0]


def _text(functions: dict[str, Any], name: str, attribute: str) -> str:
    attributes = functions[name].attr if name in functions else {}
    return attributes[attribute].s.decode() if attribute in attributes else ""
