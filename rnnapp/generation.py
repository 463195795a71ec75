"""Text from a language model, token by token, on a Keras model or on a device alike."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipelines.base import BadInputWarning
from pipelines.text import files
from pipelines.text.tokenization import BEGIN, END, PADDING, UNKNOWN
from rnnapp import overrides
from rnnapp.device import Stepper
from rnnapp.device.sampling import Sampler, Sampling
from rnnapp.specs import require

if TYPE_CHECKING:
    import keras

TOKEN_IDS, LOGITS = "token_ids", "logits"


@dataclass(frozen=True)
class GenerationSpec(Sampling):
    """How a text is written.

    Args:
        temperature: As in `Sampling`, like `top_k` and `top_p`.
        top_k: Most tokens that one is drawn from.
        top_p: The share of the nucleus that one is drawn from.
        max_tokens: Most tokens that are drawn.
        seed: Of the draws; None for another text each time.
        stop: Strings that end the text, and are not part of it.
        stop_at_end: Whether the end token does so, too; else it is a line end like any other.
    """

    max_tokens: int = 500
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_at_end: bool = True

    def __post_init__(self) -> None:
        """Checks the fields."""
        overrides.settle_types(self)
        super().__post_init__()
        require(self.max_tokens > 0, "max_tokens", "a positive integer", self.max_tokens)
        require(self.seed is None or self.seed >= 0, "seed", "zero or more, or none", self.seed)
        require(all(self.stop), "stop", "strings of one character at least", self.stop)


class Steps(Protocol):
    """A language model that is asked a token at a time."""

    def start(self) -> Any:
        """The states that a text begins from."""

    def step(self, token_id: int, states: Any) -> tuple[np.ndarray, Any]:
        """The logits (vocabulary,) of what follows a token, and the new states."""


class Tokenizer(Protocol):
    """Text to token ids and back; `pipelines.text.tokenization` has some."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids."""


class KerasSteps:
    """The steps of a Keras model.

    Args:
        model: What `rnnapp.language.language_model` built, trained or loaded.
    """

    def __init__(self, model: keras.Model) -> None:
        import tensorflow as tf

        from rnnapp.layers.streaming import StepModel

        self._model = StepModel(model)
        self._call = tf.function(self._model, autograph=False)
        self._tensor = tf.constant

    def start(self) -> dict[str, Any]:
        """Zeros, float32 (1, ...) each."""
        return self._model.initial_states()

    def step(self, token_id: int, states: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """As `Steps.step`."""
        logits, states = self._call(self._tensor([[token_id]]), states)
        return logits.numpy().reshape(-1), states


class DeviceSteps:
    """The steps of an exported model, without TensorFlow.

    Args:
        stepper: The signature `step` of a TFLite file, with the input `token_ids` and the output
            `logits`.
    """

    def __init__(self, stepper: Stepper) -> None:
        names = (list(stepper.inputs), LOGITS in stepper.outputs)
        fits = names == ([TOKEN_IDS], True)
        require(fits, "stepper", f"a step from `{TOKEN_IDS}` to `{LOGITS}`", names[0])
        self._stepper = stepper
        self._shape = stepper.inputs[TOKEN_IDS].shape
        stepper.reset()
        self._zeros = stepper.states

    def start(self) -> dict[str, np.ndarray]:
        """Zeros, as the file stores them."""
        return self._zeros

    def step(
        self, token_id: int, states: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As `Steps.step`."""
        self._stepper.states = states
        token_ids = np.full(self._shape, token_id, np.int32)
        logits = self._stepper(**{TOKEN_IDS: token_ids})[LOGITS]
        return logits.reshape(-1), self._stepper.states


class Generator:
    """Writes on from a prompt.

    Args:
        steps: The model.
        tokenizer: The one that it was trained with.
        spec: How texts are written.
    """

    def __init__(
        self, steps: Steps, tokenizer: Tokenizer, spec: GenerationSpec | None = None
    ) -> None:
        self.steps, self.tokenizer = steps, tokenizer
        self.spec = spec or GenerationSpec()

    def read(self, inputs: Sequence[str | os.PathLike]) -> list[str]:
        """What texts are to go on from: as given, or what `.txt` files hold.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a file is empty, or no UTF-8.
        """
        return [files.text_of(os.fspath(each)) for each in inputs]

    def answers(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Writes on from each prompt, with it as the beginning of `text`."""
        return [{"text": prompt + "".join(self.write(prompt))} for prompt in texts]

    def write(self, prompt: str = "") -> Writing:
        """Begins a text.

        Args:
            prompt: What the text begins with, and which is not told again; "" for a new one.

        Returns:
            The text's pieces, to be iterated over.
        """
        return Writing(self, prompt)


class Writing:
    """A text as it is written: an iterator over pieces of one character at least.

    A piece comes as soon as nothing can change it any more.

    Args:
        generator: What writes it.
        prompt: What it begins with.

    Attributes:
        unknown: Tokens of the prompt that the vocabulary does not have.
        token_ids: The tokens so far, one that ended the text included.
        stopped: Why it ended: "end" of the text, a "stop" string or "max_tokens"; "" before.
    """

    def __init__(self, generator: Generator, prompt: str) -> None:
        self._generator, self.spec = generator, generator.spec
        self._prompt = list(generator.tokenizer.encode(prompt))
        self.unknown = self._prompt.count(UNKNOWN)
        self.token_ids: list[int] = []
        self.stopped = ""
        self._pieces = self._until_stopped(self._spelt())
        if self.unknown:
            warnings.warn(
                f"{self.unknown} of {len(self._prompt)} tokens of the prompt are not in the "
                "vocabulary: the model reads them as unknown ones.",
                BadInputWarning,
                3,
            )

    def __iter__(self) -> Iterator[str]:
        """The text itself."""
        return self

    def __next__(self) -> str:
        """The next piece."""
        return next(self._pieces)

    def _spelt(self) -> Iterator[str]:
        """What each token adds to the text."""
        decode = self._generator.tokenizer.decode
        last = self._prompt[-1:]
        for token_id in self._drawn():
            self.token_ids.append(token_id)
            if token_id == END:
                if self.spec.stop_at_end:
                    self.stopped = "end"
                    return
                last = []
                yield "\n"
            else:
                # Beside the token before it: there may be a space between, or none.
                yield decode([*last, token_id])[len(decode(last)) :]
                last = [token_id]
        self.stopped = "max_tokens"

    def _drawn(self) -> Iterator[int]:
        """The tokens that follow the prompt, each read before the next is drawn."""
        steps, states = self._generator.steps, self._generator.steps.start()
        sampler = Sampler(self.spec, self.spec.seed, (PADDING, UNKNOWN, BEGIN))
        for token_id in (END, *self._prompt):
            logits, states = steps.step(token_id, states)
        for number in range(self.spec.max_tokens):
            token_id = sampler(logits)
            yield token_id
            if number + 1 < self.spec.max_tokens:
                logits, states = steps.step(token_id, states)

    def _until_stopped(self, pieces: Iterator[str]) -> Iterator[str]:
        """The text before the first stop string; what may be the beginning of one is held back."""
        held = ""
        for piece in pieces:
            held += piece
            found = [place for place in map(held.find, self.spec.stop) if place >= 0]
            if found:
                self.stopped = "stop"
                held = held[: min(found)]
                break
            safe = len(held) - max([0, *(_overlap(held, each) for each in self.spec.stop)])
            if safe:
                yield held[:safe]
                held = held[safe:]
        if held:
            yield held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may begin a stop string."""
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
