"""What is written compiles without a warning, and is what it says."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from rnnapp.exporting.c99 import library, writer

from ...layers.conftest import sequences
from ...layers.test_streaming import streamed
from .conftest import EXACT, LABELS, Streams, answers, chain, softmax, waveform, written

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-O2")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")


def compiled(*arguments: object) -> None:
    """Runs the C compiler, which must have nothing to say."""
    compiler = library._compiler()
    assert compiler, library.missing()
    done = subprocess.run(
        [*compiler, *STRICT, *map(str, arguments)], capture_output=True, text=True
    )
    assert not done.returncode and not done.stderr, done.stderr


def built(folder: Path, *flags: str) -> Path:
    """The example program, built."""
    sources = (folder / name for name in ("main.c", "model.c", "rnn.c"))
    compiled(*flags, *sources, "-o", folder / "example", "-lm")
    return folder / "example"


def test_the_ram_is_that_of_the_struct(program: Path, tmp_path: Path) -> None:
    """Said in the header, and what a loader allocates: one byte less would be overrun."""
    size = json.loads((program / library.INTERFACE).read_text())["state_bytes"]
    assert f"It needs {size} bytes of RAM" in (program / "model.h").read_text()
    source = tmp_path / "size.c"
    source.write_text(f'#include "model.h"\nchar check[sizeof(rnnapp_state) == {size} ? 1 : -1];\n')
    compiled("-I", program, "-c", source, "-o", tmp_path / "size.o")


def test_the_example_hears_pcm(program: Path) -> None:
    """Built without a warning, run without an error of memory or arithmetic, and right."""
    pcm = np.round(waveform(30) * 32767).astype("<i2")
    pcm[:, :2] = [-32768, 32767]
    done = subprocess.run(
        [built(program, *SANITIZED)], input=pcm.tobytes() + b"x", capture_output=True
    )
    assert not done.returncode and not done.stderr, done.stderr
    expected = answers(program, pcm.astype(np.float32) / 32768)
    lines = [f"{LABELS[p.argmax()]} {p.max():.4f}" for p in expected]
    assert done.stdout.decode().splitlines() == lines


@pytest.mark.parametrize("variant", writer.VARIANTS)
def test_the_example_hears_features(variant: str, tmp_path: Path) -> None:
    """A model without a front end, with layers that leave parts of the struct out."""
    cell = keras.layers.GRU(len(LABELS), reset_after=False, use_bias=False)
    folder = written(chain(keras.layers.LayerNormalization(scale=False), cell), tmp_path, variant)
    x = sequences(1, 10)
    done = subprocess.run(
        [built(folder, *SANITIZED)], input=x.tobytes(), capture_output=True, check=True
    )
    lines = [f"{LABELS[p.argmax()]} {p.max():.4f}" for p in answers(folder, x)]
    assert done.stdout.decode().splitlines() == lines


NAMES = ('a "quoted" \\ name\n', "what??/is\tthis??)", "größer 大きい 🎤", "%s \\x41", "1", "")


def test_labels_survive(tmp_path: Path) -> None:
    """C has its own mind of quotes, backslashes, trigraphs and letters beyond ASCII."""
    writer.write(chain(keras.layers.GRU(len(NAMES))), NAMES, tmp_path, "float")
    code = Streams(tmp_path, tmp_path).code
    labels = (ctypes.c_char_p * len(NAMES)).in_dll(code, "rnnapp_labels")
    assert tuple(label.decode() for label in labels) == NAMES
    built(tmp_path)  # without a warning


def test_names_of_layers_become_names_in_c(tmp_path: Path) -> None:
    """Keywords, names of the kernels, spaces, and two that only differ by what C does not have."""
    names = ("int", "rnn", "rnn_layer", "größe", "gr e", "gr_e", "1st", "*", "state", "main")
    layers = [keras.layers.SimpleRNN(3, return_sequences=True, name=name) for name in names]
    model = chain(*layers, keras.layers.GRU(len(LABELS), name="model"))
    x = sequences(1, 5)
    expected = softmax(streamed(model, x)[:, 0])
    np.testing.assert_allclose(answers(written(model, tmp_path), x), expected, **EXACT)
    built(tmp_path)


def test_variants_are_named(tmp_path: Path) -> None:
    """Whoever mistypes one learns which there are."""
    with pytest.raises(ValueError, match="must be one of float, int8. Received: variant='int4'"):
        written(chain(keras.layers.GRU(3)), tmp_path, "int4")
