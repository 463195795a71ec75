"""Beam search over whatever runs the signatures `encode` and `step`, in NumPy alone.

`encode` maps `source_ids`, int32 (batch, timesteps), and `source_lengths`, int32 (batch,), to named
tensors. `step` maps these and `token_ids`, int32 (batch,), the tokens that were said last, to
`logits`, (batch, vocabulary); maybe `attention`, (batch, timesteps); and new values of some of
the tensors NAME, as `next_NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rnnapp.device.stepper import NEXT

Arrays = dict[str, np.ndarray]
NEVER = -np.inf


class Signatures(Protocol):
    """What runs `encode` and `step`, on any number of rows."""

    def run(self, signature: str, /, **inputs: np.ndarray) -> Arrays:
        """Run a signature once."""


@dataclass(frozen=True)
class Hypothesis:
    """A translation that was found.

    Args:
        token_ids: its tokens, without begin and end.
        score: what the search maximises.
        log_probability: of the tokens and, where it was reached, the end.
        ended: whether the end was reached; otherwise the longest length was.
        attention: what each token, and the end, attended to, (tokens, source timesteps); None of a
            model without attention.
    """

    token_ids: list[int]
    score: float
    log_probability: float
    ended: bool
    attention: np.ndarray | None


@dataclass(frozen=True)
class Search:
    """How to search.

    A hypothesis of log-probability p and n tokens, the end among them, has the score

        p / ((5 + n) / 6) ** length_penalty
          + coverage_penalty * sum over source tokens of log(min(attention they got, 1))

    (Wu et al. 2016, arXiv:1609.08144). A hypothesis that ends takes one of the beam's places, so
    that a beam of one is greedy. What a greedy search finds is always among the candidates: no
    larger beam has a worse score than a beam of one.

    Args:
        begin: the token that every target begins with.
        end: the token that ends it.
        beam_size: hypotheses that are followed.
        length_penalty: exponent by which longer hypotheses may be less probable; 0 for none.
        coverage_penalty: how much it counts that each source token was attended to.
        forbidden: tokens that are never said, such as padding.
        n_best: hypotheses of each source that are wanted.
        early_stop: stop a source's search once nothing can change its `n_best` any more.
    """

    begin: int
    end: int
    beam_size: int = 4
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    forbidden: tuple[int, ...] = ()
    n_best: int = 1
    early_stop: bool = True

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: one is out of range.
        """
        rules = {
            "beam_size": (self.beam_size > 0, "a positive integer"),
            "n_best": (0 < self.n_best <= self.beam_size, f"from 1 to beam_size={self.beam_size}"),
            "length_penalty": (self.length_penalty >= 0, "zero or more"),
            "coverage_penalty": (self.coverage_penalty >= 0, "zero or more"),
            "forbidden": (self.end not in self.forbidden, f"without the end token, {self.end}"),
        }
        for name, (good, must) in rules.items():
            if not good:
                raise ValueError(f"`{name}` must be {must}. Received: {name}={getattr(self, name)}")

    def __call__(
        self,
        model: Signatures,
        source_ids: np.ndarray,
        source_lengths: np.ndarray,
        max_lengths: Sequence[int] | np.ndarray,
    ) -> list[list[Hypothesis]]:
        """Translate a batch.

        Args:
            model: what runs `encode` and `step`.
            source_ids: int32 (batch, timesteps), padded on the right.
            source_lengths: true lengths, int32 (batch,).
            max_lengths: the most tokens that a translation may have, the end among them, (batch,).

        Returns:
            The `n_best` hypotheses of each source, or fewer if there are no more, the best first.

        Raises:
            ValueError: a source is empty or a longest length is; or coverage counts and the model
                has no attention.
        """
        lengths, limits = np.asarray(source_lengths), np.asarray(max_lengths)
        for name, values in (("source_lengths", lengths), ("max_lengths", limits)):
            if len(values) != len(source_ids) or (values < 1).any():
                raise ValueError(
                    f"`{name}` must be a positive integer for each of {len(source_ids)} sources. "
                    f"Received: {values.tolist()}"
                )
        memory = model.run("encode", source_ids=source_ids, source_lengths=lengths)
        found: list[list[Hypothesis]] = [[] for _ in limits]
        for width in {self.beam_size, 1}:
            beams = _Beams(self, width, memory, lengths, limits)
            while beams.sources.size:
                beams.advance(model)
            for number, each in enumerate(beams.found):
                found[number] += each
        return [self._best(each) for each in found]

    def score(self, log_probability: float, tokens: int, covered: np.ndarray | None) -> float:
        """Score a hypothesis.

        Args:
            log_probability: of all its tokens.
            tokens: how many there are, the end among them.
            covered: the sum of attention that each true source token got; None if unknown.

        Returns:
            The score.
        """
        score = log_probability / ((5 + tokens) / 6) ** self.length_penalty
        if self.coverage_penalty and covered is not None:
            score += self.coverage_penalty * np.log(np.clip(covered, 1e-9, 1)).sum()
        return float(score)

    def _best(self, found: list[Hypothesis]) -> list[Hypothesis]:
        """The best of what was found, each once."""
        known = {(*each.token_ids, each.ended): each for each in found}
        return sorted(known.values(), key=lambda each: -each.score)[: self.n_best]


