"""The reduced list for variants that take seconds to compile a shape."""

from __future__ import annotations

import pytest
import torch

from harness.variant import AttentionOp
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import assert_matches, build_mask, inputs_of, require, run

EVERYTHING_AT_ONCE = workload(
    batch=3, heads=4, kv_heads=2, q_len=50, kv_len=33, head_dim=8, v_head_dim=16,
    mask="causal+padding(0.6)", bias="random",
)  # fmt: skip
# Its first 167 rows see nothing: more than a whole block of 128.
EMPTY_BLOCK = workload(heads=2, q_len=200, kv_len=33, head_dim=16, mask="causal")


@pytest.mark.parametrize("case", [EVERYTHING_AT_ONCE, EMPTY_BLOCK], ids=["all", "empty"])
@pytest.mark.usefixtures("compiler")
def test_compiled_variant_meets_the_contract(compiled_op: AttentionOp, case: Workload) -> None:
    require(compiled_op, case)
    inputs = inputs_of(case)
    before = tuple(tensor.clone() for tensor in inputs)
    assert_matches(compiled_op, case)
    (out,), (again,) = run(compiled_op, case, inputs), run(compiled_op, case, inputs)
    assert torch.equal(out, again)
    assert all(torch.equal(now, then) for now, then in zip(inputs, before, strict=True))
    mask = build_mask(case)
    empty = (mask.stop <= mask.start)[:, None, :, None]
    assert empty.any()
    assert (out.masked_select(empty) == 0).all()


def test_compiled_variant_runs_or_says_why(compiled_op: AttentionOp) -> None:
    for fields in ({}, {"pass": "forward+backward"}, {"dtype": "float64"}, {"device": "cuda"}):
        reason = compiled_op.unsupported(workload(heads=2, head_dim=8, **fields))
        assert reason is None or len(reason.split()) > 3
    assert compiled_op.unsupported(workload(heads=2, head_dim=8)) is None
