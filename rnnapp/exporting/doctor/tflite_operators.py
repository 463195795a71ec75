"""What can be wrong with the operators of a .tflite file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from rnnapp.exporting import metadata
from rnnapp.exporting.doctor import versions
from rnnapp.exporting.doctor.findings import LONG, Fault, some
from rnnapp.exporting.doctor.tflite_file import Operator, TFLiteFile

_RANDOM = frozenset(
    ("MULTINOMIAL", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "STABLEHLO_RNG_BIT_GENERATOR")
)
_PRODUCTS = frozenset(("BATCH_MATMUL", "CONV_2D", "FULLY_CONNECTED"))


def flex(file: TFLiteFile) -> Iterator[Fault]:
    """TensorFlow's own operators."""
    found = _chosen(file, _is_flex)
    if not found:
        return
    lists = any("TensorList" in operator.name for operator in found)
    cause = (
        "They come from a recurrent layer whose batch dimension was open. Convert a signature of "
        "static batch, `tf.TensorSpec((1, timesteps, features))`, with TFLITE_BUILTINS alone."
    )
    yield Fault(
        _places(file, found),
        "These are TensorFlow's operators, not TFLite's: the runtimes that pip, browsers and "
        "microcontrollers have refuse the file; apps must link all of TensorFlow (Flex).",
        cause
        if lists
        else "Replace what they compute by operations that TFLite has, or leave it to the app, "
        "and convert with TFLITE_BUILTINS alone, which names what is left.",
    )


def custom(file: TFLiteFile) -> Iterator[Fault]:
    """Operators that nobody but their maker has."""
    found = _chosen(file, lambda operator: _is_foreign(operator) and not _is_flex(operator))
    if found:
        yield Fault(
            _places(file, found),
            "Custom operators run only in a runtime that somebody has built with their kernels.",
            "Convert without allow_custom_ops, and replace what the converter then names; or load "
            "the file in the runtime that it was made for alone.",
        )


def _is_flex(operator: Operator) -> bool:
    return operator.custom and operator.name.startswith("Flex")


def _is_foreign(operator: Operator) -> bool:
    return operator.custom and operator.name not in versions.CUSTOM


def unused(file: TFLiteFile) -> Iterator[Fault]:
    """Operator codes that no operator has, and that trouble a runtime all the same."""
    bad = [_code_name(file, index) for index in _unused_codes(file) if _troubles(file, index)]
    if bad:
        yield Fault(
            some(bad),
            "The file's table of operators lists them, and nothing uses them: runtimes that look "
            "at the table refuse the file for operators that it does not need.",
            "Take them out of the table.",
        )


def without_unused(file: TFLiteFile) -> None:
    """Takes unused operator codes out of the table."""
    unused_codes = set(_unused_codes(file))
    kept = [i for i in range(len(file.model.operatorCodes)) if i not in unused_codes]
    places = {old: new for new, old in enumerate(kept)}
    for operator in file.operators():
        operator.table.opcodeIndex = places[operator.table.opcodeIndex]
    file.model.operatorCodes = [file.model.operatorCodes[i] for i in kept]


def _unused_codes(file: TFLiteFile) -> list[int]:
    used = {operator.table.opcodeIndex for operator in file.operators()}
    return [index for index in range(len(file.model.operatorCodes)) if index not in used]


def _troubles(file: TFLiteFile, index: int) -> bool:
    name, is_custom, version = file.code(index)
    return is_custom or version > versions.TFLITE_RUNTIME.get(name, 0)


def _code_name(file: TFLiteFile, index: int) -> str:
    name, is_custom, version = file.code(index)
    return name if is_custom else f"{name} version {version}"


def too_new(file: TFLiteFile) -> Iterator[Fault]:
    """Builtin operators, or versions of them, that only newer runtimes have."""
    found = _above(file, versions.TFLITE_RUNTIME) - _above(file, versions.AI_EDGE_LITERT)
    if found:
        per_row = any(name.startswith("FULLY_CONNECTED") for name in found)
        yield Fault(
            some(sorted(found)),
            "tflite-runtime 2.14, the last of its name, does not have them and refuses the file, "
            "as do apps of its age.",
            "Move on to ai-edge-litert, or convert with "
            "`converter._experimental_disable_per_channel_quantization_for_dense_layers = True`, "
            "which keeps to one scale for each weight matrix."
            if per_row
            else "Move on to ai-edge-litert, or convert with a TensorFlow of the runtime's age.",
        )


