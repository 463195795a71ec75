"""Texts come in pieces that nothing changes any more, and end where they are told to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pipelines.base import BadInputWarning
from pipelines.text.tokenization import BEGIN, END, PADDING, SPECIAL, UNKNOWN, tokenizer
from rnnapp.device import Stepper, load
from rnnapp.exporting import lowering, signatures
from rnnapp.generation import DeviceSteps, GenerationSpec, Generator, KerasSteps
from rnnapp.language import language_model
from rnnapp.layers.streaming import StepModel
from rnnapp.specs import EmbeddingSpec, LanguageSpec

from .layers.conftest import shuffled

TEXT = "the owl sings to the fox and the fox sleeps"


class Recital:
    """Steps that know one text by heart, and begin it again after its end."""

    def __init__(self, token_ids: list[int], vocabulary_size: int) -> None:
        self.token_ids, self.size = token_ids, vocabulary_size

    def start(self) -> int:
        """How many tokens were read."""
        return 0

    def step(self, token_id: int, states: int) -> tuple[np.ndarray, int]:
        """Sure of what comes next."""
        logits = np.zeros(self.size)
        logits[self.token_ids[states % len(self.token_ids)]] = 50
        return logits, states + 1


def reciting(tokens: str, text: str, end: bool = True, **settings: Any) -> Generator:
    """A generator that knows a text by heart, as tokens of some kind."""
    codec = tokenizer(tokens, 40).fit([text])
    steps = Recital([*codec.encode(text), *([END] if end else [])], len(codec.vocabulary))
    return Generator(steps, codec, GenerationSpec(seed=0, **settings))


@pytest.mark.parametrize("tokens", ["characters", "words", "whitespace", "subwords"])
def test_pieces_make_the_text(tokens: str) -> None:
    """Spaces between words and none within, for any tokens; several pieces, none empty."""
    text = f"{TEXT} na\u00efve \U0001f98a" if tokens == "characters" else TEXT
    writing = reciting(tokens, text).write()
    pieces = list(writing)
    assert "".join(pieces) == text and len(pieces) > 8 and all(pieces)
    assert (writing.stopped, writing.unknown) == ("end", 0)
    assert writing.token_ids[-1] == END


@pytest.mark.parametrize("tokens", ["characters", "words", "subwords"])
def test_a_prompt_is_read_and_gone_on_from(tokens: str) -> None:
    """With the space that belongs before the first word, and without the prompt."""
    generator = reciting(tokens, TEXT)
    prompt = "the owl sings"
    assert prompt + "".join(generator.write(prompt)) == TEXT


def test_ends_of_texts_may_be_line_ends() -> None:
    """Where a text is a line, a page has many."""
    writing = reciting("words", "an owl", stop_at_end=False, max_tokens=5).write()
    assert "".join(writing) == "an owl\nan owl"
    assert writing.stopped == "max_tokens" and len(writing.token_ids) == 5


@pytest.mark.parametrize("stop", ["sings", "s to", "fox a", "the fox sl", "e"])
def test_stop_strings_end_the_text(stop: str) -> None:
    """Across any tokens, at their first place; nothing of them is told, nor what follows."""
    for tokens in ("characters", "subwords", "words"):
        writing = reciting(tokens, TEXT, stop=(stop, "never")).write()
        assert "".join(writing) == TEXT[: TEXT.index(stop)]
        assert writing.stopped == "stop"


def test_what_may_begin_a_stop_string_is_held_back() -> None:
    """Until it is none, or the text is at its end."""
    writing = reciting("characters", "aab aaa", stop=("aaab",)).write()
    assert list(writing) == ["aab", " ", "aaa"]
    assert writing.stopped == "end"


def test_special_tokens_are_never_written() -> None:
    """However probable they are, a text holds no padding."""
    codec = tokenizer("characters").fit(["ab"])

    class Special(Recital):
        def step(self, token_id: int, states: int) -> tuple[np.ndarray, int]:
            assert token_id not in (PADDING, UNKNOWN, BEGIN)
            return np.array([9.0, 9, 9, -9, 1, 1]), states

    generator = Generator(Special([], 6), codec, GenerationSpec(max_tokens=40, seed=1))
    assert set("".join(generator.write())) == {"a", "b"}
    assert len(codec.vocabulary) == len(SPECIAL) + 2


def test_unknown_characters_of_a_prompt_are_counted() -> None:
    """The model reads on, and whoever asked knows why it may be lost."""
    with pytest.warns(BadInputWarning, match="2 of 7 tokens of the prompt are not in the"):
        writing = reciting("characters", TEXT).write("the \u017b\u017b!"[:6] + "f")
    assert writing.unknown == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "`temperature` must be zero or more"),
        ({"top_p": 2.0}, r"`top_p` must be in \(0, 1\]"),
        ({"max_tokens": 0}, "`max_tokens` must be a positive integer. Received: max_tokens=0"),
        ({"stop": ("a", "")}, "`stop` must be strings of one character at least"),
        ({"seed": -1}, "`seed` must be zero or more, or none"),
    ],
)
def test_wrong_settings_are_named(settings: dict, message: str) -> None:
    """Before the model is asked."""
    with pytest.raises(ValueError, match=message):
        GenerationSpec(**settings)


@pytest.fixture(scope="module")
def model() -> Any:
    """A small language model with drawn weights, wide enough that its texts vary."""
    spec = LanguageSpec("gru", units=8, embedding=EmbeddingSpec(6))
    return shuffled(language_model(spec, 4 + len(set(TEXT))))


def test_a_step_writes_as_the_whole_sequence(model: Any) -> None:
    """Greedy, by steps: each token is the most probable one after the whole text before it."""
    codec = tokenizer("characters").fit([TEXT])
    spec = GenerationSpec(temperature=0, max_tokens=12, stop_at_end=False)
    writing = Generator(KerasSteps(model), codec, spec).write("the ")
    assert len("".join(writing)) == 12
    text = [END, *codec.encode("the ")]
    for token_id in writing.token_ids:
        logits = model([np.array([text], np.int32), np.array([len(text)], np.int32)])[0, -1]
        allowed = np.array(logits)
        allowed[[PADDING, UNKNOWN, BEGIN]] = -np.inf
        assert token_id == allowed.argmax()
        text.append(token_id)


def test_same_seed_same_text(model: Any) -> None:
    """For any number of texts by the same generator, which starts each anew."""
    codec = tokenizer("characters").fit([TEXT])
    steps = KerasSteps(model)
    one, other = (
        Generator(steps, codec, GenerationSpec(max_tokens=30, seed=seed, stop_at_end=False))
        for seed in (1, 2)
    )
    assert "".join(one.write("fox")) == "".join(one.write("fox")) != "".join(other.write("fox"))


def test_a_device_writes_the_same(model: Any) -> None:
    """The step as a TFLite file, from which TensorFlow is gone, tells the model's own text."""
    stepper = StepModel(model)
    traced = lowering.traced(signatures.step(stepper), signatures.step_specs(stepper, 1))
    file = load(lowering.lowered({"step": traced}, stepper.weights))
    codec = tokenizer("characters").fit([TEXT])
    spec = GenerationSpec(max_tokens=40, seed=3, stop_at_end=False)
    texts = [
        "".join(Generator(steps, codec, spec).write("the fox"))
        for steps in (KerasSteps(model), DeviceSteps(Stepper(file)))
        for _ in range(2)  # each text begins from zeros
    ]
    assert len(texts[0]) == 40 and texts == 4 * texts[:1]


def test_writing_needs_no_tensorflow() -> None:
    """Seconds on a laptop, and more than a small board can hold."""
    code = "import json, sys, rnnapp.generation; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    assert not {"tensorflow", "keras"} & set(json.loads(done.stdout))


class Deaf:
    """A step of something else."""

    inputs: ClassVar = {"samples": None}
    outputs: ClassVar = {"probabilities": None}


def test_another_step_does_not_write() -> None:
    """One that hears sound is refused by name."""
    with pytest.raises(ValueError, match=r"must be a step from `token_ids` to `logits`.*samples"):
        DeviceSteps(Deaf())  # type: ignore[arg-type]
