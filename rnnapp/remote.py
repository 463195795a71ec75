"""Prediction by a server: what an export says, asked of TensorFlow Serving or `rnnapp serve`."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.audio_spec import AudioSpec
from pipelines.text import files, tokenization
from pipelines.text.sides import Sides
from pipelines.text.spec import PairSpec
from rnnapp import decoding, overrides
from rnnapp.generation import LOGITS, GenerationSpec, Generator
from rnnapp.manifests import read_manifest
from rnnapp.prediction import NEEDED, TOKENIZER, Predictor, changed_by
from rnnapp.serving import Client, Stream
from rnnapp.serving.signatures import DEFAULT, Arrays
from rnnapp.specs import DecodingSpec, require
from rnnapp.translation import Translator

if TYPE_CHECKING:
    from rnnapp.tasks import Writer

MODEL = "default"  # what TensorFlow Serving calls a model that is given no name
TEXT = "text"
MAX_ROWS = 32  # of a request: the batch that an export's batching.config allows
MAX_VALUES = 2**19  # of a request, some 10 MB of JSON


@dataclass(frozen=True)
class Remote:
    """A model that is served, and how it is asked.

    Args:
        url: As `rnnapp.serving.Client` takes it.
        model: What the server calls it; by default the export's name, or without one `default`.
        export: The export that is served, or a copy of its manifest.json, its labels.txt and, of
            texts that are written, its tokenizer. It says what a server does not tell: how sounds
            are read, what classes are called. A model that classifies texts needs none.
        settings: `key=value` assignments to the task's evaluation settings.
        api_key: Sent along.
        ca_cert: A file of PEM certificates to trust, the system's by default.
        timeout: Seconds that an answer may take.
    """

    url: str
    model: str = ""
    export: Path | None = None
    settings: tuple[str, ...] = ()
    api_key: str = ""
    ca_cert: Path | None = None
    timeout: float = 30.0

    def open(self) -> Predictor:
        """Begins to ask.

        Returns:
            What answers as `Predictor.of(export)` does; without an export, `probabilities` hold
            that of `label` alone.

        Raises:
            ValueError: If the model cannot be asked so.
            ServingError: If the server does not answer.
            ImportError: If what it needs is not installed.
        """
        manifest = read_manifest(self.export, NEEDED) if self.export else {}
        client = self._client(self.model or manifest.get("name", MODEL))
        with ExitStack() as stack:
            stack.callback(client.close)
            if self.export is None:
                predictor = _of_texts_alone(client, self.settings)
            else:
                predictor = self._of_export(client, self.export, manifest["spec"])
            weakref.finalize(predictor, stack.pop_all().close)
        return predictor

    def _of_export(self, client: Client, export: Path, spec: dict[str, Any]) -> Predictor:
        if (write := _WRITERS.get(spec["task"])) is not None:
            writer = write(client, export, spec, self.settings)
            return Predictor(writer.read, writer.answers, writer)
        require(not self.settings, "settings", "none: this task's answers have none", self.settings)
        labels = (export / "labels.txt").read_text(encoding="utf-8").splitlines()
        of_texts = (export / TOKENIZER).is_dir()
        reader, signature = (_text_reader, DEFAULT) if of_texts else (_sound_reader, "padded")
        return Predictor(
            reader(spec["pipeline"]),
            lambda batch: [
                decoding.classification(probabilities, labels)
                for probabilities in _asked(client, batch, signature)["probabilities"]
            ],
        )

    def _client(self, model: str) -> Client:
        try:
            return Client(
                self.url,
                model,
                timeout=self.timeout,
                api_key=self.api_key,
                ca_cert=self.ca_cert,
            )
        except ModuleNotFoundError as error:
            raise ImportError(
                f"Asking a server needs {error.name}. pip install 'rnnapp[serving]' brings it."
            ) from error


def _in_parts(count: int, size: int, ask: Callable[[slice], Arrays]) -> Arrays:
    """The outputs of as many rows, in requests of that size."""
    parts = [ask(slice(start, start + size)) for start in range(0, count, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _asked(client: Client, batch: Sequence[Any], signature: str) -> Arrays:
    """What a classifier says to texts, or to sounds of any lengths."""
    size = min(MAX_ROWS, max(1, MAX_VALUES // max(map(np.size, batch))))
    return _in_parts(
        len(batch), size, lambda rows: client.predict(batch[rows], signature=signature).outputs
    )


def _text_reader(pipeline: dict[str, Any]) -> Callable[[Sequence[str | os.PathLike]], Any]:
    encoding = pipeline["encoding"]
    return lambda inputs: [files.usable(os.fspath(raw), encoding) for raw in inputs]


def _sound_reader(pipeline: dict[str, Any]) -> Callable[[Sequence[str | os.PathLike]], Any]:
    from rnnapp.device import audio
    from rnnapp.device.classifier import fit

    spec = overrides.from_dict(AudioSpec, pipeline)

    def read(path: str | os.PathLike) -> np.ndarray:
        samples = audio.read(path, spec.sample_rate)
        return fit(samples, spec.window or min(len(samples), spec.max_samples))

    return lambda inputs: [read(path) for path in inputs]


def _of_texts_alone(client: Client, settings: Sequence[str]) -> Predictor:
    """A classifier of texts, which is asked without knowing more of it."""
    signature = client.signatures()[DEFAULT]
    known = signature.main_input == TEXT and {"label", "probabilities"} <= set(signature.outputs)
    require(
        known and not settings,
        "export",
        "given: only a classifier of texts is asked without one, and without settings",
        f"none, for a model of {', '.join(signature.inputs)}",
    )

    def answer(texts: Sequence[str]) -> list[dict[str, Any]]:
        said = _asked(client, texts, DEFAULT)
        labels = [label.decode() for label in said["label"]]
        best = said["probabilities"].max(axis=-1)
        return [
            {"label": label, "probabilities": {label: float(share)}}
            for label, share in zip(labels, best, strict=True)
        ]

    return Predictor(_text_reader({"encoding": "utf-8"}), answer)


class ServedSteps:
    """The steps of a language model that is served; its states are the client's.

    Args:
        client: Of the model.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def start(self) -> Stream:
        """A stream, which carries the states of one text."""
        return self._client.stream()

    def step(self, token_id: int, states: Stream) -> tuple[np.ndarray, Stream]:
        """As `rnnapp.generation.Steps.step`."""
        return states.send([token_id]).outputs[LOGITS].reshape(-1), states


