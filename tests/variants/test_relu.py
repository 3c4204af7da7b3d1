"""ReLU attention on numbers that can be checked by hand."""

from __future__ import annotations

import pytest
import torch

from harness.errors import VariantError
from harness.variant import create
from tests.build import op_named, workload
from tests.variants.looped import computed, looped
from variants.relu import Relu


@pytest.mark.parametrize("power", [1, 2])
def test_it_is_the_formula_pair_by_pair(power: int) -> None:
    case = workload(
        batch=2, heads=2, q_len=5, kv_len=7, head_dim=3, mask="window(3)", dtype="float64"
    )  # fmt: skip
    scale = case.scale
    expected = looped(
        case, lambda products, h, i, keys: [max(0.0, scale * p) ** power / 7 for p in products]
    )
    torch.testing.assert_close(computed(op_named(f"relu(power={power})"), case), expected)


def test_a_row_without_positive_scores_is_zero() -> None:
    case = workload(q_len=2, kv_len=3, head_dim=1)
    q, k = torch.tensor([1.0, -1.0]).view(1, 1, 2, 1), torch.full((1, 1, 3, 1), -2.0)
    out = Relu(1).prepare(case, case.build_mask())(q, k, torch.ones(1, 1, 3, 1))
    assert out.flatten().tolist() == [0.0, 2.0]


def test_other_powers_are_refused(installed: None) -> None:
    with pytest.raises(VariantError, match="power") as error:
        create("relu", {"power": 3})
    assert str(error.value) == "relu: power must be 1 | 2, found 3 (Input should be 1 or 2)"