class _Beams:
    """The hypotheses of a batch, (sources, width), from which sources leave when they are done."""

    def __init__(
        self, search: Search, width: int, memory: Arrays, lengths: np.ndarray, limits: np.ndarray
    ) -> None:
        count = len(lengths)
        self.search, self.width = search, width
        self.found: list[list[Hypothesis]] = [[] for _ in range(count)]
        self.sources = np.arange(count)  # those that are not done
        self.lengths, self.limits = lengths, limits
        self.memory = {name: np.repeat(value, width, axis=0) for name, value in memory.items()}
        # One hypothesis at first: places that are not taken have a probability of zero.
        self.log_probabilities = np.full((count, width), NEVER)
        self.log_probabilities[:, 0] = 0.0
        self.token_ids = np.full((count, width, 1), search.begin, np.int32)
        self.attention: np.ndarray | None = None  # (sources, width, tokens, timesteps)

    def advance(self, model: Signatures) -> None:
        """Say one more token in every hypothesis."""
        last = self.token_ids[:, :, -1].reshape(-1)
        outputs = model.run("step", token_ids=last, **self.memory)
        parents, tokens = self._choose(outputs["logits"])
        rows = (np.arange(len(parents))[:, None] * self.width + parents).reshape(-1)
        for name in self.memory:
            if NEXT + name in outputs:
                self.memory[name] = outputs[NEXT + name][rows]
        grown = np.take_along_axis(self.token_ids, parents[:, :, None], axis=1)
        self.token_ids = np.concatenate([grown, tokens[:, :, None].astype(np.int32)], axis=2)
        self._attend(outputs.get("attention"), parents, rows)
        self._collect(tokens)

    def _choose(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The most probable continuations: which hypothesis each is of, and its token."""
        next_log = _log_softmax(logits.astype(np.float64))
        next_log[:, list(self.search.forbidden)] = NEVER
        size = next_log.shape[-1]
        totals = self.log_probabilities[:, :, None] + next_log.reshape(-1, self.width, size)
        totals = totals.reshape(len(totals), -1)  # (sources, width * vocabulary)
        top = np.argpartition(-totals, self.width - 1, axis=1)[:, : self.width]
        top.sort(axis=1)  # so that equal ones come in the order of their tokens
        chosen = np.take_along_axis(totals, top, axis=1)
        order = np.argsort(-chosen, axis=1, kind="stable")
        top = np.take_along_axis(top, order, axis=1)
        chosen = np.take_along_axis(chosen, order, axis=1)
        # Each hypothesis that has ended keeps a place of the beam.
        places = self.width - np.array([len(self.found[source]) for source in self.sources])
        chosen[np.arange(self.width) >= places[:, None]] = NEVER
        self.log_probabilities = chosen
        return top // size, top % size

    def _attend(self, weights: np.ndarray | None, parents: np.ndarray, rows: np.ndarray) -> None:
        """Write down what the new tokens attended to."""
        if weights is None:
            if self.search.coverage_penalty:
                raise ValueError(
                    "`coverage_penalty` must be 0 for a model without attention. Received: "
                    f"coverage_penalty={self.search.coverage_penalty}"
                )
            return
        new = weights[rows].reshape(*parents.shape, 1, -1)
        if self.attention is not None:
            old = np.take_along_axis(self.attention, parents[:, :, None, None], axis=1)
            new = np.concatenate([old, new], axis=2)
        self.attention = new

    def _collect(self, tokens: np.ndarray) -> None:
        """Take ended hypotheses out of the beams, and sources that are done out of the batch."""
        count = self.token_ids.shape[2] - 1
        taken = self.log_probabilities > NEVER
        ended = taken & (tokens == self.search.end)
        done = ended | (taken & (count >= self.limits)[:, None])
        for row, place in np.argwhere(done):
            found = self._hypothesis(row, place, bool(ended[row, place]))
            self.found[self.sources[row]].append(found)
        self.log_probabilities[done] = NEVER
        going_on = (taken & ~done).any(axis=1)
        if self.search.early_stop:
            going_on &= [not self._decided(row) for row in range(len(going_on))]
        self._keep(going_on)

    def _hypothesis(self, row: int, place: int, ended: bool) -> Hypothesis:
        token_ids = self.token_ids[row, place, 1:].tolist()
        log_probability = float(self.log_probabilities[row, place])
        attention = covered = None
        if self.attention is not None:
            attention = self.attention[row, place, :, : self.lengths[row]].copy()
            covered = attention.sum(axis=0)
        score = self.search.score(log_probability, len(token_ids), covered)
        said = token_ids[:-1] if ended else token_ids
        return Hypothesis(said, score, log_probability, ended, attention)

    def _decided(self, row: int) -> bool:
        """Whether nothing that a source's hypotheses may become can be among its best."""
        wanted = min(self.search.n_best, self.width)
        scores = sorted(each.score for each in self.found[self.sources[row]])[-wanted:]
        # More tokens make none more probable, and the best coverage costs nothing.
        most_probable = float(self.log_probabilities[row].max())
        reachable = self.search.score(most_probable, int(self.limits[row]), None)
        return len(scores) == wanted and reachable <= scores[0]

    def _keep(self, going_on: np.ndarray) -> None:
        """Leave sources that are done out of all that follows."""
        if going_on.all():
            return
        rows = np.repeat(going_on, self.width)
        self.memory = {name: value[rows] for name, value in self.memory.items()}
        self.sources, self.lengths = self.sources[going_on], self.lengths[going_on]
        self.limits, self.token_ids = self.limits[going_on], self.token_ids[going_on]
        self.log_probabilities = self.log_probabilities[going_on]
        if self.attention is not None:
            self.attention = self.attention[going_on]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
