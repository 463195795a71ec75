"""The vocabulary of subwords, trained by the library `tokenizers`, which nothing else needs."""

from __future__ import annotations

from collections import Counter

CONTINUED = "##"  # begins the subwords that do not begin a word, as in WordPiece


def train(counts: Counter[str], size: int, min_count: int) -> list[str]:
    """Finds the pieces of WordPiece: characters, and then what they are merged to.

    Args:
        counts: How often each word occurs.
        size: Pieces that there may be.
        min_count: How often a piece must occur.

    Returns:
        The pieces; those within words begin with `CONTINUED`.

    Raises:
        ModuleNotFoundError: If the package `tokenizers` is not installed.
    """
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`tokens=subwords` needs the package tokenizers. Run: pip install tokenizers"
        ) from error
    alphabet = _alphabet(counts, max(1, size // 2), min_count)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_count,
        # Given in this order, or the library numbers them by chance and breaks ties by number.
        special_tokens=alphabet,
        continuing_subword_prefix=CONTINUED,
        show_progress=False,
    )
    trained = Tokenizer(models.WordPiece())
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    known = {piece.removeprefix(CONTINUED) for piece in alphabet}
    usable = (word for word in counts if known.issuperset(word))
    trained.train_from_iterator((f"{word} " * counts[word] for word in usable), trainer)
    found = trained.get_vocab()
    return sorted(found, key=lambda piece: found[piece])[:size]


def most_common(counts: Counter[str], size: int, min_count: int) -> list[str]:
    """The most frequent tokens first; equally frequent ones in the order of the alphabet."""
    frequent = [token for token, count in counts.items() if count >= min_count]
    return sorted(frequent, key=lambda token: (-counts[token], token))[:size]


def _alphabet(counts: Counter[str], size: int, min_count: int) -> list[str]:
    """The most frequent characters that begin words, and those within."""
    pieces: Counter[str] = Counter()
    for word, count in counts.items():
        pieces[word[0]] += count
        for character in word[1:]:
            pieces[CONTINUED + character] += count
    return sorted(most_common(pieces, size, min_count))
