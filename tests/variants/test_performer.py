"""FAVOR+: directions, what their features estimate, and how the estimate gets better."""

from __future__ import annotations

import pytest
import torch

from harness.inputs import make_inputs
from harness.measure.norms import relative_error
from harness.measure.truth import softmax_rows
from harness.workload import Workload
from tests.build import workload
from tests.variants.looped import computed
from variants.performer import Performer, draw


def test_directions_are_orthogonal_within_a_block_and_normal_each() -> None:
    directions = draw(20, 8, seed=3)
    assert directions.shape == (20, 8)
    products = directions[:8] @ directions[:8].T
    torch.testing.assert_close(products, products.diagonal().diag())
    many = draw(40_000, 4, seed=0)
    # Each element is standard normal; 1 / sqrt(160000) = 0.0025 is one standard error.
    assert abs(float(many.mean())) < 0.01
    assert float(many.square().mean()) == pytest.approx(1, abs=0.02)
    assert float(many.pow(4).mean()) == pytest.approx(3, abs=0.15)


def test_a_seed_draws_the_same_again_and_another_seed_others() -> None:
    assert torch.equal(draw(20, 8, seed=3), draw(20, 8, seed=3))
    assert not torch.isclose(draw(20, 8, seed=3), draw(20, 8, seed=4)).any()


def test_products_of_features_are_exponentials_on_average() -> None:
    """Lemma 1: exp(q k) = E phi(q) phi(k), whatever the sign of q k."""
    case = workload(q_len=6, head_dim=4, scale=0.3, inputs="normal(0.25)", dtype="float64")
    q, k, _ = make_inputs(case)
    queries, keys = Performer(features=100_000)._maps(case)
    f, g = queries(q), keys(k)
    scores = q @ k.mT * case.scale
    ratios = (f @ g.mT) / scores.exp()
    # A factor of a row of queries is left open, for it cancels.
    ratios = ratios / ratios.mean(-1, keepdim=True)
    torch.testing.assert_close(ratios, torch.ones_like(ratios), atol=0.05, rtol=0)


@pytest.mark.parametrize("mask", ["none", "causal+padding(0.6)"])
def test_it_comes_closer_to_softmax_as_features_grow(mask: str) -> None:
    case = workload(
        batch=2, heads=2, q_len=24, head_dim=8, inputs="normal(0.25)", mask=mask, dtype="float64"
    )  # fmt: skip
    deviations = {
        features: sum(_deviation(Performer(features, seed), case) for seed in range(4)) / 4
        for features in (64, 576, 5184)
    }
    # The error of a mean of m features falls with sqrt(m), here 3 for 9.
    assert deviations[64] / deviations[576] == pytest.approx(3, rel=0.4)
    assert deviations[576] / deviations[5184] == pytest.approx(3, rel=0.4)
    assert deviations[5184] < 0.05


def _deviation(op: Performer, case: Workload) -> float:
    judged = case.build_mask().judged[:, None, :, None]
    return relative_error(computed(op, case), softmax_rows(case), judged)


def test_large_scores_do_not_overflow() -> None:
    case = workload(q_len=64, head_dim=64, inputs="normal(15)")
    assert computed(Performer(), case).isfinite().all()


def test_features_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="features") as error:
        Performer(features=0)
    assert str(error.value) == "features must be at least 1: features=0; write 64, 256 or more"
