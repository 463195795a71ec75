"""Translations by beam search, on a Keras model, a server or a device alike."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.base import BadInputWarning
from pipelines.text import files
from pipelines.text.sides import Sides
from pipelines.text.spec import PairSpec
from pipelines.text.tokenization import BEGIN, END, PADDING, UNKNOWN
from rnnapp.device.beam_search import Hypothesis, Search, Signatures
from rnnapp.progress import Report
from rnnapp.specs import DecodingSpec

BATCH = 64  # sentences that are searched side by side


class Translator:
    """Translates sentences.

    Args:
        model: Runs the signatures `encode` and `step`: an `EncodeStep`, or an exported file.
        tokenizer: Of both sides, the one that it was trained with.
        pipeline: How sources are read.
        spec: How to search.
    """

    def __init__(
        self, model: Signatures, tokenizer: Sides, pipeline: PairSpec, spec: DecodingSpec
    ) -> None:
        self.model, self.tokenizer, self.pipeline, self.spec = model, tokenizer, pipeline, spec

    def search(
        self,
        sources: Sequence[str],
        n_best: int = 1,
        report: Report = lambda done, total: None,
    ) -> list[list[Hypothesis]]:
        """Searches for translations.

        Args:
            sources: Sentences.
            n_best: Translations of each that are wanted.
            report: Told of sources that are translated.

        Returns:
            For each source its `n_best` hypotheses, the best first.

        Raises:
            ValueError: If a source is empty or too long.
        """
        spec = self.spec
        search = Search(
            BEGIN,
            END,
            spec.beam_size,
            spec.length_penalty,
            spec.coverage_penalty,
            (PADDING, UNKNOWN, BEGIN),
            n_best,
        )
        found: list[list[Hypothesis]] = [[] for _ in sources]
        done = 0
        for rows, source_ids, lengths in self._batches(sources):
            limits = (lengths * spec.max_length_ratio).astype(int) + spec.max_length_extra
            best = search(self.model, source_ids, lengths, limits)
            for row, hypotheses in zip(rows, best, strict=True):
                found[row] = hypotheses
            done += len(rows)
            report(done, len(sources))
        return found

    def read(self, inputs: Sequence[str | os.PathLike]) -> list[str]:
        """What sentences say, or `.txt` files.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a file is no UTF-8, or one is empty or too long to be translated.
        """
        texts = [files.text_of(os.fspath(each), self.pipeline.encoding) for each in inputs]
        source_ids, _ = self.tokenizer.encode(texts, self.pipeline.max_tokens)
        if unknown := int((source_ids == UNKNOWN).sum()):
            warnings.warn(
                f"{unknown} of {(source_ids != PADDING).sum()} tokens are not in the vocabulary: "
                "the model reads them as unknown ones.",
                BadInputWarning,
                2,
            )
        return texts

    def answers(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Translates for people.

        Args:
            texts: Sentences.

        Returns:
            For each the best translation, `text` with its `score`, and the beam's others,
            `alternatives`.
        """
        return [self._answer(beam) for beam in self.search(texts, self.spec.beam_size)]

    def _answer(self, beam: list[Hypothesis]) -> dict[str, Any]:
        best, *others = (
            {"text": self.tokenizer.spell(each.token_ids), "score": each.score} for each in beam
        )
        return {**best, "alternatives": others}

    def _batches(
        self, sources: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Sources of similar length together: their numbers, token ids and lengths."""
        order = np.argsort([len(source) for source in sources], kind="stable")
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            texts = [sources[row] for row in rows]
            yield rows, *self.tokenizer.encode(texts, self.pipeline.max_tokens)
