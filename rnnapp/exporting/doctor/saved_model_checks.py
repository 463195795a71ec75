"""What can be wrong with a SavedModel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rnnapp.exporting.doctor.findings import Fault, some
from rnnapp.exporting.doctor.saved_model_file import Reached, SavedModelFile, variable_of

_LOOPS = ("While", "StatelessWhile")
_RANDOM = re.compile(
    r"^(Stateless)?(Random(Uniform|StandardNormal|Normal|Gamma|Poisson)|TruncatedNormal|Multinomial)"
    r"|^Stateful(Uniform|StandardNormal|TruncatedNormal)|^RngReadAndSkip$"
)
_ASSIGNMENT = re.compile(r"^(Assign\w*VariableOp|Resource(Scatter|Apply)\w*|Assign(Add|Sub)?)$")


def cudnn_only(file: SavedModelFile) -> Iterator[Fault]:
    """cuDNN kernels that a machine without a GPU is sent to."""
    yield from _operators(
        file,
        "CPU",
        lambda reached: _is_cudnn(reached.node),
        "The graph was traced on a GPU machine, where Keras takes cuDNN's kernels, and holds no "
        "other implementation: on a server without a GPU every call fails.",
        "Export on a machine without a GPU (CUDA_VISIBLE_DEVICES= before Python starts), or by "
        "`rnnapp export`, which puts both implementations into one graph.",
    )


def loops_only(file: SavedModelFile) -> Iterator[Fault]:
    """Recurrent layers that stay loops on a GPU."""
    loops = []
    for signature in file.signatures:
        reached = list(file.reached(signature, "GPU"))
        if not any(_is_cudnn(each.node) for each in reached):
            loops += [f"`{each.node.name}`" for each in reached if _is_recurrence(file, each.node)]
    if loops:
        yield Fault(
            some(loops),
            "The LSTM or GRU is a loop of small operations, as Keras traces it on a machine "
            "without a GPU: right everywhere, but many times slower than cuDNN on a GPU server.",
            "Nothing, for servers without a GPU. Else export by `rnnapp export`, which puts both "
            "implementations into one graph.",
        )


def _is_cudnn(node: Any) -> bool:
    return node.op.startswith("CudnnRNN")


def _is_recurrence(file: SavedModelFile, node: Any) -> bool:
    """Whether an operation loops over an LSTM or GRU of the kind that cuDNN has."""
    if node.op not in _LOOPS or node.attr["body"].func.name not in file.functions:
        return False
    body = file.functions[node.attr["body"].func.name].node_def
    count = Counter(inner.op for inner in body)
    return count["MatMul"] == 2 and (count["Sigmoid"], count["Tanh"]) in ((2, 1), (3, 2))


def python_functions(file: SavedModelFile) -> Iterator[Fault]:
    """Operations that call back into the Python program that made them."""
    yield from _operators(
        file,
        "CPU",
        lambda reached: reached.node.op in ("PyFunc", "PyFuncStateless", "EagerPyFunc"),
        "`tf.py_function` or `tf.numpy_function` calls the Python process that traced it; the code "
        "is not in the file, so it fails everywhere else.",
        "Write that part in TensorFlow's own operations, or leave it to the program around.",
    )


def left_padding(file: SavedModelFile) -> Iterator[Fault]:
    """cuDNN kernels that refuse masks which a loop would take."""
    yield from _operators(
        file,
        "GPU",
        lambda reached: not reached.guarded and _refuses_left_padding(file, reached),
        "On a GPU the graph stops at any batch whose mask is not right-padded, or that has an "
        "empty sequence; on a CPU the same model answers.",
        "Pad on the right and leave no sequence empty; or export by `rnnapp export`, whose graph "
        "falls back on the loop then.",
    )


def _refuses_left_padding(file: SavedModelFile, reached: Reached) -> bool:
    """Whether an operation is the assertion that Keras places before cuDNN."""
    if reached.node.op != "Assert" or reached.function not in file.functions:
        return False
    body = file.functions[reached.function].node_def
    texts = [text for node in body for text in node.attr["value"].tensor.string_val]
    return any(b"right-padded" in text for text in texts)


def kept_state(file: SavedModelFile) -> Iterator[Fault]:
    """Signatures that write the variables which they answer from."""
    for name in file.signatures:
        reached = list(file.reached(name, "CPU"))
        written = {each.variable for each in reached if _ASSIGNMENT.match(each.node.op)}
        read = {
            each.variable
            for each in reached
            if each.needed and each.node.op in ("ReadVariableOp", "ResourceGather")
        }
        if kept := sorted((written & read) - {""}):
            yield Fault(
                f"variables {some(kept)} in signature {name}",
                "A call changes variables, so the next answer depends on it: a server mixes its "
                "clients' sequences, and TF Serving's replicas and restarts forget.",
                "Export with stateful=False, and pass states in and out explicitly, as the "
                "signature `step` of our exports does.",
            )


def random_operators(file: SavedModelFile) -> Iterator[Fault]:
    """Operations that draw by lot."""
    yield from _operators(
        file,
        "CPU",
        lambda reached: reached.needed and bool(_RANDOM.match(reached.node.op)),
        "Answers are drawn by lot. Unless the model is meant to sample, dropout was left on.",
        "Export a function that calls the model with training=False.",
    )


def _operators(
    file: SavedModelFile,
    device: str,
    is_bad: Callable[[Reached], bool],
    reason: str,
    remedy: str,
) -> Iterator[Fault]:
    """One fault for all operations of a kind, with the signatures that reach them."""
    found = {
        signature: [each.node for each in file.reached(signature, device) if is_bad(each)]
        for signature in file.signatures
    }
    nodes = [f"{node.op} `{node.name}`" for each in found.values() for node in each]
    if nodes:
        names = [name for name, each in found.items() if each]
        yield Fault(f"{some(nodes)} in signature {some(names)}", reason, remedy)


def missing_weights(file: SavedModelFile) -> Iterator[Fault]:
    """Variables without a value."""
    needed = _restored_names(file)
    absent = needed and file.absent_values()
    where = absent or [name for name in needed if name not in file.values]
    if where:
        yield Fault(
            some(where),
            "Values of variables are not in the folder: it does not load.",
            "Copy the folder whole, `variables/` with its index and data files included.",
        )
    filled = {variable_of(node) for node in file.initialized() if node.op == "VarHandleOp"}
    for name, definition in file.signatures.items():
        nodes = file.before(output.name for output in definition.outputs.values())
        used = [variable_of(node) for node in nodes if node.op == "VarHandleOp"]
        if empty := [variable for variable in used if variable not in filled]:
            yield Fault(
                f"{some(empty)} in signature {name}",
                "No step of loading fills these variables: Python's loader finds them by other "
                "ways, but TF Serving and all of TensorFlow's C and C++ programs fail.",
                "Keep the variables themselves in the object that is saved, as in "
                "`holder.weights = [weight.value for weight in model.weights]`.",
            )


def _restored_names(file: SavedModelFile) -> list[str]:
    """The names of the values that loading asks for."""
    outer = file.initialized()
    called = [file.functions.get(node.attr["f"].func.name) for node in outer]
    names = []
    for body in [outer, *(function.node_def for function in called if function)]:
        nodes = {node.name: node for node in body}
        for restore in (node for node in body if node.op == "RestoreV2"):
            source = nodes.get(restore.input[1].partition(":")[0])
            names += list(source.attr["value"].tensor.string_val) if source else []
    return [name.decode() for name in names if name != b"_CHECKPOINTABLE_OBJECT_GRAPH"]


def non_finite_weights(file: SavedModelFile) -> Iterator[Fault]:
    """Variables that are no numbers."""
    bad = []
    for name, kind in file.values.items():
        value = file.value(name)  # all of them, for any may be damaged
        if kind.is_floating and "OPTIMIZER_SLOT" not in name:
            finite = np.isfinite(np.asarray(value, np.float64)).all()
            bad += [] if finite else [name.partition("/.ATTRIBUTES")[0]]
    if bad:
        yield Fault(
            some(sorted(bad)),
            "Weights are NaN or infinite, and so will every answer be, everywhere.",
            "Training has diverged: go back to an earlier checkpoint, lower the learning rate or "
            "clip gradients.",
        )


def batchless_outputs(file: SavedModelFile) -> Iterator[Fault]:
    """Outputs of another number of rows than the inputs."""
    for name, definition in file.signatures.items():
        if not any(_first_size(info) == -1 for info in definition.inputs.values()):
            continue
        sizes = {key: _first_size(info) for key, info in definition.outputs.items()}
        bad = [key for key, size in sizes.items() if size not in (-1, None)]
        if bad:
            yield Fault(
                f"outputs {some(sorted(bad))} of signature {name}",
                "TF Serving's REST rows, and its batching, ask for an output row for each input "
                "row: with these outputs such requests fail.",
                "Give the output a batch dimension, by `tf.fill` or `tf.tile`, or leave it out.",
            )


def _first_size(info: Any) -> int | None:
    """The size of a tensor's batch dimension: -1 if open, 0 if it has none, None if unknown."""
    if info.tensor_shape.unknown_rank:
        return None
    sizes = [dimension.size for dimension in info.tensor_shape.dim]
    return sizes[0] if sizes else 0
