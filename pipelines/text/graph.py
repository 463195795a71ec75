"""Tokenizers as TensorFlow's core operations: what `tokenization` does, within a SavedModel.

Nothing here needs an operation beyond TensorFlow's own, so that TF Serving and the C API load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from pipelines.text import unicode
from pipelines.text.tokenization import CONTINUED, END, MAX_WORD, UNKNOWN

if TYPE_CHECKING:
    from pipelines.text.tokenization import SubwordTokenizer, Tokenizer, WordTokenizer

_NONE = np.int64(-1)
_LONGEST_DECOMPOSITION = 4  # code points, in all of Unicode


class Normalizer(tf.Module):
    """`unicode.normalize` in the graph, by tables of the Unicode of the Python that made it.

    Args:
        lowercase: Whether text is lowercased.
    """

    def __init__(self, lowercase: bool) -> None:
        super().__init__()
        tables = unicode.normal_tables(lowercase)
        rows = [
            parts + (-1,) * (_LONGEST_DECOMPOSITION - len(parts))
            for parts in tables.decomposed.values()
        ]
        self._parts = tf.constant(rows, tf.int32)  # (changing code points, parts)
        self._row = _table({code: row for row, code in enumerate(tables.decomposed)}, -1)
        self._class = _table(tables.classes, 0)
        composed = tables.composed.items()
        self._composed = _table({_pair(first, last): code for (first, last), code in composed})
        # They have no combining class, and yet compose with the code point before them.
        seconds = {last for _, last in tables.composed} - set(tables.classes)
        self._joins = _table(dict.fromkeys(seconds, 1), 0)

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The code points of normalized texts.

        Args:
            texts: String (batch,).

        Returns:
            Code points, ragged int32 (batch, None).
        """
        codes = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        return self._compose(self._order(self._decompose(codes)))

    def _decompose(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        """Replaces each code point by its full decomposition."""
        flat = codes.flat_values  # (code points,)
        row = self._row.lookup(tf.cast(flat, tf.int64))
        itself = tf.pad(
            flat[:, None], [[0, 0], [0, _LONGEST_DECOMPOSITION - 1]], constant_values=-1
        )
        parts = tf.where(row[:, None] >= 0, tf.gather(self._parts, tf.maximum(row, 0)), itself)
        return _masked(codes.with_flat_values(parts), parts >= 0)

    def _order(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        """Sorts the marks after each base by their combining class, as canonical ordering does."""
        flat = codes.flat_values
        combining = self._class.lookup(tf.cast(flat, tf.int64))
        base = tf.cumsum(tf.cast((combining == 0) | _begins(codes), tf.int64))
        order = tf.argsort(256 * base + combining, stable=True)
        return codes.with_flat_values(tf.gather(flat, order))

    def _compose(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        """Composes each starter with what follows it, where nothing blocks it.

        The algorithm of Unicode Standard Annex 15, on all stretches at once that begin with a
        code point which joins nothing before it.
        """
        flat = codes.flat_values
        wide = tf.cast(flat, tf.int64)
        combining = self._class.lookup(wide)
        joins = (combining > 0) | (self._joins.lookup(wide) > 0)
        begin = tf.where(~joins | _begins(codes))[:, 0]  # (stretches,)
        end = tf.concat([begin[1:], tf.size(wide, tf.int64)[None]], 0)[: tf.size(begin)]

        def step(
            k: tf.Tensor, wide: tf.Tensor, starter: tf.Tensor, last: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            rows = tf.where(begin + k < end)  # stretches that are that long, (rows, 1)
            here = tf.gather_nd(begin, rows) + k
            start, before = tf.gather_nd(starter, rows), tf.gather_nd(last, rows)
            code, kind = tf.gather(wide, here), tf.gather(combining, here)
            whole = self._composed.lookup(_pair(tf.gather(wide, start), code))
            joined = (whole >= 0) & ((before < kind) | (before == 0))
            wide = tf.tensor_scatter_nd_update(wide, here[:, None], tf.where(joined, _NONE, code))
            wide = tf.tensor_scatter_nd_update(
                wide, start[:, None], tf.where(joined, whole, tf.gather(wide, start))
            )
            start = tf.where(~joined & (kind == 0), here, start)
            starter = tf.tensor_scatter_nd_update(starter, rows, start)
            last = tf.tensor_scatter_nd_update(last, rows, tf.where(joined, before, kind))
            return k + 1, wide, starter, last

        # A mark with no base before it is no starter.
        last = tf.cast(tf.where(tf.gather(combining, begin) > 0, 256, 0), tf.int64)
        longest = tf.reduce_max(tf.concat([end - begin, [np.int64(0)]], 0))
        state = (tf.constant(1, tf.int64), wide, begin, last)
        _, wide, _, _ = tf.while_loop(lambda k, *_: k < longest, step, state)
        return _masked(codes.with_flat_values(tf.cast(wide, tf.int32)[:, None]), wide[:, None] >= 0)


class TokenizerGraph(tf.Module):
    """A tokenizer in the graph: texts to padded token ids.

    Args:
        tokenizer: The fitted tokenizer.
        max_tokens: Longest sequence; longer ones are cut. None sets no limit.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int | None = None) -> None:
        super().__init__()
        self._max_tokens = max_tokens
        self._normalizer = Normalizer(tokenizer.lowercase)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def __call__(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The token ids of texts.

        Args:
            texts: UTF-8 string (batch,).

        Returns:
            Token ids int32 (batch, timesteps), padded on the right, and lengths int32 (batch,).
        """
        ids = self._ids(self._normalizer(texts))[:, : self._max_tokens]  # ragged (batch, None)
        padded = ids.to_tensor()
        missing = tf.maximum(1 - tf.shape(padded)[1], 0)  # models need a timestep
        padded = tf.pad(padded, [[0, 0], [0, missing]])
        return padded, tf.cast(ids.row_lengths(), tf.int32)

    def _ids(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        raise NotImplementedError


class BehindEnd(tf.Module):
    """Puts an end token before each text, as running text has it.

    Args:
        read: A tokenizer's graph.
    """

    def __init__(self, read: TokenizerGraph) -> None:
        super().__init__()
        self._read = read

    def __call__(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `TokenizerGraph`, with one token more for each text."""
        ids, lengths = self._read(texts)
        first = tf.fill((tf.shape(ids)[0], 1), END)
        return tf.concat([first, ids], axis=1), lengths + 1


class CharacterGraph(TokenizerGraph):
    """`tokenization.CharacterTokenizer` in the graph; arguments as `TokenizerGraph`."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int | None = None) -> None:
        super().__init__(tokenizer, max_tokens)
        characters = {ord(c): number for c, number in tokenizer.ids.items() if len(c) == 1}
        self._table = _table(characters, UNKNOWN)

    def _ids(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        ids = self._table.lookup(tf.cast(codes.flat_values, tf.int64))
        return codes.with_flat_values(tf.cast(ids, tf.int32))


class WordGraph(TokenizerGraph):
    """`tokenization.WordTokenizer` in the graph; arguments as `TokenizerGraph`."""

    def __init__(self, tokenizer: WordTokenizer, max_tokens: int | None = None) -> None:
        super().__init__(tokenizer, max_tokens)
        # Every character is part of a token or whitespace, so this leaves tokens between spaces.
        self._pattern = f"({tokenizer.pattern()})|[{unicode.space_ranges()}]"
        self._table = _table(tokenizer.ids, UNKNOWN)

    def _words(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        """The words of texts, ragged string (batch, None)."""
        texts = tf.strings.unicode_encode(codes, "UTF-8")
        return tf.strings.split(tf.strings.regex_replace(texts, self._pattern, r"\1 "))

    def _ids(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        words = self._words(codes)
        ids = self._table.lookup(words.flat_values)
        return words.with_flat_values(tf.cast(ids, tf.int32))


class SubwordGraph(WordGraph):
    """`tokenization.SubwordTokenizer` in the graph; arguments as `TokenizerGraph`."""

    def __init__(self, tokenizer: SubwordTokenizer, max_tokens: int | None = None) -> None:
        super().__init__(tokenizer, max_tokens)
        self._table = _table(tokenizer.ids)
        self._spans = tf.range(tokenizer.longest_piece, 0, -1)

    def _ids(self, codes: tf.RaggedTensor) -> tf.RaggedTensor:
        words = self._words(codes)
        distinct, place = tf.unique(words.flat_values)
        pieces = tf.gather(self._pieces(distinct), place)  # ragged (words, None)
        return words.with_flat_values(pieces).merge_dims(1, 2)

    def _pieces(self, words: tf.Tensor) -> tf.RaggedTensor:
        """The longest pieces of each word, one after another, from its beginning on."""
        sizes = tf.strings.length(words, "UTF8_CHAR")
        sizes = tf.where(sizes <= MAX_WORD, sizes, 0)  # too long: nothing to match

        def step(position: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.where(position < sizes)  # words of which something is left, (rows, 1)
            begin = tf.gather_nd(position, rows)
            piece, span = self._longest(
                tf.gather_nd(words, rows), begin, tf.gather_nd(sizes, rows) - begin
            )
            # What matches nowhere is done: its position goes beyond the word.
            position = tf.tensor_scatter_nd_add(
                position, rows, tf.where(piece >= 0, span, 2 * MAX_WORD)
            )
            found = tf.scatter_nd(rows, piece + 1, tf.shape(sizes, tf.int64)) - 1
            return position, tf.concat([ids, found[:, None]], 1)

        none = tf.zeros([tf.size(sizes), 0], tf.int32)
        position, ids = tf.while_loop(
            lambda position, ids: tf.reduce_any(position < sizes),
            step,
            (tf.zeros_like(sizes), none),
            shape_invariants=(sizes.shape, tf.TensorShape([None, None])),
        )  # ids (words, pieces), -1 where there is none
        whole = (position == sizes) & (sizes > 0)
        unknown = tf.where(whole, -1, UNKNOWN)[:, None]
        ids = tf.concat([unknown, tf.where(whole[:, None], ids, -1)], 1)
        return tf.ragged.boolean_mask(ids, ids >= 0)

    def _longest(
        self, words: tf.Tensor, begin: tf.Tensor, left: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The longest piece at a place of each word, -1 if none, and its characters."""
        spans = tf.minimum(self._spans, left[:, None])  # (words, spans)
        places = tf.broadcast_to(begin[:, None], tf.shape(spans))
        parts = tf.strings.substr(words[:, None], places, spans, "UTF8_CHAR")
        mark = tf.where(begin > 0, CONTINUED, "")[:, None]
        pieces = tf.cast(self._table.lookup(mark + parts), tf.int32)
        first = tf.argmax(pieces >= 0, axis=1)
        return tf.gather(pieces, first, batch_dims=1), tf.gather(spans, first, batch_dims=1)


GRAPHS: dict[str, type[Any]] = {
    "characters": CharacterGraph,
    "words": WordGraph,
    "whitespace": WordGraph,
    "subwords": SubwordGraph,
}


def _table(entries: Mapping[Any, int], default: int = -1) -> tf.lookup.StaticHashTable:
    """A look-up table from integers or strings to int64."""
    strings = any(isinstance(key, str) for key in entries)
    keys = tf.constant([*entries], tf.string if strings else tf.int64)
    values = tf.constant([*entries.values()], tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default)


def _pair(first: Any, last: Any) -> Any:
    """Two code points, of 21 bits at most, as one integer."""
    return first * 2**21 + last


def _begins(rows: tf.RaggedTensor) -> tf.Tensor:
    """Whether each value is the first of its row, bool (values,)."""
    count = tf.shape(rows.flat_values, tf.int64)[0]
    first = tf.boolean_mask(rows.row_starts(), rows.row_lengths() > 0)
    return tf.scatter_nd(first[:, None], tf.ones_like(first), count[None]) > 0


def _masked(rows: tf.RaggedTensor, mask: tf.Tensor) -> tf.RaggedTensor:
    """Keeps some of the values (values, parts) of each row, as a row of one dimension."""
    counts = tf.reduce_sum(tf.cast(mask, tf.int64), axis=1)
    kept = tf.reduce_sum(rows.with_flat_values(counts), axis=1)
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(rows.flat_values, mask), kept)
