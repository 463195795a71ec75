"""How well language models predict text that they have not read, beside counts of words.

    python benchmarks/language_model.py tinyshakespeare --data DATA/tinyshakespeare/input.txt
    python benchmarks/language_model.py wikitext2 --data DATA/wikitext2
    python benchmarks/language_model.py step-time

`tinyshakespeare` learns the first 90 % of a text by characters, validates on the next 5 %, tests on
the last, and prints nats a character and what the model writes. `wikitext2` learns the words of
`valid.txt` and is tested on `test.txt`, beside a unigram and a 5-gram Kneser-Ney model of the same
words and the same vocabulary. `step-time` measures the training step of a recurrent layer as it is
here and as it is in Keras.

On two cores, beside other work: `tinyshakespeare` 1.341 nats a character of the validation split
(1.347 in training, over windows) and 1.472 of the test split, by two LSTM layers of 512 units,
trained for 35 minutes. Of what it writes:

    LADY GREY:
    Who look'd your grace were been? What babes do she
    call out of her opposite and depart?

    GLOUCESTER:
    Had not thou done, my part, a woman's womb;
    And that woful to him, none revenged with your worth,

`wikitext2` has a perplexity of 174.2 for the 244,102 words of the test text, by two tied LSTM
layers, trained for 73 minutes on one core beside other work. The unigram model has 547.4, the
5-gram Kneser-Ney model 249.5, 237.4 and 237.3 at discounts of 0.8, 0.9 and 0.95.
"""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from nltk.lm import MLE
from nltk.lm.counter import NgramCounter
from nltk.lm.models import InterpolatedLanguageModel
from nltk.lm.smoothing import KneserNey
from nltk.util import everygrams

app = typer.Typer(add_completion=False, help=__doc__.splitlines()[0])

Data = Annotated[Path, typer.Option(help="The text, or the folder of it.")]
Out = Annotated[Path, typer.Option(help="The run folder.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")]


@app.command()
def tinyshakespeare(
    data: Data, out: Out = Path("benchmark/tinyshakespeare"), set_: Settings = None
) -> None:
    """Characters: nats of the validation and of the test split, and a page that it writes."""
    from rnnapp import train
    from rnnapp.tasks.language_model import TASK, GenerationSpec

    run = train(TASK.name, data, out, settings=["preset=characters", *(set_ or [])])
    _report(run, ("validation", "test"))
    model, pipeline = run.load_model(), run.load_pipeline()
    spec = GenerationSpec(temperature=0.8, seed=0, max_tokens=1000, stop_at_end=False)
    assert TASK.writer
    (answer,) = TASK.writer(model, pipeline, spec).answers(["KING RICHARD:\n"])
    print(answer["text"])


@app.command()
def wikitext2(data: Data, out: Out = Path("benchmark/wikitext2"), set_: Settings = None) -> None:
    """Words: perplexities of the test text, by the model and by counts."""
    from rnnapp import train
    from rnnapp.tasks.language_model import TASK

    parts = f"{data / 'valid.txt'},{data / 'test.txt'}"
    run = train(TASK.name, parts, out, settings=["preset=words", *(set_ or [])])
    _report(run, ("test",))
    pipeline = run.load_pipeline().open(parts)
    training = np.concatenate([_tokens(pipeline, split) for split in ("train", "validation")])
    for name, perplexity in counted(training.tolist(), _tokens(pipeline, "test").tolist()).items():
        print(f"{name}: perplexity {perplexity:.1f}")


@app.command()
def step_time(
    units: int = 256, batch_size: int = 64, timesteps: int = 64, repeats: int = 20
) -> None:
    """Milliseconds of a training step of two LSTM layers, by Keras' loop and by `scan`."""
    from rnnapp.layers.scan import scan

    def keras_loop(layer: Any, x: Any, states: list) -> tuple[Any, list]:
        return layer.inner_loop(x, states, mask=None, training=True)[1:]

    for name, loop in (("Keras", keras_loop), ("scan", scan)):
        for jit_compile in (False, True):
            step = _step(loop, units, (batch_size, timesteps, units), jit_compile)
            begun = time.perf_counter()
            step()
            compiled, times = time.perf_counter() - begun, []
            for _ in range(repeats):
                begun = time.perf_counter()
                step()
                times.append(1e3 * (time.perf_counter() - begun))
            print(
                f"{name:6} jit_compile={jit_compile!s:5} {np.median(times):6.0f} ms "
                f"(least {min(times):.0f}), first step {compiled:.0f} s"
            )


