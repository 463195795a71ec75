"""States are found by name, carried, requantized, saved and restored."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.device import Stepper, TensorInfo, load

from .conftest import RATE, STEP, melody

DECAY, GAIN = 0.9, 0.5


def level_model() -> Any:
    """A leaky level of the loudness: its state runs to ten times the gain."""
    import tensorflow as tf

    @tf.function(
        input_signature=[
            tf.TensorSpec((1, 4), name="samples"),
            tf.TensorSpec((1, 1), name="level"),
        ]
    )
    def step(samples: Any, level: Any) -> dict[str, Any]:
        following = DECAY * level + GAIN * tf.reduce_mean(samples, axis=1, keepdims=True)
        return {"loudness": following * 2.0, "next_level": following}

    return step


@pytest.fixture(scope="session", params=["int8", "int16"])
def quantized_level(request: pytest.FixtureRequest) -> bytes:
    """The level model with integer inputs, outputs and states."""
    import tensorflow as tf

    def representative() -> Iterator[dict[str, np.ndarray]]:
        # Samples up to 2 on a full level: the next level gets a wider scale than the level.
        for level in np.linspace(0, 5, 20, dtype=np.float32):
            yield {"samples": np.full((1, 4), 2, np.float32), "level": np.full((1, 1), level)}

    step = level_model()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [step.get_concrete_function()], tf.Module()
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    operators = {
        "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        "int16": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }
    converter.target_spec.supported_ops = [operators[request.param]]
    dtype = tf.as_dtype(request.param)
    converter.inference_input_type = converter.inference_output_type = dtype
    with warnings.catch_warnings():  # the converter calibrates with what it calls deprecated
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
        return bytes(converter.convert())


@pytest.fixture(scope="session")
def language() -> tuple[bytes, Callable[[np.ndarray], np.ndarray]]:
    """A language model of two states as a step file, and the same over a whole text in Keras."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    embedding = keras.layers.Embedding(11, 6)
    rnn = keras.layers.LSTM(8, return_sequences=True)
    head = keras.layers.Dense(11)
    whole = keras.Sequential([keras.Input((None,), dtype="int32"), embedding, rnn, head])

    @tf.function(
        input_signature=[
            tf.TensorSpec((1, 1), tf.int32, name="token_ids"),
            tf.TensorSpec((1, 8), name="h"),
            tf.TensorSpec((1, 8), name="c"),
        ],
        autograph=False,
    )
    def step(token_ids: Any, h: Any, c: Any) -> dict[str, Any]:
        output, (h, c) = rnn.cell(embedding(token_ids)[:, 0], [h, c])
        return {"logits": head(output), "next_h": h, "next_c": c}

    holder = tf.Module()
    holder.tracked = [weight.value for weight in whole.weights]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [step.get_concrete_function()], holder
    )
    content = bytes(converter.convert())
    return content, lambda ids: np.asarray(whole(ids[None]))[0]


def default_stepper(content: bytes) -> Stepper:
    """A stepper of the file's only signature."""
    model = load(content)
    return Stepper(model, model.signatures[0])


def test_states_are_found_by_their_twins(tones: bytes) -> None:
    """Everything but the data input that has a `next_` twin is a state."""
    stepper = Stepper(load(tones))
    assert list(stepper.inputs) == ["samples"]
    assert list(stepper.outputs) == ["probabilities"]
    assert {name: value.tolist() for name, value in stepper.states.items()} == {
        "hidden": [[0.0] * 4]
    }


def test_steps_equal_the_whole_text(
    language: tuple[bytes, Callable[[np.ndarray], np.ndarray]],
) -> None:
    """The stepper knows nothing of audio, and carries several states at once."""
    content, whole = language
    ids = np.random.default_rng(0).integers(0, 11, 40)
    stepper = default_stepper(content)
    logits = [stepper(token_ids=np.array([[token]]))["logits"][0] for token in ids]
    # 40 float32 steps of a contracting recurrence, in another order of summation
    np.testing.assert_allclose(logits, whole(ids), atol=1e-5)


