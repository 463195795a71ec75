"""The bundle of every task's export, and what its warm-up asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from rnnapp.device.sequences import LENGTHS
from rnnapp.device.stepper import NEXT
from rnnapp.encoder_decoder import EncodeStep
from rnnapp.exporting.export import MODEL, REPLAY
from rnnapp.exporting.runtimes import SavedModel
from rnnapp.replay import Replay

from ...test_every_task import FIXTURES

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Bundle:
    """An export's bundle, read back."""

    export: Path

    @property
    def base(self) -> Path:
        """The base path of TensorFlow Serving."""
        return self.export / "serving"

    @cached_property
    def model(self) -> SavedModel:
        """The version that is there."""
        return SavedModel(self.base / "1")

    @cached_property
    def keras_model(self) -> keras.Model:
        """The model that all was made from."""
        return keras.models.load_model(self.export / MODEL, compile=False)

    @cached_property
    def replay(self) -> Replay:
        """The sequences that requests are made of."""
        return Replay.load(self.export / REPLAY)

    def warm_up(self) -> Iterator[predict_pb2.PredictRequest]:
        """The requests that a server warms the version with."""
        return warm_up(self.base / "1")

    def answer(self, request: predict_pb2.PredictRequest) -> Arrays:
        """What the SavedModel answers."""
        return self.model.run(request.model_spec.signature_name, **arrays(request))

    def expected(self, signature: str, inputs: Arrays) -> Arrays:
        """What the Keras model answers, by output; a stream that begins is a short sequence."""
        if "encode" in self.model.signatures:
            model = EncodeStep(self.keras_model)
            if signature == "step":
                return model.run("step", **inputs)
            return model.run("encode", **self._encoded(inputs, ("source_ids", "source_lengths")))
        asked = self._encoded(inputs, ("sequence", LENGTHS))
        logits = self.keras_model([*asked.values()], training=False)
        return {"probabilities": tf.nn.softmax(logits).numpy()}

    def _encoded(self, inputs: Arrays, names: tuple[str, str]) -> Arrays:
        """Sequences and lengths of a request, by those names; those of raw texts are looked up."""
        if "text" in inputs:
            places = {text.encode(): row for row, text in enumerate(self.replay.texts.raw)}
            rows = [places[text] for text in inputs["text"]]
            lengths = self.replay.texts.lengths[rows]
            found = self.replay.texts.token_ids[rows, : lengths.max()], lengths
        else:
            sequences = inputs[self.sequence(inputs)]
            whole = np.full(len(sequences), sequences.shape[1], np.int32)
            told = (value for name, value in inputs.items() if name.endswith(LENGTHS))
            found = sequences, next(told, whole)
        return dict(zip(names, found, strict=True))

    def sequence(self, inputs: Arrays) -> str:
        """The name of the input that is neither lengths nor a state."""
        states = {name.removeprefix(NEXT) for name in self.model.outputs("step")}
        (name,) = (n for n in inputs if n not in states and not n.endswith(LENGTHS))
        return name


def warm_up(version: Path) -> Iterator[predict_pb2.PredictRequest]:
    """The requests that a server warms a version with."""
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request


def arrays(request: predict_pb2.PredictRequest) -> Arrays:
    """The inputs of a request."""
    return {name: tf.make_ndarray(value) for name, value in request.inputs.items()}


@pytest.fixture(params=FIXTURES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """The bundle of a task's export; never to be changed."""
    return Bundle(request.getfixturevalue(FIXTURES[request.param][2]))


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes the bundle of a small SavedModel with signatures of all kinds."""
    from rnnapp.exporting import bundle as writer

    def write(folder: str = "first", name: str = "Größe, 2. Versuch") -> Path:
        version = tmp_path / folder / "1"
        tf.saved_model.save(tf.Module(), str(version), signatures=signatures_of_all_kinds())
        writer.write(version, name, sounds())
        return version.parent

    return write


def sounds() -> Replay:
    """Nine sounds of different lengths."""
    generator = np.random.default_rng(0)
    lengths = np.array([40, 40, 40, 40, 40, 30, 20, 10, 40], np.int32)
    sequences = generator.uniform(-1, 1, (9, 40)).astype(np.float32)
    sequences[np.arange(40) >= lengths[:, None]] = 0
    return Replay(sequences, lengths, np.zeros(9, np.int32))


def signatures_of_all_kinds() -> dict[str, Any]:
    """What a model of sounds may offer, some of it with inputs that no sound fills."""

    def spec(*shape: int | None, dtype: Any = tf.float32) -> Any:
        return tf.TensorSpec(shape, dtype)

    def total(**inputs: Any) -> dict[str, Any]:
        return {"total": tf.reduce_sum(inputs["sound"], axis=1)}

    def step(**inputs: Any) -> dict[str, Any]:
        return {"next_state": inputs["state"] + tf.reduce_sum(inputs["sound"]), **total(**inputs)}

    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "serving_default": (total, {"sound": spec(None, None)}),
        "padded": (total, {"sound": spec(None, None), "lengths": spec(None, dtype=tf.int32)}),
        "step": (step, {"sound": spec(None, 5), "state": spec(None, 3)}),
        "attend": (total, {"sound": spec(None, 5), "memory": spec(None, None, 7)}),
        "read": (total, {"sound": spec(None, 5), "text": spec(None, dtype=tf.string)}),
        "grow": (step, {"sound": spec(None, 5), "state": spec(None, None)}),
        "longer": (total, {"sound": spec(None, 41)}),
        "alone": (total, {"sound": spec(1, 5)}),
    }
    return {
        name: tf.function(function).get_concrete_function(**specs)
        for name, (function, specs) in kinds.items()
    }
