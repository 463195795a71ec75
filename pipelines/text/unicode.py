"""What all tokenizers do to text first, and the classes of characters that part words.

Both are tables of this Python's own Unicode version. The TensorFlow graph gets the same tables as
constants, so that it agrees with Python whatever version of Unicode TensorFlow was built with.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from dataclasses import dataclass

import numpy as np

_SURROGATES = re.compile("[\ud800-\udfff]")
_JOINERS = "'’‐‑·\u200c\u200d-"  # inside words: apostrophes, hyphens, middle dot, (non-)joiners


def normalize(text: str | bytes, lowercase: bool) -> str:
    """Brings text to the one form that tokenizers read.

    Bytes that are no UTF-8, and lone surrogates, become U+FFFD; each code point is lowercased
    by itself, if so wanted; then the text is composed (Unicode normalization form C).

    Args:
        text: Any text.
        lowercase: Whether to lowercase it.

    Returns:
        The text in that form.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if text.isascii():
        return text.lower() if lowercase else text
    text = _SURROGATES.sub("\ufffd", text)
    return unicodedata.normalize("NFC", text.translate(_lowered()) if lowercase else text)


@dataclass(frozen=True)
class NormalTables:
    """What normalization looks up, for one setting of `lowercase`.

    Args:
        decomposed: Code points that change, to their full decomposition after lowercasing.
        classes: Code points whose canonical combining class is not zero, to that class.
        composed: Pairs of code points that compose, to what they compose to.
    """

    decomposed: dict[int, tuple[int, ...]]
    classes: dict[int, int]
    composed: dict[tuple[int, int], int]


@functools.cache
def normal_tables(lowercase: bool) -> NormalTables:
    """The tables of this Python's version of Unicode, by asking it about every code point."""
    decomposed, classes, composed = {}, {}, {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.combining(character):
            classes[code] = unicodedata.combining(character)
        parts = unicodedata.normalize("NFD", character.lower() if lowercase else character)
        if parts != character:
            decomposed[code] = tuple(map(ord, parts))
        parts = unicodedata.normalize("NFD", character)
        if parts != character == unicodedata.normalize("NFC", character):
            first = unicodedata.normalize("NFC", parts[:-1])
            composed[ord(first), ord(parts[-1])] = code
    return NormalTables(decomposed, classes, composed)


@functools.cache
def word_pattern(last: int = sys.maxunicode) -> str:
    """The regular expression of words, alike for Python's `re` and for RE2.

    With L for letters, M for marks, N for numbers and S for whitespace, a token is the first of

    - a number with separators inside: `N+(?:[.,]N+)+`, as 3.14 or 1,000,000;
    - a word, with joiners inside: `[LN][LMN]*(?:['’-][LN][LMN]*)*`, as don't, well-known, 2nd;
    - any other character that is not whitespace, with the marks that follow it: `[^S]M*`.

    The classes are spelt out as ranges, for `re` knows no `\\p{L}`, and RE2 that of its own
    version of Unicode. What is written without spaces, such as Chinese or Thai, is one word.

    Args:
        last: The greatest code point that it must understand; `re` is the faster the fewer.

    Returns:
        The expression.
    """
    kinds = np.array([unicodedata.category(chr(c))[0] for c in range(last + 1)])
    number, mark = _ranges(kinds == "N"), _ranges(kinds == "M")
    word = f"[{_ranges(np.isin(kinds, ['L', 'N']))}][{_ranges(np.isin(kinds, ['L', 'M', 'N']))}]*"
    return (
        f"[{number}]+(?:[.,][{number}]+)+"
        f"|{word}(?:[{_JOINERS}]{word})*"
        f"|[^{space_ranges()}]{f'[{mark}]*' if mark else ''}"
    )


@functools.cache
def space_ranges() -> str:
    """Whitespace, as the ranges of a regular expression: what `str.isspace` says it is."""
    return _ranges(np.array([chr(c).isspace() for c in range(sys.maxunicode + 1)]))


@functools.cache
def _lowered() -> dict[int, str]:
    return {c: chr(c).lower() for c in range(sys.maxunicode + 1) if chr(c).lower() != chr(c)}


def _ranges(belongs: np.ndarray) -> str:
    """A class, given as a bool for each code point, as the ranges of a regular expression."""
    edges = np.flatnonzero(np.diff(belongs, prepend=False, append=False)).tolist()
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return "".join(f"{chr(first)}-{chr(after - 1)}" for first, after in pairs)