def test_quantized_states_follow_the_recurrence(quantized_level: bytes) -> None:
    """Passing a state on unchanged between two scales would shrink it at every step."""
    stepper = default_stepper(quantized_level)
    ((info, following),) = stepper._state_infos.values()
    assert following.scale > 1.05 * info.scale, "the file no longer tests requantization"
    level = 0.0
    # A step rounds twice, by half a unit each; a decay of 0.9 lets ten such errors add up.
    tolerance = 2 * 10 * (following.scale + info.scale) / 2
    for loudness in np.random.default_rng(0).uniform(0, 2, 200).astype(np.float32):
        level = DECAY * level + GAIN * min(float(loudness), 1.0)
        samples = np.full((1, 4), min(float(loudness), 1.0), np.float32)
        assert stepper(samples=samples)["loudness"][0, 0] == pytest.approx(
            2 * level, abs=2 * tolerance
        )


def test_quantized_states_start_at_the_real_zero(quantized_level: bytes) -> None:
    """The stored value of 0 is the zero point, not 0."""
    stepper = default_stepper(quantized_level)
    ((info, _),) = stepper._state_infos.values()
    assert info.dequantize(stepper.states["level"]).tolist() == [[0.0]]


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 100))
def test_restored_states_go_on_exactly(tones: bytes, cut: int) -> None:
    """A client that carries the states gets the bits of an unbroken stream."""
    steps = melody()[: 100 * STEP].reshape(100, 1, STEP)
    stepper, other = Stepper(load(tones)), Stepper(load(tones))
    for step in steps[:cut]:
        stepper(samples=step)
    other.states = saved = stepper.states
    for step in steps[cut:]:
        np.testing.assert_array_equal(
            stepper(samples=step)["probabilities"], other(samples=step)["probabilities"]
        )
    stepper.states = saved
    np.testing.assert_array_equal(stepper.states["hidden"], saved["hidden"])


def test_reset_forgets(tones: bytes) -> None:
    """A second clip must not hear the first."""
    stepper, noise = Stepper(load(tones)), melody()[RATE : RATE + STEP][None]
    first = stepper(samples=noise)["probabilities"]
    assert not np.array_equal(stepper(samples=noise)["probabilities"], first)
    stepper.reset()
    np.testing.assert_array_equal(stepper(samples=noise)["probabilities"], first)


def test_wrong_inputs_are_named(tones: bytes) -> None:
    """The runtime would resize the graph to a wrong shape without a word."""
    stepper = Stepper(load(tones))
    with pytest.raises(ValueError, match=r"`samples` must have shape \(1, 160\).*\(1, 80\)"):
        stepper(samples=np.zeros((1, 80), np.float32))
    with pytest.raises(ValueError, match=r"inputs must be: \['samples'\].*\['waveform'\]"):
        stepper(waveform=np.zeros((1, 160), np.float32))


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({}, "states must be"),
        ({"hidden": np.zeros((1, 5), np.float32)}, r"float32 of shape \(1, 4\)"),
        ({"hidden": np.zeros((1, 4))}, "Received: float64"),
    ],
)
def test_wrong_states_are_named(tones: bytes, states: dict[str, np.ndarray], message: str) -> None:
    """States saved from another model must not be taken."""
    stepper = Stepper(load(tones))
    with pytest.raises(ValueError, match=message):
        stepper.states = states


def test_a_state_whose_ends_differ_is_refused() -> None:
    """Such a file could make one step only."""

    class Broken:
        name = "broken.tflite"
        signatures = ["step"]

        def inputs(self, signature: str) -> dict[str, TensorInfo]:
            return {"h": TensorInfo("h", (1, 4), np.dtype(np.float32))}

        def outputs(self, signature: str) -> dict[str, TensorInfo]:
            return {"next_h": TensorInfo("next_h", (1, 5), np.dtype(np.float32))}

        def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
            raise AssertionError("never run")

    with pytest.raises(ValueError, match=r"broken\.tflite: the state `h` and `next_h` must agree"):
        Stepper(Broken())