class ServedSignatures:
    """The signatures of a translator that is served, as `rnnapp.device.beam_search` runs them.

    Args:
        client: Of the model.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(self, signature: str, /, **inputs: np.ndarray) -> Arrays:
        """Runs a signature on any number of rows."""

        def ask(rows: slice) -> Arrays:
            some = {name: value[rows] for name, value in inputs.items()}
            return self._client.predict(some, signature=signature).outputs

        return _in_parts(len(next(iter(inputs.values()))), MAX_ROWS, ask)


def _generator(
    client: Client, export: Path, spec: dict[str, Any], settings: Sequence[str]
) -> Writer:
    changed = changed_by(settings, overrides.from_dict(GenerationSpec, spec["evaluation"]))
    return Generator(ServedSteps(client), tokenization.load(export / TOKENIZER), changed)


def _translator(
    client: Client, export: Path, spec: dict[str, Any], settings: Sequence[str]
) -> Writer:
    changed = changed_by(settings, overrides.from_dict(DecodingSpec, spec["evaluation"]))
    pairs = overrides.from_dict(PairSpec, spec["pipeline"])
    return Translator(ServedSignatures(client), Sides.load(export / TOKENIZER), pairs, changed)


# What writes by a server, by the task.
_WRITERS: dict[str, Callable[[Client, Path, dict[str, Any], Sequence[str]], Writer]] = {
    "language_model": _generator,
    "translation": _translator,
}
