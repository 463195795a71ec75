"""Runs a .tflite file on the same input twice, with another between: a program of its own."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# The frame that resets a fused LSTM leaves up to 1.4e-5 of the state behind; a state that is kept
# shows in the first digits after an input this loud.
_TOLERANCE, _LOUD = 1e-3, 3.0

Call = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def leaks(content: bytes) -> bool:
    """Whether a model answers the same input otherwise after another one.

    Args:
        content: A .tflite file.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    return any(_differs(call, inputs) for call, inputs in _calls(interpreter))


def _calls(interpreter: Any) -> Iterator[tuple[Call, dict[str, Any]]]:
    """Each signature as a function, with the details of its inputs."""
    for name in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(name)
        yield functools.partial(_called, runner), runner.get_input_details()
    if interpreter.get_signature_list():
        return
    interpreter.allocate_tensors()

    def call(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for index, value in values.items():
            interpreter.set_tensor(int(index), value)
        interpreter.invoke()
        found = interpreter.get_output_details()
        return {str(detail["index"]): interpreter.get_tensor(detail["index"]) for detail in found}

    yield call, {str(detail["index"]): detail for detail in interpreter.get_input_details()}


def _called(runner: Any, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return runner(**values)


def _differs(call: Call, details: dict[str, Any]) -> bool:
    generator = np.random.default_rng(0)
    for loudness in (0.0, 0.1, 1.0):
        quiet, loud = (_drawn(details, generator, level) for level in (loudness, _LOUD))
        first, _, again = call(quiet), call(loud), call(quiet)
        for name, value in first.items():
            before, after = value.astype(np.float64), again[name].astype(np.float64)
            if not np.allclose(before, after, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
                return True
    return False


def _drawn(
    details: dict[str, Any], generator: np.random.Generator, level: float
) -> dict[str, np.ndarray]:
    """Noise for each input; token ids are 0 or 1, which any vocabulary has."""
    values = {}
    for name, detail in details.items():
        shape, dtype = detail["shape"], np.dtype(detail["dtype"])
        if detail["quantization"][0]:
            scale, zero_point = detail["quantization"]
            limits = np.iinfo(dtype)
            stored = level * generator.standard_normal(shape) / scale + zero_point
            values[name] = np.clip(np.rint(stored), limits.min, limits.max).astype(dtype)
        elif dtype.kind == "f":
            values[name] = (level * generator.standard_normal(shape)).astype(dtype)
        else:
            values[name] = generator.integers(0, 2, shape).astype(dtype)
    return values


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        print(json.dumps(leaks(file.read())))
