"""The polynomial on numbers that can be checked by hand."""

from __future__ import annotations

import pytest
import torch

from tests.build import workload
from variants.polynomial import Polynomial, PolynomialFamily


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_by_hand(degree: int) -> None:
    """q = 2 and 4, keys 1, 1, -1, 1, scale 1/2: scores +-1 and +-2; sqrt(Lkv) = 2."""
    case = workload(q_len=2, kv_len=4, head_dim=1, scale=0.5)
    q = torch.tensor([[[[2.0], [4.0]]]])
    k = torch.tensor([[[[1.0], [1.0], [-1.0], [1.0]]]])
    weights = Polynomial(degree).prepare(case, case.build_mask())(q, k, torch.eye(4)[None, None])
    sign = (-1.0) ** degree
    first, second = 0.5, 0.5 * 2.0**degree
    assert weights[0, 0].tolist() == [
        [first, first, first * sign, first],
        [second, second, second * sign, second],
    ]


def test_masked_weights_are_zero_and_the_divisor_stays() -> None:
    case = workload(q_len=2, kv_len=4, head_dim=1, mask="causal", scale=1.0)
    ones = torch.ones(1, 1, 4, 1)
    out = Polynomial(3).prepare(case, case.build_mask())(ones[:, :, :2], ones, ones)
    assert out.flatten().tolist() == [1.5, 2.0]


@pytest.mark.parametrize("degree", [0, -1])
def test_degree_is_at_least_one(degree: int) -> None:
    with pytest.raises(ValueError, match="degree") as error:
        Polynomial(degree)
    assert str(error.value) == (
        f"degree must be at least 1: degree={degree}; write 1, 2, 3 or more"
    )


def test_kernels_share_the_definition() -> None:
    assert "definition" in vars(PolynomialFamily)
    assert "definition" not in vars(Polynomial)
