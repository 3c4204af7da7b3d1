"""Differential attention: two maps of softmax attention, and how they are put together."""

from __future__ import annotations

import pytest
import torch

from harness.inputs import make_inputs
from harness.reference import softmax_attention
from tests.build import workload
from variants.differential import Differential

CASE = workload(
    batch=2, heads=2, q_len=9, kv_len=12, head_dim=8, v_head_dim=5, mask="causal", dtype="float64"
)  # fmt: skip
KERNELS = ("naive", "sdpa")


def _first_half(scale: float) -> torch.Tensor:
    q, k, v = make_inputs(CASE)
    return softmax_attention(q[..., :4], k[..., :4], v, mask=CASE.build_mask(), scale=scale)


@pytest.mark.parametrize("kernel", KERNELS)
def test_without_lam_it_is_softmax_of_the_first_half(kernel: str) -> None:
    op = Differential(lam=0.0, kernel=kernel)  # type: ignore[arg-type]
    out = op.prepare(CASE, CASE.build_mask())(*make_inputs(CASE))
    torch.testing.assert_close(out, _first_half(CASE.scale))


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_halves_leave_one_less_lam_of_one_map(kernel: str) -> None:
    q, k, v = make_inputs(CASE)
    q, k = (torch.cat([x[..., :4], x[..., :4]], -1) for x in (q, k))
    op = Differential(lam=0.3, kernel=kernel)  # type: ignore[arg-type]
    out = op.prepare(CASE, CASE.build_mask())(q, k, v)
    torch.testing.assert_close(out, 0.7 * _first_half(CASE.scale))


def test_an_odd_head_dim_has_no_halves() -> None:
    assert Differential().unsupported(CASE) is None
    assert Differential().unsupported(workload(head_dim=9)) == (
        "differential halves head_dim, which must be even: head_dim=9"
    )