def _step(
    loop: Callable[..., Any], units: int, shape: tuple[int, ...], jit_compile: bool
) -> Callable[[], Any]:
    """A function of nothing: the gradient of two layers' weights."""
    import keras
    import tensorflow as tf

    layers = [keras.layers.LSTM(units, return_sequences=True) for _ in range(2)]
    for layer in layers:
        layer.build(shape)
    weights = [weight.value for layer in layers for weight in layer.weights]
    inputs, zeros = tf.random.normal(shape, seed=0), tf.zeros((shape[0], units))

    @tf.function(jit_compile=jit_compile, autograph=False)
    def gradients(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            for layer in layers:
                x, _ = loop(layer, x, [zeros, zeros])
            loss = tf.reduce_mean(x**2)
        return tape.gradient(loss, weights)

    return lambda: gradients(inputs)[0].numpy()


class IndexedKneserNey(KneserNey):
    """NLTK's own smoothing with continuations counted once, not looked for at every question."""

    @functools.cached_property
    def _continuations(self) -> dict[tuple, tuple[collections.Counter, int]]:
        """For each context, the words behind it by how many words stand before the two."""
        counts: dict[tuple, collections.Counter] = collections.defaultdict(collections.Counter)
        for size in range(2, self._order + 1):
            for prefix, words in self.counts[size].items():
                counts[prefix[1:]].update(list(words))
        return {context: (words, words.total()) for context, words in counts.items()}

    def _continuation_counts(self, word: int, context: tuple = ()) -> tuple[int, int]:
        words, total = self._continuations.get(context, ({}, 1))
        return words.get(word, 0), total


def counted(training: list[int], test: list[int], order: int = 5) -> dict[str, float]:
    """Perplexities of a test text by models that count.

    Args:
        training: Token ids.
        test: Token ids, of which all but the first are predicted, each from `order - 1` before it.
        order: Of the Kneser-Ney model.

    Returns:
        By the model's name.
    """
    counts = NgramCounter([everygrams(training, max_len=order)])
    grams = [tuple(test[max(0, i - order + 1) : i]) for i in range(1, len(test))]
    models: dict[str, Any] = {"unigram": MLE(1, counter=counts)}
    for discount in (0.8, 0.9, 0.95):
        models[f"{order}-gram Kneser-Ney, discount {discount}"] = InterpolatedLanguageModel(
            IndexedKneserNey,
            order,
            counter=counts,
            params={"order": order, "discount": discount},
        )
    perplexities = {}
    for name, model in models.items():
        pairs = zip(test[1:], grams, strict=True)
        nats = [
            -np.log(model.unmasked_score(word, context if model.order > 1 else ()))
            for word, context in pairs
        ]
        perplexities[name] = float(np.exp(np.mean(nats)))
    return perplexities


def _tokens(pipeline: Any, split: str) -> np.ndarray:
    """All token ids of a split, (tokens,), its beginning included."""
    rows = [(x["token_ids"], y) for x, y in pipeline.dataset(split, 1).as_numpy_iterator()]
    targets = np.concatenate([y[y != 0] for _, y in rows])
    return np.concatenate([rows[0][0][0, :1], targets])


def _report(run: Any, splits: tuple[str, ...]) -> None:
    from rnnapp import evaluate

    print(f"training took {run.metrics()['training']['seconds']:.0f} s")
    for split in splits:
        begun = time.monotonic()
        figures = evaluate(run, split=split)
        print(
            f"{split}: {figures['nats_per_token']:.4f} nats a token, perplexity "
            f"{figures['perplexity']:.2f}, {figures['bits_per_character']:.4f} bits a character, "
            f"of {figures['tokens']} tokens in {time.monotonic() - begun:.0f} s"
        )


if __name__ == "__main__":
    app()
