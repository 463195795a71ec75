"""BLEU and chrF of translations, by the package sacrebleu."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any


def translation(
    translations: Sequence[str], references: Sequence[Sequence[str]], tokenize: str = "13a"
) -> dict[str, Any]:
    """SacreBLEU (Post 2018, arXiv:1804.08771) and chrF (Popović 2015) of a corpus.

    Upper and lower case count, as in the references. A sentence is compared with all of its
    references at once; and, for the figures called single, as many times as it has references, each
    time with one of them, as where a data set is nothing but pairs.

    Args:
        translations: As they are shown to people.
        references: What translators wrote, one at least for each.
        tokenize: SacreBLEU's tokenizer, "13a", "intl", "char", "zh" or another one.

    Returns:
        `bleu`, `chrf`, `bleu_single` and `chrf_single`, in percent, with a `signature` of each that
        says how it was computed.
    """
    from sacrebleu.metrics import BLEU, CHRF

    counts = [len(each) for each in references]
    singly = [text for text, n in zip(translations, counts, strict=True) for _ in range(n)]
    measured = {
        "": (translations, [*map(list, itertools.zip_longest(*references))]),
        "_single": (singly, [list(itertools.chain(*references))]),
    }
    figures: dict[str, Any] = {}
    for name, make in (("bleu", lambda: BLEU(tokenize=tokenize)), ("chrf", CHRF)):
        for suffix, (texts, streams) in measured.items():
            metric = make()
            figures[name + suffix] = float(metric.corpus_score(texts, streams).score)
            signature = str(metric.get_signature())
            figures.setdefault("signature", {})[name + suffix] = signature
    return figures
