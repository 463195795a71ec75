"""What a file says of itself reaches the apps that load it, and changes nothing else."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.device import load
from rnnapp.exporting import metadata, metadata_tables, tflite
from rnnapp.exporting.metadata import (
    Audio,
    ModelDescription,
    SignatureDescription,
    TensorDescription,
)

LABELS = "yes\nno\ngrößer\n"
RATE = 8000


class Model(tf.Module):
    """Signatures of our names, one of which loops, and one tensor of several names."""

    @tf.function(input_signature=[tf.TensorSpec((1, 3), name="waveform")], autograph=False)
    def predict(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Doubles until it is loud, in a loop, which has subgraphs of its own."""
        (logits,) = tf.while_loop(
            lambda x: tf.reduce_sum(tf.abs(x)) < 9.0, lambda x: (2.0 * x + 0.1,), [waveform]
        )
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    @tf.function(
        input_signature=[tf.TensorSpec((1, 3), name=name) for name in ("samples", "sum", "last")],
        autograph=False,
    )
    def step(self, samples: tf.Tensor, sum: tf.Tensor, last: tf.Tensor) -> dict[str, tf.Tensor]:
        """Sums what it hears."""
        total = samples + sum + 0.5 * last
        probabilities = tf.nn.softmax(total)
        return {"probabilities": probabilities, "next_sum": total, "next_last": total}


@pytest.fixture(scope="module")
def content() -> bytes:
    """A TFLite file with two signatures, and without metadata."""
    model = Model()
    with tempfile.TemporaryDirectory() as saved:
        traced = {"step": model.step, "predict": model.predict}
        tf.saved_model.save(model, saved, signatures=traced)
        return tf.lite.TFLiteConverter.from_saved_model(saved).convert()


@pytest.fixture(scope="module")
def description(content: bytes) -> ModelDescription:
    """Its description."""
    return metadata.of_signatures(
        content, name="commands", description="Drei Wörter.", version="1.2", sample_rate=RATE
    )


def signatures(description: ModelDescription) -> dict[str, SignatureDescription]:
    """The signatures by name."""
    return {signature.name: signature for signature in description.signatures}


def tensors(signature: SignatureDescription) -> dict[str, TensorDescription]:
    """Inputs and outputs by name."""
    return {tensor.name: tensor for tensor in signature.inputs + signature.outputs}


def test_names_say_what_a_tensor_is(description: ModelDescription) -> None:
    """An app learns the rate of the audio, the labels, and which output feeds which input."""
    found = signatures(description)
    assert set(found) == {"predict", "step"}
    predict, step = tensors(found["predict"]), tensors(found["step"])
    assert set(predict) == {"waveform", "logits", "probabilities"}
    assert set(step) == {"samples", "sum", "last", "probabilities", "next_sum", "next_last"}
    assert predict["waveform"].audio == step["samples"].audio == Audio(RATE, channels=1)
    assert predict["probabilities"].labels == step["probabilities"].labels == "labels.txt"
    for name in ("sum", "last"):
        assert f"`next_{name}`" in step[name].description
        assert f"`{name}`" in step[f"next_{name}"].description
    for each in (found["predict"], found["step"], *predict.values(), *step.values()):
        assert each.description
    others = {**predict, **step}
    assert {name for name, each in others.items() if each.audio} == {"waveform", "samples"}
    assert {name for name, each in others.items() if each.labels} == {"probabilities"}


def test_a_model_that_hears_nothing_has_no_audio(content: bytes) -> None:
    """A rate that nobody knows is not made up."""
    found = signatures(metadata.of_signatures(content, name="silent"))
    assert not [each for one in found.values() for each in tensors(one).values() if each.audio]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
AUDIO = st.builds(Audio, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))


@st.composite
def reworded(draw: st.DrawFn, description: ModelDescription) -> ModelDescription:
    """The description with other words, audio and labels anywhere."""

    def reword(each: TensorDescription) -> TensorDescription:
        return TensorDescription(each.name, draw(TEXTS), draw(st.none() | AUDIO), draw(TEXTS))

    return ModelDescription(
        draw(TEXTS),
        draw(TEXTS),
        draw(TEXTS),
        tuple(
            SignatureDescription(
                each.name,
                draw(TEXTS),
                tuple(map(reword, each.inputs)),
                tuple(map(reword, each.outputs)),
            )
            for each in description.signatures
        ),
    )


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read(
    content: bytes, description: ModelDescription, data: st.DataObject
) -> None:
    """All of it, in any script; and the last writing stands, as if it had been the first."""
    wanted = data.draw(reworded(description))
    written = metadata.described(content, wanted)
    assert metadata.read(written) == wanted
    assert written == metadata.described(content, wanted)
    again = metadata.described(written, description)
    assert again == metadata.described(content, description)


