"""The file for MediaPipe: the model without its loops, which remembers nothing."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapp import CELLS, builders
from rnnapp.device import load
from rnnapp.exporting import mediapipe, metadata, tflite
from rnnapp.specs import ConvSpec, FrontSpec, RNNSpec

from ..layers.conftest import shuffled
from .conftest import LABELS
from .test_matrix import operators

WORKER = Path(mediapipe.__file__).with_name("mediapipe_worker.py")
RATE, SAMPLES = 8000, 3400  # 42 frames: the running mean has a second block, and a shorter one
KINDS = {
    "one layer": {"num_layers": 1},
    "stacked": {"num_layers": 2, "layer_norm": True},
    "bidirectional": {"num_layers": 2, "bidirectional": True, "pooling": "max"},
    "crnn": {
        "convolutions": (ConvSpec(2, kernel_time=3, kernel_frequency=3, stride_time=2),),
        "pooling": "mean_max",
    },
    "attention": {"bidirectional": True, "num_layers": 1, "pooling": "attention"},
}
MODELS = list(itertools.product(CELLS, KINDS))
# Every cell, every kind, and what differs between cells, in seconds.
QUICK = [("lstm", "bidirectional"), ("gru", "crnn"), ("simple_rnn", "stacked")]


@functools.cache
def model(cell: str, kind: str) -> keras.Model:
    """A small classifier of waveforms."""
    front = FrontSpec(num_mel_bins=8, mean_seconds=0.2, frequency_masks=0)
    spec = RNNSpec(cell, units=8, num_heads=2, front=front, **KINDS[kind])  # type: ignore
    window = 0.2  # pools over less than it hears
    return shuffled(
        builders.many_to_one(spec, len(LABELS), sample_rate=RATE, window=window), seed=2
    )


@functools.cache
def clips() -> np.ndarray:
    """Silence, noise, a tone, a quiet end; float32 (clips, SAMPLES)."""
    generator = np.random.default_rng(0)
    noise = generator.uniform(-0.5, 0.5, (2, SAMPLES))
    tone = 0.3 * np.sin(2 * np.pi * 500 / RATE * np.arange(SAMPLES))
    fading = noise[1] * np.linspace(1, 0, SAMPLES) ** 4
    return np.stack([np.zeros(SAMPLES), noise[0], tone, fading]).astype(np.float32)


@functools.cache
def expected(cell: str, kind: str) -> np.ndarray:
    """What Keras answers, (clips, classes)."""
    lengths = np.full(len(clips()), SAMPLES, np.int32)
    answers = tf.nn.softmax(model(cell, kind)([clips(), lengths], training=False)).numpy()
    assert np.ptp(answers, axis=0).max() > 0.01, "a model that hears nothing proves nothing"
    return answers


@pytest.mark.parametrize(("cell", "kind"), MODELS)
def test_a_twin_computes_the_same(cell: str, kind: str) -> None:
    """Without loops or masks, batches of whole windows get the probabilities that Keras gives."""
    answers = tf.nn.softmax(mediapipe.twin(model(cell, kind))(tf.constant(clips()))).numpy()
    # Float32, summed in another order.
    np.testing.assert_allclose(answers, expected(cell, kind), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [pytest.param(*each, marks=[] if each in QUICK else [pytest.mark.slow]) for each in MODELS],
)
def test_a_file_computes_the_same_and_forgets(cell: str, kind: str, tmp_path: Path) -> None:
    """In one subgraph of builtin operators, and the same to the same clip after another one."""
    path = tmp_path / "model.tflite"
    path.write_bytes(mediapipe.convert(model(cell, kind), SAMPLES))
    assert ("UNIDIRECTIONAL_SEQUENCE_LSTM" in operators(path)) == (cell == "lstm")
    assert not operators(path) & {"WHILE", "IF", "CUSTOM"}
    loaded = load(path)
    (info,) = loaded.inputs("predict").values()
    assert (info.name, info.shape, set(loaded.outputs("predict"))) == (
        "waveform",
        (1, SAMPLES),
        {"probabilities"},
    )

    def answer(clip: np.ndarray) -> np.ndarray:
        return loaded.run("predict", waveform=clip[None])["probabilities"][0]

    answers = np.stack([answer(clip) for clip in clips()])
    np.testing.assert_allclose(answers, expected(cell, kind), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(answer(clips()[0]), answers[0])


class Decaying(keras.layers.Layer):
    """A layer of the user's own, with a loop."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Sums the past, half of it forgotten at each timestep."""
        frames = tf.scan(lambda past, frame: past / 2 + frame, tf.transpose(x, [1, 0, 2]))
        return tf.transpose(frames, [1, 0, 2])


