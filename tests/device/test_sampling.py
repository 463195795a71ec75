"""The next token is drawn from what the settings leave, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from rnnapp.device.sampling import Sampler, Sampling

LOGITS = np.log([0.4, 0.3, 0.15, 0.1, 0.05])
DRAWS = 4000


def drawn(sampling: Sampling, seed: int = 0, banned: tuple[int, ...] = ()) -> list[int]:
    """Many tokens."""
    sampler = Sampler(sampling, seed, banned)
    return [sampler(LOGITS) for _ in range(DRAWS)]


@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=0), Sampling(top_k=1), Sampling(top_p=1e-9), Sampling(temperature=1e-6)],
    ids=str,
)
def test_the_narrowest_settings_are_greedy(sampling: Sampling) -> None:
    """Each of them leaves the most probable token alone, whatever the seed."""
    shuffled = np.random.default_rng(0).permutation(LOGITS)
    for seed in range(20):
        assert Sampler(sampling, seed)(shuffled) == shuffled.argmax()


def test_wide_settings_leave_the_model_alone() -> None:
    """Then tokens are as frequent as they are probable."""
    np.testing.assert_allclose(Sampling().probabilities(LOGITS), np.exp(LOGITS), rtol=1e-12)
    shares = np.bincount(drawn(Sampling()), minlength=5) / DRAWS
    deviations = np.sqrt(np.exp(LOGITS) * (1 - np.exp(LOGITS)) / DRAWS)
    assert (np.abs(shares - np.exp(LOGITS)) < 4 * deviations).all()


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_logits(temperature: float) -> None:
    """Cold sharpens, hot flattens; the order stays."""
    found = Sampling(temperature).probabilities(LOGITS)
    expected = np.exp(LOGITS) ** (1 / temperature)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


def test_nucleus_is_the_least_set_that_reaches_its_share() -> None:
    """Without its least probable token it would not, for any logits and share."""
    draw = np.random.default_rng(0)
    for _ in range(300):
        logits, top_p = draw.normal(0, 2, 12), draw.uniform(0.01, 1)
        whole = np.exp(logits) / np.exp(logits).sum()
        kept = Sampling(top_p=top_p).probabilities(logits) > 0
        assert whole[kept].sum() >= top_p - 1e-12
        assert whole[kept].sum() - whole[kept].min() < top_p
        assert whole[kept].min() >= whole[~kept].max(initial=0)


@pytest.mark.parametrize("top_k", [1, 2, 4, 5, 100])
def test_top_k_keeps_as_many(top_k: int) -> None:
    """Ties too; and no more than there are."""
    for logits in (LOGITS, np.zeros(5)):
        probabilities = Sampling(top_k=top_k).probabilities(logits)
        assert (probabilities > 0).sum() == min(top_k, 5)
        assert probabilities.sum() == pytest.approx(1)


def test_same_seed_same_tokens() -> None:
    """A text can be told again; another seed tells another."""
    assert drawn(Sampling(), 3) == drawn(Sampling(), 3) != drawn(Sampling(), 4)
    assert drawn(Sampling(), None) != drawn(Sampling(), None)


def test_banned_tokens_are_never_drawn() -> None:
    """Not even where they are the most probable, nor by a sum that rounds to less than one."""
    assert set(drawn(Sampling(), banned=(0, 3))) == {1, 2, 4}
    assert Sampler(Sampling(temperature=0), banned=(0,))(LOGITS) == 1


@pytest.mark.parametrize("logits", [[1e4, 0, -1e4], [0, -np.inf, -np.inf]], ids=str)
def test_extreme_logits_do_not_overflow(logits: list[float]) -> None:
    """A sure model is no error."""
    for temperature in (1e-3, 1.0, 1e3):
        found = Sampling(temperature).probabilities(np.array(logits))
        assert np.isfinite(found).all() and found.argmax() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "`temperature` must be zero or more. Received: temperature=-0.1"),
        ({"temperature": float("nan")}, "`temperature` must be zero or more"),
        ({"top_k": -1}, "`top_k` must be an integer of zero or more"),
        ({"top_k": 2.5}, "`top_k` must be an integer"),
        ({"top_p": 0.0}, r"`top_p` must be in \(0, 1\]. Received: top_p=0.0"),
        ({"top_p": 1.1}, r"`top_p` must be in \(0, 1\]"),
    ],
)
def test_wrong_settings_are_named(settings: dict, message: str) -> None:
    """Before the first token."""
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)