def unknown(file: TFLiteFile) -> Iterator[Fault]:
    """Builtin operators, or versions of them, that no known runtime has."""
    if found := _above(file, versions.AI_EDGE_LITERT):
        yield Fault(
            some(sorted(found)),
            "ai-edge-litert 2.3 does not have them and refuses the file, as all older runtimes do.",
            "Load the file in a newer runtime, or convert with an older TensorFlow.",
        )


def _above(file: TFLiteFile, known: Mapping[str, int]) -> set[str]:
    """The builtin operators that a runtime does not have, with their versions."""
    return {
        f"{operator.name} version {operator.version}"
        for operator in file.operators()
        if not operator.custom and operator.version > known.get(operator.name, 0)
    }


def unknown_to_micro(file: TFLiteFile) -> Iterator[Fault]:
    """Operators that microcontrollers lack, in a file of whole numbers as they like it."""
    whole = [port.dtype in ("INT8", "INT16") and port.scale for port in file.ports()]
    found = _chosen(file, lambda each: not each.custom and each.name not in versions.MICRO)
    if all(whole) and found:
        yield Fault(
            _places(file, found),
            "The file takes and gives whole numbers, as for microcontrollers, but TFLite Micro "
            "does not have these operators.",
            "Compute them in the program around (a spectrum, say), and convert one step of the "
            "model, with its states as inputs and outputs; other runtimes take the file.",
        )


def random(file: TFLiteFile) -> Iterator[Fault]:
    """Operators that draw by lot."""
    if found := _chosen(file, lambda operator: operator.name in _RANDOM):
        yield Fault(
            _places(file, found),
            "Answers are drawn by lot. Unless the model is meant to sample, dropout was left on.",
            "Convert a function that calls the model with training=False.",
        )


def long_unrolled(file: TFLiteFile) -> Iterator[Fault]:
    """A recurrence written out timestep by timestep."""
    uses = Counter(
        (operator.subgraph, place)
        for operator in file.operators()
        if operator.name in _PRODUCTS
        for place in operator.inputs[1:2]
    )
    most = max(uses.values(), default=0)
    # MediaPipe takes no loops, so that a file for it has to be like this.
    if most >= LONG and not _is_audio_classifier(file):
        yield Fault(
            f"{most} products with one matrix",
            "A recurrent layer was unrolled: the file is several times as large as with a loop, "
            "slower to load, and no faster to run.",
            "Convert with unroll=False: a loop needs builtin operators alone if the batch is "
            "static; or convert one step, with its states as inputs and outputs.",
        )


def refused_by_mediapipe(file: TFLiteFile) -> Iterator[Fault]:
    """Several subgraphs in a file whose metadata is for MediaPipe."""
    subgraphs = len(file.model.subgraphs)
    if subgraphs > 1 and _is_audio_classifier(file):
        yield Fault(
            f"{subgraphs} subgraphs",
            "The metadata describes an audio classifier of MediaPipe's or the Task Library's, "
            "which take a single subgraph: no loop, and no second signature.",
            "Convert one signature, the LSTM as UNIDIRECTIONAL_SEQUENCE_LSTM, GRU and SimpleRNN "
            "with unroll=True; `rnnapp export` writes such a file.",
        )


def _is_audio_classifier(file: TFLiteFile) -> bool:
    """Whether the file's metadata describes one function, and says that it takes audio."""
    said = metadata.read(file.content)
    signatures = said.signatures if said else ()
    return len(signatures) == 1 and any(tensor.audio for tensor in signatures[0].inputs)


def _chosen(file: TFLiteFile, is_chosen: Callable[[Operator], bool]) -> list[Operator]:
    return [operator for operator in file.operators() if is_chosen(operator)]


def _places(file: TFLiteFile, operators: Iterable[Operator]) -> str:
    """Operators by name, and where they stand."""
    known = list(operators)
    subgraphs = [file.place(operator.subgraph) for operator in known]
    return f"{some(operator.name for operator in known)} in {some(subgraphs)}"
