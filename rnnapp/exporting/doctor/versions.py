"""The operators that TFLite runtimes have, and up to which version, as they answered when asked.

`python -m rnnapp.exporting.doctor.versions PYTHON` asks the runtime of another environment.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def _versions(table: str) -> dict[str, int]:
    return {name: int(version) for name, version in (item.split(":") for item in table.split())}


# tflite-runtime 2.14, the last of its name.
TFLITE_RUNTIME = _versions("""
    ABS:5 ADD:5 ADD_N:1 ARG_MAX:3 ARG_MIN:3 ASSIGN_VARIABLE:1 ATAN2:1 AVERAGE_POOL_2D:3
    BATCH_MATMUL:4 BATCH_TO_SPACE_ND:4 BIDIRECTIONAL_SEQUENCE_LSTM:3
    BIDIRECTIONAL_SEQUENCE_RNN:3 BITCAST:1 BITWISE_XOR:1 BROADCAST_ARGS:1 BROADCAST_TO:3
    BUCKETIZE:1 CALL_ONCE:1 CAST:5 CEIL:1 COMPLEX_ABS:1 CONCATENATION:4 CONV_2D:7 CONV_3D:1
    CONV_3D_TRANSPOSE:1 COS:1 CUMSUM:1 DENSIFY:1 DEPTHWISE_CONV_2D:7 DEPTH_TO_SPACE:2
    DEQUANTIZE:5 DIV:2 DYNAMIC_UPDATE_SLICE:1 ELU:1 EMBEDDING_LOOKUP:3 EMBEDDING_LOOKUP_SPARSE:1
    EQUAL:4 EXP:2 EXPAND_DIMS:1 FAKE_QUANT:2 FILL:4 FLOOR:1 FLOOR_DIV:3 FLOOR_MOD:2
    FULLY_CONNECTED:10 GATHER:6 GATHER_ND:4 GELU:2 GREATER:2 GREATER_EQUAL:3 HARD_SWISH:1
    HASHTABLE:1 HASHTABLE_FIND:1 HASHTABLE_IMPORT:1 HASHTABLE_LOOKUP:1 HASHTABLE_SIZE:1 IF:1
    IMAG:1 L2_NORMALIZATION:2 L2_POOL_2D:1 LEAKY_RELU:2 LESS:3 LESS_EQUAL:2
    LOCAL_RESPONSE_NORMALIZATION:1 LOG:1 LOGICAL_AND:1 LOGICAL_NOT:1 LOGICAL_OR:1 LOGISTIC:3
    LOG_SOFTMAX:2 LSH_PROJECTION:1 LSTM:4 MATRIX_DIAG:1 MATRIX_SET_DIAG:1 MAXIMUM:4
    MAX_POOL_2D:3 MEAN:3 MINIMUM:4 MIRROR_PAD:3 MUL:7 MULTINOMIAL:1 NEG:1
    NON_MAX_SUPPRESSION_V4:1 NON_MAX_SUPPRESSION_V5:1 NOT_EQUAL:3 ONE_HOT:1 PACK:4 PAD:4 PADV2:4
    POW:1 PRELU:1 QUANTIZE:3 RANDOM_STANDARD_NORMAL:1 RANDOM_UNIFORM:1 RANGE:2 RANK:1
    READ_VARIABLE:1 REAL:1 REDUCE_ALL:1 REDUCE_ANY:1 REDUCE_MAX:3 REDUCE_MIN:3 REDUCE_PROD:2
    RELU:3 RELU6:3 RELU_0_TO_1:1 RELU_N1_TO_1:1 RESHAPE:1 RESIZE_BILINEAR:4
    RESIZE_NEAREST_NEIGHBOR:4 REVERSE_SEQUENCE:1 REVERSE_V2:3 RFFT2D:1 RIGHT_SHIFT:1 RNN:3
    ROUND:1 RSQRT:2 SCATTER_ND:1 SEGMENT_SUM:1 SELECT:4 SELECT_V2:2 SHAPE:1 SIGN:2 SIN:1
    SKIP_GRAM:1 SLICE:6 SOFTMAX:3 SPACE_TO_BATCH_ND:4 SPACE_TO_DEPTH:2 SPARSE_TO_DENSE:3 SPLIT:4
    SPLIT_V:2 SQRT:1 SQUARE:1 SQUARED_DIFFERENCE:2 SQUEEZE:2 STRIDED_SLICE:8 SUB:5 SUM:2 SVDF:4
    TANH:3 TILE:3 TOPK_V2:3 TRANSPOSE:6 TRANSPOSE_CONV:4 UNIDIRECTIONAL_SEQUENCE_LSTM:4
    UNIDIRECTIONAL_SEQUENCE_RNN:3 UNIQUE:1 UNPACK:4 UNSORTED_SEGMENT_MAX:1
    UNSORTED_SEGMENT_MIN:1 UNSORTED_SEGMENT_PROD:1 UNSORTED_SEGMENT_SUM:1 VAR_HANDLE:1 WHERE:2
    WHILE:1 ZEROS_LIKE:1