def test_the_model_stays_what_it_was(
    content: bytes, description: ModelDescription, tmp_path: Path
) -> None:
    """The same answers, and the files that rnnapp.device looks for, beside the metadata."""
    assert metadata.read(content) is None
    path = tmp_path / "model.tflite"
    path.write_bytes(metadata.described(content, description))
    tflite.attach(path, {"labels.txt": LABELS, "rnnapp.json": "{}"})
    assert metadata.read(path.read_bytes()) == description
    before, after = load(content), load(path)
    assert before.signatures == after.signatures
    assert after.files == {"labels.txt": LABELS.encode(), "rnnapp.json": b"{}"}
    samples = np.float32([[0.5, -0.25, 0.125]])
    states = {"sum": samples, "last": 2 * samples}
    for signature, inputs in (
        ("predict", {"waveform": samples}),
        ("step", {"samples": samples, **states}),
    ):
        answers = before.run(signature, **inputs)
        for name, value in after.run(signature, **inputs).items():
            np.testing.assert_array_equal(value, answers[name], err_msg=name)


def test_files_come_after_metadata(
    content: bytes, description: ModelDescription, tmp_path: Path
) -> None:
    """Written into a file with others behind it, metadata would lose them."""
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    tflite.attach(path, {"labels.txt": LABELS})
    with pytest.raises(ValueError, match="must be a TFLite flatbuffer alone.*Attach them when"):
        metadata.described(path.read_bytes(), description)


@pytest.mark.parametrize("part", ["signatures", "inputs", "outputs"])
def test_a_description_of_another_model_is_refused(
    content: bytes, description: ModelDescription, part: str
) -> None:
    """Metadata goes by position: what is missing or swapped would describe its neighbour."""
    first, *others = description.signatures
    wrong = {
        "signatures": (*others, first),
        "inputs": (dataclasses.replace(first, inputs=first.inputs[:-1]), *others),
        "outputs": (dataclasses.replace(first, outputs=first.outputs[::-1]), *others),
    }
    with pytest.raises(ValueError, match=r"`description` must have the file's.*Received: \["):
        metadata.described(content, dataclasses.replace(description, signatures=wrong[part]))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_damaged_metadata_is_an_error_or_text(data: st.DataObject) -> None:
    """A file from anywhere must not take its reader down."""
    tensor = {"name": "a", "content": {"content_properties_type": 4, "content_properties": {}}}
    tables = [{"name": "predict", "input_tensor_metadata": [tensor]}, {}]
    stored = bytearray(metadata_tables.encoded({"name": "b", "subgraph_metadata": tables}))
    assert metadata_tables.decoded(bytes(stored))["subgraph_metadata"] == tables
    for _ in range(data.draw(st.integers(0, 3))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    try:
        metadata._description(metadata_tables.decoded(bytes(stored[: data.draw(st.integers(0))])))
    except ValueError as error:
        assert "TFLite metadata must be a whole flatbuffer" in str(error)


# MediaPipe's own generated schema; the reader around it lacks a module in the wheel of 1.2.2.
READER = """
import json, sys
from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
from mediapipe.tasks.metadata import schema_py_generated as models

model = models.Model.GetRootAs(open(sys.argv[1], "rb").read())
entries = [model.Metadata(number) for number in range(model.MetadataLength())]
(place,) = [entry.Buffer() for entry in entries if entry.Name() == b"TFLITE_METADATA"]
stored = model.Buffers(place).DataAsNumpy().tobytes()
assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(stored, 0)


def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    if hasattr(value, "__dict__"):
        return {name: plain(item) for name, item in vars(value).items()}
    return value.decode() if isinstance(value, bytes) else value


print(json.dumps(plain(schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(stored)))))
"""


def heard(tensor: dict) -> TensorDescription:
    """What MediaPipe read of a tensor."""
    content, files = tensor["content"], tensor["associatedFiles"] or []
    properties = content and content["contentProperties"]
    assert not content or content["contentPropertiesType"] == 4  # AudioProperties
    assert all(file["type"] == 2 for file in files)  # TENSOR_AXIS_LABELS
    return TensorDescription(
        tensor["name"],
        tensor["description"],
        Audio(properties["sampleRate"], properties["channels"]) if properties else None,
        *[file["name"] for file in files],
    )


@pytest.mark.slow
def test_mediapipe_reads_the_same(
    content: bytes, description: ModelDescription, mediapipe_python: Path, tmp_path: Path
) -> None:
    """By the code that was made from the schema itself."""
    path = tmp_path / "model.tflite"
    path.write_bytes(metadata.described(content, description))
    tflite.attach(path, {"labels.txt": LABELS})
    done = subprocess.run(
        [str(mediapipe_python), "-c", READER, str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    read = json.loads(done.stdout)
    assert read["minParserVersion"] == "1.3.0"
    assert description == ModelDescription(
        read["name"],
        read["description"],
        read["version"],
        tuple(
            SignatureDescription(
                each["name"],
                each["description"],
                tuple(map(heard, each["inputTensorMetadata"])),
                tuple(map(heard, each["outputTensorMetadata"])),
            )
            for each in read["subgraphMetadata"]
        ),
    )
