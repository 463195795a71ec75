"""Running text to one long stream of token ids, in windows that continue each other."""

from __future__ import annotations

import csv
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.ahead import cores, made_ahead
from pipelines.base import SPLITS, Fitted, Progress
from pipelines.text import batches, files, state, store, tokenization, windows
from pipelines.text.documents import Documents, Origin
from pipelines.text.graph import BehindEnd
from pipelines.text.spec import CorpusSpec
from pipelines.text.tokenization import END, Tokenizer
from pipelines.text.windows import Windows

__all__ = ["CorpusPipeline", "CorpusSpec"]


class CorpusPipeline(Fitted):
    """Running text as batches `({"token_ids", "lengths"}, targets)`, the targets one token ahead.

    Row i of a batch goes on in row i of the next, so that a recurrent model may keep its states
    (truncated back-propagation through time). The end token stands behind each document, and before
    the first: it is what a new text begins from.

    Args:
        spec: The settings.
        tokenizer: A fitted one that they would make, to be kept; None finds a vocabulary in `fit`.

    Raises:
        ValueError: If the tokenizer is not what the settings ask for.
    """

    def __init__(self, spec: CorpusSpec | None = None, tokenizer: Tokenizer | None = None) -> None:
        self.spec = spec or CorpusSpec()
        super().__init__(self.spec.on_bad_input)
        self._given = None if tokenizer is None else tokenization.checked(tokenizer, self.spec)
        self.tokenizer = self._given or tokenization.of(self.spec)
        self.characters = dict.fromkeys(SPLITS, 0)
        self.origins: list[Origin] = []
        self._streams: dict[str, np.ndarray] = {}
        self._seed = 0
        self._fitted = False

    def fit(self, data: str, seed: int = 0, progress: Progress | None = None) -> CorpusPipeline:
        """Reads and splits some text, and finds the vocabulary of the training split.

        Args:
            data: A text file, or one with a column of documents (CSV, TSV, JSONL, Parquet); a
                folder of them; TRAIN,TEST or TRAIN,VALIDATION,TEST; or `tfds:NAME[/CONFIG]`. Splits
                that the data do not name are the last parts of the training text. See
                `sources.find` for how splits are named.
            seed: Kept with the state; nothing here is drawn by chance.
            progress: Called with (done, total) lines.

        Returns:
            The pipeline itself.

        Raises:
            FileNotFoundError: If a file is absent.
            ValueError: If there is no usable text, a column is absent, or any input is bad where
                `on_bad_input` is "stop".
        """
        self._fitted, self._seed = False, seed
        return self._reread(data, False, progress)

    @property
    def fitted(self) -> bool:
        """Whether the vocabulary is known."""
        return self._fitted

    @property
    def vocabulary(self) -> list[str]:
        """All tokens in the order of their ids."""
        return self.tokenizer.vocabulary

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of what may come next: the tokens, line ends written as in Python."""
        return tuple(tokenization.escaped(token) for token in self.vocabulary)

    @property
    def splits(self) -> dict[str, int]:
        """How many tokens each split has, end tokens included, each of which is predicted."""
        return {split: max(0, len(self._streams.get(split, ())) - 1) for split in SPLITS}

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec]:
        """The batches' types: ids and targets (batch, sequence_length), lengths, all int32."""
        ids = tf.TensorSpec([None, self.spec.sequence_length], tf.int32)
        return {"token_ids": ids, "lengths": tf.TensorSpec([None], tf.int32)}, ids

    def dataset(
        self,
        split: str,
        batch_size: int,
        *,
        training: bool = False,
        seed: int = 0,
        epoch: tf.Variable | int = 0,
        repeat: bool = False,
    ) -> tf.data.Dataset:
        """Windows of a split in order: row i of each batch continues row i of the one before.

        Args:
            split: "train", "validation" or "test".
            batch_size: Rows that the stream is laid out in.
            training: Full windows only, from a start that (seed, epoch) draws among those that
                leave as many; what is left over at both ends is `remainder`. Otherwise every token
                is predicted exactly once, and the last windows are padded: to the end of a row, or
                whole rows where there is less text than rows.
            seed: The run's seed.
            epoch: Which pass this is. A variable (on the CPU) is read anew by each iteration, so
                that one dataset object serves all epochs.
            repeat: Go on with the passes that follow, without end and without a pause between
                two; states should be forgotten every `num_batches`.

        Returns:
            A dataset of `({"token_ids": int32 (batch, sequence_length), "lengths": int32 (batch,)},
            targets int32 (batch, sequence_length))`.

        Raises:
            ValueError: If the split is unknown or empty, or too short for `batch_size` rows.
        """
        laid = self._windows(split, batch_size, training)
        stream = self._streams[split]

        def cut(now: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, ...]:
            draw = np.random.default_rng([seed, int(now)])
            return laid.cut(stream, int(number), int(draw.integers(laid.spare + 1)))

        def one_pass(now: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.range(len(laid)).map(lambda number: (now, number))

        def load(now: tf.Tensor, number: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            ids, lengths, targets = tf.numpy_function(cut, [now, number], [tf.int32] * 3)
            shape = [None, self.spec.sequence_length]
            inputs = {
                "token_ids": tf.ensure_shape(ids, shape),  # (batch, sequence_length)
                "lengths": tf.ensure_shape(lengths, [None]),
            }
            return inputs, tf.ensure_shape(targets, shape)

        made = batches.passes(one_pass, epoch, repeat)
        made = made.map(load, num_parallel_calls=cores())
        return made_ahead(made, len(laid), repeat)

    def texts(self, split: str, batch_size: int) -> Iterator[str]:
        """The texts of a split's windows, in the order of `dataset` outside training.

        Args:
            split: "train", "validation" or "test".
            batch_size: As in `dataset`.
        """
        for inputs, _ in self.dataset(split, batch_size).as_numpy_iterator():
            for ids, length in zip(inputs["token_ids"], inputs["lengths"], strict=True):
                if length:
                    yield self.tokenizer.decode(ids[:length].tolist())

    def num_batches(self, split: str, batch_size: int, *, training: bool | None = None) -> int:
        """How many batches a pass over a split has.

        Args:
            split: "train", "validation" or "test".
            batch_size: Rows that the stream is laid out in.
            training: As in `dataset`; None stands for true of the training split alone.

        Raises:
            ValueError: If the split is unknown or empty, or too short for `batch_size` rows.
        """
        training = split == "train" if training is None else training
        return len(self._windows(split, batch_size, training))

    def remainder(self, batch_size: int) -> int:
        """How many tokens of the training split a training pass does not predict."""
        return self._windows("train", batch_size, True).spare

    def encode(self, *raw: str | Path) -> dict[str, np.ndarray]:
        """Makes the inputs of one batch: the ids of whole texts, each behind an end token.

        Args:
            *raw: Texts, or paths of `.txt` files. An empty text is a beginning like any other.

        Returns:
            `{"token_ids": int32 (batch, timesteps), "lengths": int32 (batch,)}`.

        Raises:
            ValueError: If a file is empty or no UTF-8.
        """
        token_ids, lengths = self.tokens_of([files.text_of(x, self.spec.encoding) for x in raw])
        return {"token_ids": token_ids, "lengths": lengths}

    def tokens_of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Padded ids, int32 (batch, timesteps), and lengths of texts, whatever they look like."""
        ids = [np.array([END, *self.tokenizer.encode(text)], np.int32) for text in texts]
        return store.padded_with_lengths(ids)

    def graph(self) -> BehindEnd:
        """`encode` as TensorFlow operations, from string (batch,) to token ids and lengths."""
        return BehindEnd(self.tokenizer.graph())

    def save(self, folder: str | Path) -> None:
        """Writes vocabulary, settings and splits; the text stays where it is.

        Args:
            folder: Made if absent; takes `vocabulary.txt`, `tokenizer.json`, `pipeline.json` and
                `splits.csv`, a line for what each split has of each file.
        """
        folder = Path(folder)
        self.tokenizer.save(folder)
        state.save(folder, self.spec, self._seed)
        with open(folder / "splits.csv", "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(Origin._fields)
            rows.writerows(self.origins)

    @classmethod
    def load(cls, folder: str | Path) -> CorpusPipeline:
        """Reads what `save` wrote; `open` then attaches data.

        Raises:
            FileNotFoundError: If the folder holds no pipeline.
        """
        folder = Path(folder)
        spec, seed = state.load(folder, CorpusSpec)
        pipeline = cls(spec)
        pipeline._seed, pipeline._fitted = seed, True
        pipeline.tokenizer = tokenization.load(folder)
        return pipeline

    def _read(self, data: str, test_only: bool, progress: Progress | None) -> None:
        """Reads and encodes `data`, and warns of what was skipped."""
        documents = Documents(data, self.spec, self._bad, test_only)
        self._bad.warn()
        if not self._fitted and self._given is None:
            trained = (piece.text for piece in documents if piece.split == "train")
            self.tokenizer = tokenization.of(self.spec).fit(trained)
        self.origins = []
        numbers = itertools.count(1)

        def tell() -> None:
            if progress:
                progress(min(next(numbers), len(documents)), len(documents))

        self._streams = {
            split: store.collect(self._encoded(documents, split, tell)).values for split in SPLITS
        }
        self.characters = {
            split: sum(origin.characters for origin in self.origins if origin.split == split)
            for split in SPLITS
        }
        self._fitted = self._fitted or self.splits["train"] > 0
        if not self._fitted or not any(self.splits.values()):
            raise ValueError(
                f"{data}: there must be some usable text, for training to begin with. Received: "
                f"{self.splits}."
            )

    def _encoded(
        self, documents: Documents, split: str, tell: Callable[[], None]
    ) -> Iterator[list[int]]:
        """The ids of a split's pieces, and before them the end token that a text begins from."""
        yield [END]
        pieces = (piece for piece in documents if piece.split == split)
        for path, group in itertools.groupby(pieces, key=lambda piece: piece.path):
            ended = tokens = characters = 0
            digest = hashlib.sha1()
            for piece in group:
                ids = self.tokenizer.encode(piece.text) + [END] * piece.ends
                digest.update(piece.text.encode())
                ended, tokens = ended + piece.ends, tokens + len(ids)
                characters += len(piece.text)
                yield ids
                tell()
            self.origins.append(
                Origin(path, split, ended, tokens, characters, digest.hexdigest()[:12])
            )

    def _windows(self, split: str, batch_size: int, training: bool) -> Windows:
        batches.check_split(split, self.splits)
        lay_out = windows.full_ones if training else windows.all_of
        return lay_out(len(self._streams[split]), batch_size, self.spec.sequence_length)
