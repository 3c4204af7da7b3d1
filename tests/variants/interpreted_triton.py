"""Polynomial attention's Triton kernels under Triton's interpreter, on lengths of several tiles.

Triton reads TRITON_INTERPRET when it is first imported: test_polynomial_triton.py runs this file in
a process of its own, and with it the conformance tests, whose lengths fit one tile of queries.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.inputs import make_inputs
from tests.build import workload
from tests.conformance.contract import MASKS, assert_matches
from variants.polynomial import Polynomial
from variants.polynomial.triton_tiles import tiles_of

SHAPE: dict[str, Any] = {"pass": "forward+backward", "heads": 2, "kv_heads": 1, "head_dim": 17}


def test_the_lengths_here_are_of_several_tiles_and_a_part() -> None:
    for tiles in tiles_of(workload(**SHAPE, q_len=70)).values():
        assert max(tiles.block_q, tiles.block_kv) < 70
        assert 70 % tiles.block_q
        assert 70 % tiles.block_kv


@pytest.mark.parametrize("mask", MASKS)
def test_masks(mask: str) -> None:
    op = Polynomial(degree=2, norm="row", kernel="triton")
    batch = 2 if "padding" in mask else 1
    assert_matches(op, workload(**SHAPE, batch=batch, q_len=70, mask=mask, v_head_dim=5))


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_degrees(degree: int, dtype: str) -> None:
    op = Polynomial(degree=degree, kernel="triton")
    assert_matches(op, workload(**SHAPE, q_len=40, kv_len=70, mask="causal", dtype=dtype))


@pytest.mark.parametrize(("q_len", "kv_len"), [(70, 40), (1, 70)])
def test_other_lengths(q_len: int, kv_len: int) -> None:
    op = Polynomial(degree=3, norm="fixed", inner_scale=False, kernel="triton")
    assert_matches(op, workload(**SHAPE, q_len=q_len, kv_len=kv_len, mask="causal"))


@pytest.mark.parametrize("mask", ["causal", "window(3)"])
def test_tiles_that_are_wholly_masked_are_not_read(mask: str) -> None:
    case = workload(**SHAPE, q_len=200, mask=mask)
    q, k, v = make_inputs(case)
    tiles = tiles_of(case)["forward"]
    unseen = tiles.block_q + tiles.block_kv  # by the first tile of queries
    k[:, :, unseen:], v[:, :, unseen:] = torch.nan, torch.nan
    out = Polynomial(kernel="triton").prepare(case, case.build_mask())(q, k, v)
    assert out[:, :, : tiles.block_q].isfinite().all()
    assert out[:, :, -1].isnan().all()
