"""Labelled texts to batches of token ids: files or tensorflow-datasets in, tf.data out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.base import BadInputWarning, Progress
from pipelines.text import files, index, state, store, tokenization
from pipelines.text.bucketed import Bucketed, Load
from pipelines.text.graph import TokenizerGraph
from pipelines.text.index import Example
from pipelines.text.spec import TextSpec
from pipelines.text.store import Ragged
from pipelines.text.tokenization import Tokenizer

__all__ = ["TextPipeline", "TextSpec"]


class TextPipeline(Bucketed):
    """Labelled texts as batches `({"token_ids", "lengths"}, labels)`, padded on the right.

    Args:
        spec: The settings.
        tokenizer: A fitted one that they would make, to be kept; None finds a vocabulary in `fit`.

    Raises:
        ValueError: If the tokenizer is not what the settings ask for.
    """

    def __init__(self, spec: TextSpec | None = None, tokenizer: Tokenizer | None = None) -> None:
        self.spec = spec or TextSpec()
        super().__init__(self.spec.on_bad_input)
        self._given = None if tokenizer is None else tokenization.checked(tokenizer, self.spec)
        self.labels: tuple[str, ...] = ()
        self.examples: list[Example] = []
        self.tokenizer = self._given or tokenization.of(self.spec)
        self._seed = 0
        self._ids: Ragged
        self._texts: Ragged

    def fit(self, data: str, seed: int = 0, progress: Progress | None = None) -> TextPipeline:
        """Reads and splits some data, and finds the classes and tokens of the training split.

        Args:
            data: A file with columns (CSV, TSV, JSONL, Parquet) or of lines `LABEL the text`; a
                folder of such files, or of `LABEL/*.txt`; TRAIN,TEST or TRAIN,VALIDATION,TEST; or
                `tfds:NAME[/CONFIG]`. See `sources.find` for how splits are named.
            seed: Kept with the state; nothing here is drawn by chance.
            progress: Called with (done, total) texts.

        Returns:
            The pipeline itself.

        Raises:
            FileNotFoundError: If a file is absent.
            ValueError: If there is no usable text, a single class, a column is absent, or any
                input is bad where `on_bad_input` is "stop".
        """
        self.labels, self._seed = (), seed
        return self._reread(data, False, progress)

    @property
    def fitted(self) -> bool:
        """Whether labels and vocabulary are known."""
        return bool(self.labels)

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return len(self.labels)

    @property
    def vocabulary(self) -> list[str]:
        """All tokens in the order of their ids."""
        return self.tokenizer.vocabulary

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec]:
        """The batches' types: token ids (batch, timesteps), lengths and labels, all int32."""
        vector = tf.TensorSpec([None], tf.int32)
        return {"token_ids": tf.TensorSpec([None, None], tf.int32), "lengths": vector}, vector

    def encode(self, *raw: str | Path) -> dict[str, np.ndarray]:
        """Makes the inputs of one batch, as training sees them.

        Args:
            *raw: Texts, or paths of `.txt` files.

        Returns:
            `{"token_ids": int32 (batch, timesteps), "lengths": int32 (batch,)}`.

        Raises:
            ValueError: If a text is empty or no UTF-8.
        """
        texts = [files.usable(one, self.spec.encoding) for one in raw]
        token_ids, lengths = self.tokens_of(texts)
        return {"token_ids": token_ids, "lengths": lengths}

    def tokens_of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Padded ids, int32 (batch, timesteps), and lengths of texts, whatever they look like."""
        return store.padded_with_lengths([self._encode(text) for text in texts])

    def graph(self) -> TokenizerGraph:
        """`encode` as TensorFlow operations, from string (batch,) to token ids and lengths."""
        return self.tokenizer.graph(self.spec.max_tokens)

    def save(self, folder: str | Path) -> None:
        """Writes labels, vocabulary, settings and splits; the texts stay where they are.

        Args:
            folder: Made if absent; takes `labels.txt`, `vocabulary.txt`, `tokenizer.json`,
                `pipeline.json` and `splits.csv`.
        """
        folder = Path(folder)
        self.tokenizer.save(folder)
        lines = "".join(f"{label}\n" for label in self.labels)
        (folder / "labels.txt").write_text(lines, encoding="utf-8")
        state.save(folder, self.spec, self._seed)
        index.write(self.examples, folder / "splits.csv")

    @classmethod
    def load(cls, folder: str | Path) -> TextPipeline:
        """Reads what `save` wrote; `open` then attaches data.

        Raises:
            FileNotFoundError: If the folder holds no pipeline.
        """
        folder = Path(folder)
        spec, seed = state.load(folder, TextSpec)
        pipeline = cls(spec)
        pipeline._seed = seed
        pipeline.tokenizer = tokenization.load(folder)
        labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        pipeline.labels = tuple(labels)
        return pipeline

    def _read(self, data: str, test_only: bool, progress: Progress | None) -> None:
        """Reads and encodes `data`, and warns of what was skipped or cut."""
        columns = (self.spec.text_column, self.spec.label_column)
        found = index.index(
            data, self.spec, columns, files.label_first, self._bad, test_only=test_only
        )
        examples: list[Example] = []
        texts = store.texts(_texts(found, examples))
        if not self.labels:
            self._fit(data, examples, texts)
        known = list(self._known(examples))
        self.examples = [examples[row] for row in known]
        self._texts = Ragged(texts.values, texts.begins[known], texts.ends[known])
        self._ids = store.collect(self._encoded(texts, known, progress))
        self._bad.warn()
        if not self.examples:
            raise ValueError(f"{data}: there must be at least one usable text. Received none.")

    def _fit(self, data: str, examples: list[Example], texts: Ragged) -> None:
        train = [row for row, example in enumerate(examples) if example.split == "train"]
        labels = tuple(sorted({examples[row].label for row in train}))
        if len(labels) < 2:
            self._bad.warn()
            raise ValueError(
                f"{data}: there must be at least two classes in the training split. Received: "
                f"{', '.join(labels) or 'none'}, in {len(train)} texts."
            )
        if self._given is None:
            self.tokenizer = tokenization.of(self.spec).fit(texts.text(row) for row in train)
        self.labels = labels

    def _known(self, examples: list[Example]) -> Iterator[int]:
        """The rows whose label training knows."""
        for row, one in enumerate(examples):
            if one.label in self.labels:
                yield row
            else:
                valid = f"the label must be one of {', '.join(self.labels)}"
                self._bad.add(f"{one.path}:{one.row}", f"{valid}. Received: {one.label}.")

    def _encoded(
        self, texts: Ragged, rows: list[int], progress: Progress | None
    ) -> Iterator[list[int]]:
        cut = []
        for done, row in enumerate(rows):
            ids = self.tokenizer.encode(texts.text(row))
            kept = ids[: self.spec.max_tokens]
            if len(kept) < len(ids):
                cut.append(self.examples[done])
            yield kept
            if progress:
                progress(done + 1, len(rows))
        if cut:
            warnings.warn(
                f"{len(cut)} texts were longer than {self.spec.max_tokens} tokens and were cut to "
                f"their beginning, {cut[0].path}:{cut[0].row} for one.",
                BadInputWarning,
                5,
            )

    def _encode(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.encode(text)[: self.spec.max_tokens], np.int32)

    def _lengths(self) -> np.ndarray:
        return self._ids.lengths[:, None]

    def _loader(self) -> Load:
        numbers = {label: number for number, label in enumerate(self.labels)}
        labels = np.array([numbers[example.label] for example in self.examples], np.int32)
        lengths = self._ids.lengths

        def copy(rows: np.ndarray) -> tuple[np.ndarray, ...]:
            return self._ids.gather(rows), lengths[rows], labels[rows]

        def load(rows: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            ids, counts, targets = tf.numpy_function(copy, [rows], [tf.int32] * 3)
            inputs = {
                "token_ids": tf.ensure_shape(ids, [None, None]),  # (batch, timesteps)
                "lengths": tf.ensure_shape(counts, [None]),
            }
            return inputs, tf.ensure_shape(targets, [None])

        return load

    def _text(self, row: int) -> str:
        return self._texts.text(row)


def _texts(
    found: Iterable[tuple[Example, tuple[str, ...]]], examples: list[Example]
) -> Iterator[str]:
    """The texts of examples, which are noted down on the way."""
    for example, fields in found:
        examples.append(example)
        yield fields[0]
