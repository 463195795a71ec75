"""Layer groups learn at rates of their own, from the top down."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp import finetuning, optimizers
from rnnapp.builders import many_to_one
from rnnapp.specs import EmbeddingSpec, RNNSpec, TrainSpec

STEPS = 4  # an epoch
SPEC = TrainSpec(
    epochs=4,
    learning_rate=0.01,
    weight_decay=0.1,
    schedule="slanted_triangular",
    gradual_unfreezing=True,
    rate_divisor=2.6,
)


def model(**settings: object) -> keras.Model:
    """A reader of two layers under a pool."""
    embedding = EmbeddingSpec(dim=4)
    spec = RNNSpec("lstm", units=3, pooling="mean_max", embedding=embedding, **settings)  # type: ignore
    return many_to_one(spec, 2, vocabulary_size=9)


def weights(group: list[keras.Variable]) -> list[np.ndarray]:
    """What a group holds."""
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in group]


@settings(deadline=None, max_examples=20)  # graphs take long on a busy machine
@given(
    st.integers(2, 2000),
    st.floats(0, 0.9),
    st.floats(1e-6, 10),
)
def test_a_slanted_triangle_has_three_corners(steps: int, share: float, peak: float) -> None:
    """Up to the peak and down in straight lines, from and to a 32nd of it."""
    rising = round(share * steps)
    schedule = finetuning.SlantedTriangular(peak, steps, rising)
    for step, rate in ((rising, peak), (steps, peak / 32)):
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5)  # float32
    assert rising == 0 or float(schedule(0)) == pytest.approx(peak / 32, rel=1e-5)
    for begin, end in ((0, rising), (rising, steps)):
        middle = (float(schedule(begin)) + float(schedule(end))) / 2
        if (begin + end) % 2 == 0 and begin < end:
            assert float(schedule((begin + end) // 2)) == pytest.approx(middle, rel=1e-4)


def test_groups_are_layers_and_the_head() -> None:
    """From the embedding up; what stands over the last recurrent layer goes together."""
    groups = finetuning.layer_groups(model(layer_norm=True))
    names = [sorted({weight.path.split("/")[0] for weight in group}) for group in groups]
    assert names == [["embedding"], ["lstm_1"], ["norm_1"], ["lstm_2"], ["logits", "norm_2"]]
    both = finetuning.layer_groups(model(bidirectional=True))
    assert [len(group) for group in both] == [1, 6, 6, 2]


def test_rates_are_divided_from_the_top_down() -> None:
    """2.6 a layer, at any step; without unfreezing, from the first one on."""
    spec = TrainSpec(rate_divisor=2.6)
    chosen = optimizers.optimizer(spec, 100, model())
    assert isinstance(chosen, keras.optimizers.MultiOptimizer)
    assert len(chosen.optimizers) == 4
    for step in (1, 10, 60):
        rates = sorted(float(each._learning_rate(step)) for each in chosen.optimizers)[::-1]
        assert rates[0] == float(optimizers.optimizer(TrainSpec(), 100)._learning_rate(step))
        np.testing.assert_allclose(np.divide(rates[:-1], rates[1:]), 2.6, rtol=1e-5)


def test_layers_thaw_from_the_top_down() -> None:
    """One more in each epoch; until then not a bit changes, whatever decay there is."""
    reader = model()
    reader.compile(optimizers.optimizer(SPEC, STEPS * SPEC.epochs, reader), "mse")
    ids = np.random.default_rng(0).integers(1, 9, (8, 5)).astype(np.int32)
    inputs = {"token_ids": ids, "lengths": np.full(8, 5, np.int32)}
    groups = finetuning.layer_groups(reader)
    for epoch in range(SPEC.epochs):
        before = [weights(group) for group in groups]
        reader.fit(inputs, np.eye(2)[ids[:, 0] % 2], batch_size=2, verbose=0)
        frozen = len(groups) - 1 - epoch
        for number, (old, group) in enumerate(zip(before, groups, strict=True)):
            same = [np.array_equal(*pair) for pair in zip(old, weights(group), strict=True)]
            assert all(same) if number < frozen else not any(same), (epoch, number)


def test_plain_rates_need_one_optimizer() -> None:
    """What was trained before these settings is trained alike."""
    assert type(optimizers.optimizer(TrainSpec(), 10, model())) is keras.optimizers.AdamW


def test_averaged_weights_have_one_rate() -> None:
    """Settings that do nothing would be taken for settings that do."""
    with pytest.raises(ValueError, match="`optimizer` must be adamw where layers have rates of"):
        optimizers.optimizer(TrainSpec(optimizer="asgd", rate_divisor=2.6), 10, model())


def test_a_model_is_saved_with_its_rates(tmp_path: Path) -> None:
    """Keras writes the optimizer's settings down with a compiled model, and reads them again."""
    reader = model()
    reader.compile(optimizers.optimizer(SPEC, 16, reader), "mse")
    reader.optimizer.build(reader.trainable_variables)
    reader.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").optimizer
    for mine, theirs in zip(reader.optimizer.optimizers, again.optimizers, strict=True):
        for step in (0, 3, 9, 15):
            assert float(mine._learning_rate(step)) == float(theirs._learning_rate(step))