def classifier(layer: keras.layers.Layer, rank: int = 2) -> keras.Model:
    """A classifier of waveforms, or of features, with a layer of one's own."""
    source = keras.Input((None,) if rank == 2 else (None, 5), name="waveform")
    lengths = keras.Input((), dtype="int32", name="lengths")
    frames = keras.layers.Reshape((-1, 5))(source) if rank == 2 else source
    logits = keras.layers.Dense(3)(layer(frames)[:, -1])
    return shuffled(keras.Model([source, lengths], logits))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LSTM(4, return_sequences=True, activation="relu"),
        keras.layers.GRU(4, return_sequences=True, reset_after=False),
        keras.layers.GRU(4, return_sequences=True, recurrent_activation="relu"),
        keras.layers.SimpleRNN(4, return_sequences=True, use_bias=False),
        keras.layers.LSTM(4, return_sequences=True, go_backwards=True),
        keras.layers.RNN(
            [keras.layers.GRUCell(4), keras.layers.LSTMCell(4)], return_sequences=True
        ),
    ],
    ids=["relu", "reset before", "relu gates", "no bias", "backwards", "two cells"],
)
def test_other_recurrences_keep_their_equations(layer: keras.layers.RNN) -> None:
    """Only Keras' own defaults are written out; whatever else there is runs its own cell."""
    model = classifier(layer)
    windows = np.random.default_rng(0).uniform(-1, 1, (3, 60)).astype(np.float32)
    answers = mediapipe.twin(model)(tf.constant(windows)).numpy()
    truth = model([windows, np.full(3, 60, np.int32)]).numpy()
    assert np.ptp(truth, axis=0).max() > 0.01
    np.testing.assert_allclose(answers, truth, rtol=1e-5, atol=1e-5)  # logits, in another order


def test_a_cell_counts_beyond_ten() -> None:
    """Where the converter cuts cells off: trained ones count, and would forget how far."""
    layer = keras.layers.LSTM(1, return_sequences=True)
    model = classifier(layer)
    wide_open = 20.0 * np.array([1.0, 1.0, 0.0, 1.0])
    candidate = np.zeros((5, 4))
    candidate[0, 2] = 20.0
    layer.set_weights([candidate, np.zeros((1, 4)), wide_open])
    # Thirty steps up and twenty-five down leave it at five; from ten, it would fall to minus ten.
    window = np.repeat([1.0, -1.0], [30 * 5, 25 * 5]).astype(np.float32)[None]
    answer = load(mediapipe.convert(model, 275)).run("predict", waveform=window)["probabilities"]
    truth = tf.nn.softmax(model([window, np.array([275])])).numpy()
    np.testing.assert_allclose(answer, truth, rtol=0, atol=1e-5)
    other = tf.nn.softmax(model([-window, np.array([275])])).numpy()  # which ends at minus five
    assert np.abs(other - truth).max() > 0.01


def test_what_is_no_number_is_forgotten() -> None:
    """One broken clip would silence an LSTM for good: its operator keeps what it computed."""
    loaded = load(mediapipe.convert(classifier(keras.layers.LSTM(8, return_sequences=True)), 60))
    clean = np.random.default_rng(0).uniform(-1, 1, (1, 60)).astype(np.float32)
    broken = np.where(np.arange(60) == 30, np.float32(np.nan), clean)
    answers = [
        loaded.run("predict", waveform=window)["probabilities"] for window in (clean, broken, clean)
    ]
    assert (answers[1] != answers[0]).any()
    np.testing.assert_array_equal(answers[2], answers[0])


@pytest.mark.parametrize(
    ("layer", "rank", "message"),
    [
        (keras.layers.GRU(4, return_sequences=True), 3, r"must take a waveform.*\(None, None, 5\)"),
        (Decaying(), 2, "must be without loops and branches.*not Keras' or ours"),
        (
            keras.layers.Bidirectional(
                keras.layers.GRU(4, return_sequences=True), merge_mode="sum", name="both"
            ),
            2,
            "`both` must have merge_mode='concat'.*Received: merge_mode='sum'",
        ),
    ],
    ids=["features", "own loop", "merged"],
)
def test_what_mediapipe_cannot_hold_is_refused(
    layer: keras.layers.Layer, rank: int, message: str
) -> None:
    """With the reason, and not by MediaPipe, on somebody's phone."""
    with pytest.raises(ValueError, match=message):
        mediapipe.convert(classifier(layer, rank), 60)


TOP = """
import json, sys
import numpy as np
from mediapipe.tasks.python.audio import AudioClassifier
from mediapipe.tasks.python.components.containers import AudioData

path, samples, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with AudioClassifier.create_from_model_path(path) as classifier:
    for window in np.fromfile(sys.stdin.buffer, np.float32).reshape(-1, samples):
        (result,) = classifier.classify(AudioData.create_from_array(window, rate))
        print(json.dumps(result.classifications[0].categories[0].category_name))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "kind"), [("lstm", "attention"), ("gru", "crnn")])
def test_mediapipe_answers_as_keras(
    cell: str, kind: str, mediapipe_python: Path, tmp_path: Path
) -> None:
    """Its AudioClassifier takes the file, finds the labels and gives the same scores."""
    content = mediapipe.convert(model(cell, kind), SAMPLES)
    path, windows = tmp_path / "model.tflite", tmp_path / "windows.f32"
    description = metadata.of_signatures(content, name="commands", sample_rate=RATE)
    path.write_bytes(metadata.described(content, description))
    tflite.attach(path, {"labels.txt": "\n".join(LABELS) + "\n", "rnnapp.json": "{}"})
    order = [0, 1, 2, 3, 1, 0]
    clips()[order].tofile(windows)

    def run(*program: str) -> bytes:
        command = [str(mediapipe_python), "-I", *program, str(path), str(SAMPLES), str(RATE)]
        with windows.open("rb") as file:
            return subprocess.run(command, stdin=file, check=True, capture_output=True).stdout

    scores = np.frombuffer(run(str(WORKER)), np.float32).reshape(len(order), -1)
    # MediaPipe's own build of TFLite, with kernels of its own.
    np.testing.assert_allclose(scores, expected(cell, kind)[order], rtol=0, atol=1e-4)
    heard = [json.loads(line) for line in run("-c", TOP).splitlines()]
    assert heard == [LABELS[index] for index in expected(cell, kind)[order].argmax(axis=1)]
