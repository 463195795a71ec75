"""BLEU and chrF are sacrebleu's, with all references and with one at a time."""

from __future__ import annotations

import pytest
import sacrebleu

from rnnapp.translation_metrics import translation

SAID = ["Le chat est sur le tapis.", "Il pleut beaucoup ce soir."]
REFERENCES = [
    ["Le chat est assis sur le tapis.", "Le chat est sur le tapis."],
    ["Il pleut ce soir."],
]


def test_figures_are_those_of_sacrebleu() -> None:
    """A missing second reference is none; single figures count each pair of the data."""
    figures = translation(SAID, REFERENCES)
    streams = [[REFERENCES[0][0], REFERENCES[1][0]], [REFERENCES[0][1], None]]
    pairs = [SAID[0], SAID[0], SAID[1]], [[*REFERENCES[0], *REFERENCES[1]]]
    assert figures["bleu"] == pytest.approx(sacrebleu.corpus_bleu(SAID, streams).score)
    assert figures["chrf"] == pytest.approx(sacrebleu.corpus_chrf(SAID, streams).score)
    assert figures["bleu_single"] == pytest.approx(sacrebleu.corpus_bleu(*pairs).score)
    assert figures["chrf_single"] == pytest.approx(sacrebleu.corpus_chrf(*pairs).score)
    assert figures["bleu"] > figures["bleu_single"]


def test_signatures_say_how() -> None:
    """Case counts, and the number of references differs from sentence to sentence."""
    signatures = translation(SAID, REFERENCES, "char")["signature"]
    assert "nrefs:var|case:mixed|" in signatures["bleu"] and "tok:char" in signatures["bleu"]
    assert "nrefs:1|case:mixed|" in signatures["bleu_single"]


def test_case_counts() -> None:
    """A translation without capitals is not a perfect one."""
    perfect = translation([each[0] for each in REFERENCES], REFERENCES)
    lowered = translation([each[0].lower() for each in REFERENCES], REFERENCES)
    assert perfect["bleu"] == pytest.approx(100) and lowered["bleu"] < 90