""")

# ai-edge-litert 2.3, which has all that and more.
AI_EDGE_LITERT = TFLITE_RUNTIME | _versions("""
    ADD:6 BROADCAST_TO:4 CAST:9 CONCATENATION:7 CONV_2D:8 COS:2 DEQUANTIZE:9 DILATE:1
    DYNAMIC_UPDATE_SLICE:6 EMBEDDING_LOOKUP:5 EQUAL:5 FILL:5 FULLY_CONNECTED:14 GATHER:8
    GATHER_ND:6 GELU:3 LOG:2 MUL:8 NOT_EQUAL:4 PACK:5 PAD:6 PADV2:6 QUANTIZE:6 REDUCE_WINDOW:1
    REVERSE_V2:4 RSQRT:3 SIN:2 SLICE:8 SOFTMAX:4 SPLIT:5 SPLIT_V:3 SQRT:2 STABLEHLO_ADD:1
    STABLEHLO_AND:1 STABLEHLO_CASE:1 STABLEHLO_COMPOSITE:1 STABLEHLO_GATHER:1
    STABLEHLO_MAXIMUM:1 STABLEHLO_MINIMUM:1 STABLEHLO_MULTIPLY:1 STABLEHLO_PAD:1
    STABLEHLO_REDUCE_WINDOW:1 STABLEHLO_RNG_BIT_GENERATOR:1 STABLEHLO_SCATTER:1
    STABLEHLO_SHIFT_LEFT:1 TRANSPOSE:9 TRANSPOSE_CONV:5 UNPACK:6
""")

# Custom operators that both have as well.
CUSTOM = frozenset(("AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"))

# Builtin operators of TFLite Micro (tflite-micro 0.dev20261023); it does not look at versions.
_MICRO = """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND
    BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM
    DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP
    EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND
    GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL
    LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL
    REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2
    ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V
    SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE
    TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
MICRO = frozenset(_MICRO.split())

# Run in the other environment: prints which of the files in a folder its runtime takes.
_ASK = """
import os, pathlib, sys
try:
    from tflite_runtime.interpreter import Interpreter as load
except ImportError:
    try:
        from ai_edge_litert.interpreter import Interpreter as load
    except ImportError:
        from tflite_micro.python.tflite_micro import runtime
        load = lambda model_content: runtime.Interpreter.from_bytes(model_content)
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    reader, writer = os.pipe()
    process = os.fork()  # some kernels crash on an operator without inputs
    if not process:
        os.dup2(writer, 2)
        try:
            load(model_content=path.read_bytes())
        except Exception as error:
            os.write(2, str(error).encode())
        os._exit(0)
    os.close(writer)
    said = os.fdopen(reader, "rb").read()
    os.waitpid(process, 0)
    if not any(word in said for word in (b"Didn't find op", b"out of range", b"no custom_code")):
        print(path.name)
"""
_HIGHEST = 16  # more than any operator's version today


def ask(python: str) -> dict[str, int]:
    """Asks the TFLite runtime of another environment which operators it has.

    Args:
        python: The Python of an environment with tflite-runtime, ai-edge-litert or tflite-micro.

    Returns:
        The highest version of each builtin operator; at most `_HIGHEST`, which is what TFLite
        Micro answers for all that it has.
    """
    from rnnapp.exporting.doctor.tflite_file import BUILTINS

    with tempfile.TemporaryDirectory() as folder:
        for code, name in BUILTINS.items():
            for version in range(1, _HIGHEST + 1):
                Path(folder, f"{name}:{version}").write_bytes(_probe(code, version))
        command = [python, "-c", _ASK, folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    known: dict[str, int] = {}
    for name, taken in (item.split(":") for item in done.stdout.split()):
        known[name] = max(int(taken), known.get(name, 0))
    return known


def _probe(code: int, version: int) -> bytes:
    """A model of one operator, with an input and an output of any kind."""
    from ai_edge_litert import schema_py_generated as schema

    from rnnapp.exporting import flatbuffer

    old = min(code, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    tensor = schema.TensorT(shape=[1], buffer=0)
    operator = schema.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1])
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=old, version=version)
        ],
        buffers=[schema.BufferT()],
        subgraphs=[
            schema.SubGraphT(tensors=[tensor] * 2, inputs=[0], outputs=[1], operators=[operator])
        ],
    )
    return flatbuffer.pack(model, 256)


if __name__ == "__main__":
    print(" ".join(f"{name}:{highest}" for name, highest in sorted(ask(sys.argv[1]).items())))
