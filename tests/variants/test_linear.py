"""Linear attention on numbers that can be checked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from harness.inputs import make_inputs
from tests.build import workload
from tests.variants.looped import computed
from variants.linear import Linear


def test_by_hand() -> None:
    """phi(0) = 1, phi(1) = 2, phi(-ln 2) = 1/2: keys weigh 2 : 1 : 4 for q = 1."""
    case = workload(q_len=1, kv_len=3, head_dim=1)
    k = torch.tensor([0.0, -math.log(2), 1.0])[None, None, :, None]
    out = Linear().prepare(case, case.build_mask())(
        torch.ones(1, 1, 1, 1), k, torch.eye(3)[None, None]
    )
    torch.testing.assert_close(out.flatten(), torch.tensor([2.0, 1.0, 4.0]) / 7)


@pytest.mark.parametrize("mask", ["causal", "causal+window(3)"])
def test_it_is_the_formula_pair_by_pair(mask: str) -> None:
    case = workload(
        batch=2, heads=2, q_len=5, kv_len=7, head_dim=3, mask=mask, dtype="float64"
    )  # fmt: skip
    q, k, v = make_inputs(case)
    seen = case.build_mask().dense()[0, 0]
    out = torch.zeros_like(computed(Linear(), case))
    for b, h, i in ((b, h, i) for b in range(2) for h in range(2) for i in range(5)):
        keys = seen[i].nonzero()[:, 0].tolist()
        weights = [_similarity(q[b, h, i], k[b, h, j]) for j in keys]
        for weight, j in zip(weights, keys, strict=True):
            out[b, h, i] += weight / sum(weights) * v[b, h, j]
    torch.testing.assert_close(computed(Linear(chunk=2), case), out)
    defined = Linear().definition(q, k, v, mask=case.build_mask(), scale=1.0)
    torch.testing.assert_close(defined, out)


def _similarity(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(_phi(float(x)) * _phi(float(y)) for x, y in zip(a, b, strict=True))


def _phi(x: float) -> float:
    return x + 1 if x > 0 else math.exp(x)


def test_a_row_of_weights_sums_to_one() -> None:
    case = workload(q_len=40, head_dim=4, v_head_dim=1, mask="causal", dtype="float64")
    q, k, v = make_inputs(case)
    attend = Linear(chunk=16).prepare(case, case.build_mask())
    torch.testing.assert_close(attend(q, k, torch.ones_like(v)), torch.ones_like(v))


def test_the_scale_changes_nothing() -> None:
    case = workload(q_len=20, head_dim=4)
    q, k, v = make_inputs(case)
    outs = [
        Linear().prepare(other, other.build_mask())(q, k, v)
        for other in (case, case.model_copy(update={"scale": 7.0}))
    ]
    assert torch.equal(*outs)


def test_it_is_a_mechanism_of_its_own() -> None:
    assert Linear.approximates == ""
