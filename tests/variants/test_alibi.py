"""ALiBi: the paper's slopes, and the penalty pair by pair."""

from __future__ import annotations

import pytest
import torch

from tests.build import workload
from tests.variants.looped import computed, looped, softmax
from variants.alibi import Alibi, _slopes


def test_slopes_are_the_papers() -> None:
    """Section 3: for 8 heads 1/2, 1/4, ..., 1/256; for 16 they are the powers of 2^-0.5."""
    eight = [2.0**-n for n in range(1, 9)]
    assert _slopes(8, torch.device("cpu")).flatten().tolist() == eight
    sixteen = _slopes(16, torch.device("cpu")).flatten()
    torch.testing.assert_close(sixteen[:2].tolist(), [2**-0.5, 0.5])


def test_other_numbers_of_heads_take_every_other_slope_of_the_next_power_of_two() -> None:
    found = _slopes(12, torch.device("cpu")).flatten().tolist()
    assert found[:8] == [2.0**-n for n in range(1, 9)]
    torch.testing.assert_close(found[8:], [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_it_is_the_formula_pair_by_pair(mask: str) -> None:
    case = workload(
        batch=2, heads=4, q_len=5, kv_len=7, head_dim=3, mask=mask, dtype="float64"
    )  # fmt: skip
    scale, slopes = case.scale, [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]
    expected = looped(
        case,
        lambda products, h, i, keys: softmax(
            [scale * p - slopes[h] * abs(i - j) for p, j in zip(products, keys, strict=True)]
        ),
    )
    torch.testing.assert_close(computed(Alibi(), case), expected)


def test_a_bias_of_the_workload_comes_on_top() -> None:
    case = workload(heads=2, q_len=9, head_dim=4, dtype="float64")
    biased = case.model_copy(update={"bias": "alibi"})
    assert not torch.equal(computed(Alibi(), case), computed(Alibi(), biased))
