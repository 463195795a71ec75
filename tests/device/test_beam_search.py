"""Beam search finds what looking at everything finds, and never less than greedy search."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.device.beam_search import Hypothesis, Search

BEGIN, END, VOCABULARY, TIMESTEPS = 0, 1, 4, 3
EVERYTHING = VOCABULARY**4  # more hypotheses than there are

Arrays = dict[str, np.ndarray]


class Drawn:
    """A recurrent translator with drawn weights; what it says depends on all it has said."""

    def __init__(self, seed: int, attends: bool = True, sharpness: float = 3.0) -> None:
        draw = np.random.default_rng(seed)
        self.of_source, self.of_token = draw.standard_normal((2, 9, 5))
        self.of_state, self.out = (
            draw.standard_normal((5, 5)),
            draw.standard_normal((5, VOCABULARY)),
        )
        self.attends, self.sharpness, self.rows = attends, sharpness, 0

    def run(self, signature: str, /, **inputs: np.ndarray) -> Arrays:
        """Either of the signatures."""
        if signature == "encode":
            memory = self.of_source[inputs["source_ids"]]  # (batch, timesteps, 5)
            valid = np.arange(memory.shape[1]) < inputs["source_lengths"][:, None]
            state = (memory * valid[..., None]).sum(axis=1)
            return {"memory": memory, "valid": valid, "state": state}
        self.rows += len(inputs["token_ids"])
        state = np.tanh(inputs["state"] @ self.of_state + self.of_token[inputs["token_ids"]])
        shares = np.exp(np.einsum("btf,bf->bt", inputs["memory"], state)) * inputs["valid"]
        attention = (
            {"attention": shares / shares.sum(axis=1, keepdims=True)} if self.attends else {}
        )
        return {"logits": self.sharpness * state @ self.out, "next_state": state, **attention}


def sources(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Padded sources, and their lengths."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 9, (count, TIMESTEPS)), draw.integers(1, TIMESTEPS + 1, count)


def search(model: Drawn, count: int = 1, seed: int = 0, limit: int = 4, **options: Any) -> Any:
    """The hypotheses of some sources."""
    ids, lengths = sources(count, seed)
    return Search(BEGIN, END, forbidden=(BEGIN,), **options)(model, ids, lengths, [limit] * count)


def exhaustive(model: Drawn, seed: int, limit: int, judge: Search) -> list[tuple[float, list[int]]]:
    """All that can be said, by score."""
    ids, lengths = sources(1, seed)
    found = []
    for size in range(1, limit + 1):
        for said in itertools.product(range(1, VOCABULARY), repeat=size):
            if END in said[:-1] or (said[-1] != END and size < limit):
                continue
            inputs, total, covered = (
                model.run("encode", source_ids=ids, source_lengths=lengths),
                0,
                0,
            )
            for last, token in itertools.pairwise((BEGIN, *said)):
                outputs = model.run("step", token_ids=np.array([last]), **inputs)
                inputs["state"] = outputs["next_state"]
                logits = outputs["logits"][0]
                total += logits[token] - np.log(np.exp(logits).sum())
                covered = covered + outputs["attention"][0, : lengths[0]]
            words = list(said[:-1] if said[-1] == END else said)
            found.append((judge.score(total, size, covered), words))
    return sorted(found, reverse=True)


PENALTIES = st.fixed_dictionaries(
    {
        "length_penalty": st.sampled_from([0.0, 0.6, 1.0]),
        "coverage_penalty": st.sampled_from([0.0, 0.4]),
    }
)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), penalties=PENALTIES, early_stop=st.booleans())
def test_a_wide_beam_finds_the_best_of_all(seed: int, penalties: Any, early_stop: bool) -> None:
    """In order, with the scores that the formula gives, whether or not it stops early."""
    model, wide = Drawn(seed), {"beam_size": EVERYTHING, "n_best": 5, "early_stop": early_stop}
    (found,) = search(model, seed=seed, **wide, **penalties)
    best = exhaustive(model, seed, 4, Search(BEGIN, END, **penalties))[:5]
    np.testing.assert_allclose([each.score for each in found], [score for score, _ in best])
    assert [each.token_ids for each in found] == [words for _, words in best]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    """Step by step the most probable token, to the end or to the longest length."""
    model, (ids, lengths) = Drawn(seed), sources(1, seed)
    inputs, said, total = model.run("encode", source_ids=ids, source_lengths=lengths), [BEGIN], 0.0
    while said[-1] != END and len(said) <= 6:
        outputs = model.run("step", token_ids=np.array(said[-1:]), **inputs)
        inputs["state"], logits = outputs["next_state"], outputs["logits"][0]
        said.append(1 + int(logits[1:].argmax()))
        total += logits[said[-1]] - np.log(np.exp(logits).sum())
    ((found,),) = search(model, seed=seed, limit=6, beam_size=1)
    assert found.ended == (said[-1] == END)
    assert found.token_ids == [token for token in said[1:] if token != END]
    assert found.log_probability == pytest.approx(total)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), penalties=PENALTIES, beam_size=st.integers(2, 5))
def test_no_beam_is_worse_than_greedy(seed: int, penalties: Any, beam_size: int) -> None:
    """By the score that is searched for; a beam alone may lose what a greedy search finds."""
    model, options = Drawn(seed), {"count": 8, "seed": seed, "limit": 7, **penalties}
    greedy = search(model, beam_size=1, **options)
    wide = search(model, beam_size=beam_size, **options)
    for (best,), (first,) in zip(wide, greedy, strict=True):
        assert best.score >= first.score - 1e-12  # the same sums in batches of other sizes


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), attends=st.booleans())
def test_a_source_alone_is_translated_as_in_a_batch(seed: int, attends: bool) -> None:
    """Sources of other lengths and limits beside it, and more padding, change nothing."""
    model, (ids, lengths), limits = Drawn(seed, attends), sources(6, seed), [1, 2, 3, 5, 7, 9]
    find = Search(BEGIN, END, beam_size=3, n_best=3, forbidden=(BEGIN,))
    together = find(model, ids, lengths, limits)
    for row, found in enumerate(together):
        size = lengths[row]
        alone = find(model, ids[row : row + 1, :size], lengths[row : row + 1], [limits[row]])[0]
        for ours, theirs in zip(alone, found, strict=True):
            assert same(ours, theirs)


def same(ours: Hypothesis, theirs: Hypothesis) -> bool:
    """Whether two hypotheses are one, up to what sums in another order lose."""
    attention = [each.attention for each in (ours, theirs) if each.attention is not None]
    return (
        ours.token_ids == theirs.token_ids
        and ours.ended == theirs.ended
        and ours.score == pytest.approx(theirs.score)
        and len(attention) != 1
        and (not attention or np.allclose(*attention))
    )


def test_attention_is_that_of_the_tokens() -> None:
    """Shares of the true source tokens, for each token and the end, wherever in the beam."""
    model = Drawn(5)
    for found in search(model, count=6, seed=1, limit=8, beam_size=4, n_best=4):
        for each in found:
            assert len(each.attention) == len(each.token_ids) + each.ended
            np.testing.assert_allclose(each.attention.sum(axis=1), 1)


def test_stopping_early_saves_steps_and_nothing_else() -> None:
    """Most searches are decided before each of their hypotheses ends."""
    found, rows = [], []
    for early_stop in (True, False):
        model = Drawn(3)
        found.append(search(model, count=20, limit=30, beam_size=5, early_stop=early_stop))
        rows.append(model.rows)
    assert rows[0] < rows[1]
    for (ours,), (theirs,) in zip(*found, strict=True):
        assert ours.token_ids == theirs.token_ids


def test_penalties_are_those_of_gnmt() -> None:
    """The formula of section 7 of Wu et al. 2016, for a hand-made hypothesis."""
    judge = Search(BEGIN, END, length_penalty=0.6, coverage_penalty=0.2)
    expected = -3 / (11 / 6) ** 0.6 + 0.2 * (np.log(0.5) + 0)
    assert judge.score(-3, 6, np.array([0.5, 1.7])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "`beam_size` must be a positive integer. Received: beam_size=0"),
        ({"n_best": 5}, "`n_best` must be from 1 to beam_size=4"),
        ({"length_penalty": -1.0}, "`length_penalty` must be zero or more"),
        ({"forbidden": (END,)}, "`forbidden` must be without the end token, 1"),
    ],
)
def test_bad_settings_are_named(options: Any, message: str) -> None:
    """What must be, and what was received."""
    with pytest.raises(ValueError, match=message):
        Search(BEGIN, END, **options)


def test_bad_sources_are_named() -> None:
    """Empty sources, no room for an answer, and coverage of what nothing attends to."""
    ids, _ = sources(2)
    find = Search(BEGIN, END)
    with pytest.raises(ValueError, match=r"`source_lengths` must be a positive .*: \[1, 0\]"):
        find(Drawn(0), ids, np.array([1, 0]), [3, 3])
    with pytest.raises(ValueError, match=r"`max_lengths` must be a positive integer for each of 2"):
        find(Drawn(0), ids, np.array([1, 2]), [3])
    with pytest.raises(ValueError, match="`coverage_penalty` must be 0 for a model without"):
        search(Drawn(0, attends=False), coverage_penalty=0.2)
