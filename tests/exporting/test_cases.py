"""How good answers are, by either measure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnapp.exporting.cases import Case, Measure, filled, quality_loss

ANSWERS = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])


def case(measure: Measure, targets: list[int] | None) -> Case:
    """A case to which `ANSWERS` are the model's."""
    known = None if targets is None else np.array(targets)
    return Case("", np.zeros((3, 1)), np.ones(3, int), ANSWERS, known, measure)


def test_accuracy_is_the_share_of_right_answers() -> None:
    """Of those that are known alone."""
    assert case("accuracy", [0, 1, -1]).quality(ANSWERS) == 1.0
    assert case("accuracy", [0, 0, 2]).quality(ANSWERS) == pytest.approx(1 / 3)


def test_perplexity_is_what_the_right_ones_are_given() -> None:
    """The inverse of the geometric mean; a token that is given nothing costs much, not all."""
    assert case("perplexity", [1, -1, -1]).quality(ANSWERS) == pytest.approx(4)
    assert case("perplexity", [0, 1, 1]).quality(ANSWERS) == pytest.approx(
        (0.5 * 0.8 * 0.3) ** (-1 / 3)
    )
    nothing = case("perplexity", [1, -1, -1]).quality(np.eye(3)[[0, 0, 0]])
    assert nothing is not None and 1e8 < nothing < np.inf


@pytest.mark.parametrize("measure", ["accuracy", "perplexity"])
@pytest.mark.parametrize("targets", [None, [-1, -1, -1]])
def test_nothing_known_is_no_quality(measure: Measure, targets: list[int] | None) -> None:
    """Noise has no label; a share of nothing is neither all nor none."""
    assert case(measure, targets).quality(ANSWERS) is None
    assert quality_loss(measure, None, None) is None


@given(model=st.floats(0.01, 1), worse=st.floats(0.01, 0.9))
def test_losses_are_shares_of_the_models_quality(model: float, worse: float) -> None:
    """Less accuracy and more perplexity are both worse, by their share."""
    lost = quality_loss("accuracy", model * (1 - worse), model)
    assert lost == pytest.approx(worse)
    perplexity = 1 + 100 * model
    assert quality_loss("perplexity", perplexity * (1 + worse), perplexity) == pytest.approx(worse)
    assert quality_loss("perplexity", perplexity, perplexity * (1 + worse)) < 0  # type: ignore[operator]


def test_filling_leaves_what_is_inside() -> None:
    """Of tokens the dtype, too."""
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    made = filled(ids, np.array([1, 3]), ids[:, :1])
    assert made.tolist() == [[0, 0, 0, 0], [4, 5, 6, 4]] and made.dtype == np.int32
