"""Sentences and their translations to batches of token ids: files in, tf.data out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.base import Progress
from pipelines.text import batches, files, index, state, store, tokenization
from pipelines.text.bucketed import Bucketed, Load
from pipelines.text.graph import TokenizerGraph
from pipelines.text.index import Example
from pipelines.text.sides import Sides
from pipelines.text.spec import PairSpec
from pipelines.text.store import Ragged
from pipelines.text.tokenization import BEGIN, Tokenizer

__all__ = ["PairPipeline", "PairSpec"]


class PairPipeline(Bucketed):
    """Pairs as batches `({"source_ids", "source_lengths", "target_ids"}, targets)`.

    All is padded on the right. `target_ids` begin with the begin token, as a decoder is fed, and
    the targets end with the end token, as it should answer: each one step ahead of the other. Id 0
    is padding and nothing else, so `target_ids != 0` is the mask of both.

    Args:
        spec: The settings.
        tokenizer: A fitted one of both sides that they would make, to be kept; None finds
            vocabularies in `fit`.

    Raises:
        ValueError: If the tokenizer is not what the settings ask for.
    """

    def __init__(self, spec: PairSpec | None = None, tokenizer: Sides | None = None) -> None:
        self.spec = spec or PairSpec()
        super().__init__(self.spec.on_bad_input)
        self.examples: list[Example] = []
        self._given = None if tokenizer is None else tokenizer.checked(self.spec)
        self.tokenizer = self._given or Sides(
            tokenization.of(self.spec), tokenization.of(self.spec)
        )
        self._seed = 0
        self._fitted = False
        self._source_ids: Ragged
        self._target_ids: Ragged
        self._texts: Ragged  # source and target by turns, of each pair that was read
        self._places: list[int] = []  # of the pairs that are used, among them

    def fit(self, data: str, seed: int = 0, progress: Progress | None = None) -> PairPipeline:
        """Reads and splits some data, and finds a vocabulary for each side of the training split.

        Args:
            data: A file of `source<TAB>target`, or with columns (CSV, TSV, JSONL, Parquet); two
                files SOURCE+TARGET whose lines belong together; a folder of such files; TRAIN,TEST
                or TRAIN,VALIDATION,TEST; or `tfds:NAME[/CONFIG]`. Pairs of the same source are in
                the same split. See `sources.find` for how splits are named.
            seed: Kept with the state; nothing here is drawn by chance.
            progress: Called with (done, total) pairs.

        Returns:
            The pipeline itself.

        Raises:
            FileNotFoundError: If a file is absent.
            ValueError: If there is no usable pair, a column is absent, or any input is bad where
                `on_bad_input` is "stop".
        """
        self._fitted, self._seed = False, seed
        return self._reread(data, False, progress)

    @property
    def fitted(self) -> bool:
        """Whether both vocabularies are known."""
        return self._fitted

    @property
    def source(self) -> Tokenizer:
        """The sources' tokenizer."""
        return self.tokenizer.source

    @property
    def target(self) -> Tokenizer:
        """The targets' tokenizer."""
        return self.tokenizer.target

    @property
    def vocabulary(self) -> tuple[list[str], list[str]]:
        """All tokens of the sources and of the targets, in the order of their ids."""
        return self.source.vocabulary, self.target.vocabulary

    @property
    def labels(self) -> list[str]:
        """What a model's logits are of: the tokens of the target's language."""
        return self.target.vocabulary

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec]:
        """The batches' types: ids (batch, timesteps) and lengths (batch,), all int32."""
        ids = tf.TensorSpec([None, None], tf.int32)
        lengths = tf.TensorSpec([None], tf.int32)
        return {"source_ids": ids, "source_lengths": lengths, "target_ids": ids}, ids

    def sentences(self, split: str) -> list[tuple[str, str]]:
        """The pairs of a split as they were read.

        Raises:
            ValueError: If the split is unknown or empty.
        """
        batches.check_split(split, self.splits)
        places = [2 * self._places[row] for row in self._rows(split)]
        return [(self._texts.text(place), self._texts.text(place + 1)) for place in places]

    def encode(self, *raw: str | Path | tuple[str, str]) -> dict[str, np.ndarray]:
        """Makes the inputs of one batch, as training sees them.

        Args:
            *raw: Sentences, paths of `.txt` files, or pairs (source, target); without a target,
                the decoder is fed its begin token alone.

        Returns:
            `{"source_ids": int32 (batch, source timesteps), "source_lengths": int32 (batch,),
            "target_ids": int32 (batch, target timesteps)}`.

        Raises:
            ValueError: If a source is empty, no UTF-8 or too long.
        """
        encoding = self.spec.encoding
        pairs = [
            one if isinstance(one, tuple) else (files.text_of(one, encoding), "") for one in raw
        ]
        sources = [source for source, _ in pairs]
        source_ids, lengths = self.tokens_of(sources)
        fed = [np.array([BEGIN, *self.target.encode(target)], np.int32) for _, target in pairs]
        return {
            "source_ids": source_ids,
            "source_lengths": lengths,
            "target_ids": store.padded(fed),
        }

    def tokens_of(self, sources: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Padded ids, int32 (batch, timesteps), and lengths of sources, whatever they look like."""
        return self.tokenizer.encode(sources, self.spec.max_tokens)

    def graph(self) -> TokenizerGraph:
        """The encoding of sources as TensorFlow operations, from string (batch,)."""
        return self.source.graph(self.spec.max_tokens)

    def save(self, folder: str | Path) -> None:
        """Writes vocabularies, settings and splits; the pairs stay where they are.

        Args:
            folder: Made if absent; takes `source/` and `target/`, each with a `vocabulary.txt` and
                a `tokenizer.json`, and `pipeline.json` and `splits.csv`.
        """
        folder = Path(folder)
        self.tokenizer.save(folder)
        state.save(folder, self.spec, self._seed)
        index.write(self.examples, folder / "splits.csv")

    @classmethod
    def load(cls, folder: str | Path) -> PairPipeline:
        """Reads what `save` wrote; `open` then attaches data.

        Raises:
            FileNotFoundError: If the folder holds no pipeline.
        """
        folder = Path(folder)
        spec, seed = state.load(folder, PairSpec)
        pipeline = cls(spec)
        pipeline._seed, pipeline._fitted = seed, True
        pipeline.tokenizer = Sides.load(folder)
        return pipeline

    def _read(self, data: str, test_only: bool, progress: Progress | None) -> None:
        """Reads and encodes `data`, and warns of what was skipped."""
        columns = (self.spec.source_column, self.spec.target_column)
        found = index.index(
            data, self.spec, columns, files.tab_parted, self._bad, test_only=test_only
        )
        read: list[Example] = []
        texts = store.texts(_sides(found, read))  # source and target by turns
        if not self._fitted:
            train = [row for row, example in enumerate(read) if example.split == "train"]
            sources = (texts.text(2 * row) for row in train)
            targets = [texts.text(2 * row + 1) for row in train]
            self.tokenizer = self._given or Sides.of(sources, targets, self.spec)
            self._fitted = bool(train)
        self.examples, self._places, self._texts = [], [], texts
        both = store.collect(self._encoded(texts, read, progress))
        self._source_ids, self._target_ids = both.every(2, 0), both.every(2, 1)
        self._bad.warn()
        if not self.examples or not self._fitted:
            raise ValueError(
                f"{data}: there must be at least one usable pair, for training to begin with. "
                f"Received: {self.splits}."
            )

    def _encoded(
        self, texts: Ragged, read: list[Example], progress: Progress | None
    ) -> Iterator[list[int]]:
        """The ids of source and target by turns, of those pairs that are not too long."""
        limit = self.spec.max_tokens
        for row, example in enumerate(read):
            source = self.source.encode(texts.text(2 * row))
            target = self.target.encode(texts.text(2 * row + 1))
            longest = max(len(source), len(target))
            if limit is not None and longest > limit:
                self._bad.add(
                    f"{example.path}:{example.row}",
                    f"a sentence must have at most {limit} tokens. Received: {longest}.",
                )
            else:
                self.examples.append(example)
                self._places.append(row)
                yield source
                yield target
            if progress:
                progress(row + 1, len(read))

    def _lengths(self) -> np.ndarray:
        return np.stack([self._source_ids.lengths, self._target_ids.lengths + 1], axis=1)

    def _loader(self) -> Load:
        lengths = self._source_ids.lengths

        def copy(rows: np.ndarray) -> tuple[np.ndarray, ...]:
            fed, asked = batches.shifted([self._target_ids[row] for row in rows])
            return self._source_ids.gather(rows), lengths[rows], fed, asked

        def load(rows: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            source, counts, fed, asked = tf.numpy_function(copy, [rows], [tf.int32] * 4)
            inputs = {
                "source_ids": tf.ensure_shape(source, [None, None]),  # (batch, source timesteps)
                "source_lengths": tf.ensure_shape(counts, [None]),
                "target_ids": tf.ensure_shape(fed, [None, None]),  # (batch, target timesteps)
            }
            return inputs, tf.ensure_shape(asked, [None, None])

        return load

    def _text(self, row: int) -> str:
        return self._texts.text(2 * self._places[row])


def _sides(
    found: Iterator[tuple[Example, tuple[str, ...]]], examples: list[Example]
) -> Iterator[str]:
    """The sources and targets of examples by turns, which are noted down on the way."""
    for example, fields in found:
        examples.append(example)
        yield from fields
