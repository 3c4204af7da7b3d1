"""What holds for every attention, whatever its formula."""

from __future__ import annotations

import pytest
import torch

from harness.variant import AttentionOp
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import (
    assert_close,
    assert_matches,
    exact,
    inputs_of,
    require,
    run,
)


def _gradient_case(op: AttentionOp, mask: str, **fields: int) -> Workload:
    sizes = {"batch": 3, "heads": 4, "q_len": 33, "head_dim": 8, **fields}
    case = workload(**{"pass": "forward+backward"}, **sizes, mask=mask)
    require(op, case)
    return exact(op, case)


@pytest.mark.parametrize("mask", ["none", "causal", "window(5)", "causal+padding(0.6)"])
def test_grouped_heads_equal_repeated_heads(op: AttentionOp, mask: str) -> None:
    grouped = _gradient_case(op, mask, kv_heads=2)
    q, k, v = inputs_of(grouped)
    repeated = grouped.model_copy(update={"kv_heads": 4})
    wide = (q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))
    out, dq, dk, dv = run(op, repeated, wide)
    narrow = [t.reshape(3, 2, 2, 33, 8).sum(2) for t in (dk, dv)]
    assert_close(run(op, grouped), (out, dq, *narrow))


@pytest.mark.parametrize("mask", ["none", "causal", "window(5)"])
def test_sequences_of_a_batch_do_not_mix(op: AttentionOp, mask: str) -> None:
    case = _gradient_case(op, mask).model_copy(update={"pass_": "forward"})
    order = torch.tensor([2, 0, 1])
    q, k, v = inputs_of(case)
    (out,) = run(op, case)
    (permuted,) = run(op, case, (q[order], k[order], v[order]))
    assert_close((permuted,), (out[order],))


def test_heads_do_not_mix(op: AttentionOp) -> None:
    """A head may have a slope or a decay of its own, but sees its own inputs alone."""
    case = _gradient_case(op, "causal").model_copy(update={"pass_": "forward"})
    inputs, other = inputs_of(case), inputs_of(case, draw=1)
    (out,) = run(op, case)
    for head in range(case.heads):
        own = torch.arange(case.heads)[:, None, None] == head
        mixed = tuple(torch.where(own, *pair) for pair in zip(inputs, other, strict=True))
        (changed,) = run(op, case, mixed)
        assert_close((changed[:, head],), (out[:, head],))
        assert not torch.equal(changed, out)


@pytest.mark.parametrize("mask", ["none", "causal", "padding(0.6)", "packed(3)"])
def test_inputs_are_not_written(op: AttentionOp, mask: str) -> None:
    case = _gradient_case(op, mask)
    inputs = inputs_of(case)
    before = tuple(tensor.clone() for tensor in inputs)
    run(op, case, inputs)
    run(op, case.model_copy(update={"pass_": "forward"}), inputs)
    assert all(torch.equal(now, then) for now, then in zip(inputs, before, strict=True))


@pytest.mark.parametrize("mask", ["none", "causal", "window(5)"])
def test_strided_inputs(op: AttentionOp, mask: str) -> None:
    case = _gradient_case(op, mask, kv_heads=2)
    # As a layer hands them over: (B, L, H, D) in memory, and every other row of a
    # buffer. Features stay side by side: fused kernels take no other stride there.
    by_length = tuple(t.transpose(1, 2).contiguous().transpose(1, 2) for t in inputs_of(case))
    every_other = tuple(t.repeat_interleave(2, 2)[:, :, ::2] for t in inputs_of(case))
    for inputs in (by_length, every_other):
        assert not inputs[0].is_contiguous()
        assert_matches(op, case, inputs)


@pytest.mark.parametrize("mask", ["none", "causal", "padding(0.6)"])
def test_two_calls_agree(op: AttentionOp, mask: str) -> None:
    case = _gradient_case(op, mask)
    assert all(
        torch.equal(first, second)
        for first, second in zip(run(op, case), run(op, case), strict=True)
    )


def test_a_prepared_call_keeps_no_values(op: AttentionOp) -> None:
    case = _gradient_case(op, "causal").model_copy(update={"pass_": "forward"})
    attend = op.prepare(case, case.build_mask())
    first, second = inputs_of(case), inputs_of(case, draw=1)
    outputs = [attend(*inputs) for inputs in (first, second, first)]
    assert torch.equal(outputs[0], outputs[2])
    assert_close((outputs[1],), run(op, case, second))
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("mask", ["causal", "causal+window(9)", "causal+padding(0.9)"])
@pytest.mark.parametrize(("q_len", "kv_len"), [(33, 33), (20, 50), (50, 33)])
def test_the_future_does_not_matter(op: AttentionOp, mask: str, q_len: int, kv_len: int) -> None:
    case = _gradient_case(op, mask, q_len=q_len, kv_len=kv_len)
    case = case.model_copy(update={"pass_": "forward"})
    q, k, v = inputs_of(case)
    now = kv_len - min(q_len, kv_len) // 2
    later_k, later_v = k.clone(), v.clone()
    later_k[:, :, now:] += 100
    later_v[:, :, now:] -= 100
    seen = torch.arange(q_len) + kv_len - q_len < now
    assert seen.any()
    (out,), (changed,) = run(op, case), run(op, case, (q, later_k, later_v))
    assert_close((changed[:, :, seen],), (out[:, :, seen],))
    assert not torch.equal(changed, out), "the present did not matter either"
