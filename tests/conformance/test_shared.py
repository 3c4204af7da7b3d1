"""The contract where q and k, or q, k and v, have the same values: inputs change together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from harness.variant import AttentionOp
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import (
    Tensors,
    assert_close,
    assert_matches,
    exact,
    inputs_of,
    require,
    run,
)
from tests.measure.claims import semantics_of

BOTH = {"pass": "forward+backward"}
SHAPE: dict[str, Any] = {"batch": 3, "heads": 4, "q_len": 33, "head_dim": 8, "shared": "qk"}


def _case(op: AttentionOp, **fields: Any) -> Workload:
    case = workload(**{**SHAPE, **fields})
    require(op, case)
    return exact(op, case)


def _with_tokens(inputs: Tensors, shared: str, tokens: torch.Tensor) -> Tensors:
    """The same inputs with other tokens, in all that have their values."""
    return (tokens, tokens.clone(), tokens.clone() if shared == "qkv" else inputs[2])


@pytest.mark.parametrize("shared", ["qk", "qkv"])
@pytest.mark.parametrize("mask", ["none", "causal", "window(5)", "causal+padding(0.6)"])
@pytest.mark.parametrize("length", [1, 33])
def test_gradients(op: AttentionOp, mask: str, shared: str, length: int) -> None:
    assert_matches(op, _case(op, **BOTH, mask=mask, shared=shared, q_len=length))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("pass_", ["forward", "backward"])
def test_dtypes(op: AttentionOp, dtype: str, pass_: str) -> None:
    sizes = {"heads": 2, "q_len": 50, "head_dim": 16, "mask": "causal", "shared": "qk"}
    case = workload(**{"pass": pass_}, **sizes, dtype=dtype)
    require(op, case)
    assert_matches(op, case)


@pytest.mark.parametrize(("head_dim", "v_head_dim"), [(8, 12), (12, 5), (1, 1), (17, 17)])
def test_head_dims(op: AttentionOp, head_dim: int, v_head_dim: int) -> None:
    # Small scores: a token's with itself grows with the width, and is rounded by so many eps.
    widths = {"head_dim": head_dim, "v_head_dim": v_head_dim}
    assert_matches(op, _case(op, **BOTH, **widths, inputs="normal(1)"))


def test_scale_is_the_workloads(op: AttentionOp) -> None:
    assert_matches(op, _case(op, scale=0.7))


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_strided_inputs(op: AttentionOp, mask: str) -> None:
    case = _case(op, **BOTH, mask=mask)
    by_length = tuple(t.transpose(1, 2).contiguous().transpose(1, 2) for t in inputs_of(case))
    every_other = tuple(t.repeat_interleave(2, 2)[:, :, ::2] for t in inputs_of(case))
    for inputs in (by_length, every_other):
        assert_matches(op, case, inputs)


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_inputs_are_not_written_and_two_calls_agree(op: AttentionOp, mask: str) -> None:
    case = _case(op, **BOTH, mask=mask)
    inputs = inputs_of(case)
    before = tuple(tensor.clone() for tensor in inputs)
    first, second = run(op, case, inputs), run(op, case, inputs)
    assert all(torch.equal(now, then) for now, then in zip(inputs, before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_heads_and_sequences_do_not_mix(op: AttentionOp) -> None:
    case = _case(op, mask="causal")
    inputs, other = inputs_of(case), inputs_of(case, draw=1)
    (out,) = run(op, case)
    own = torch.arange(case.heads)[:, None, None] == torch.arange(case.batch)[:, None, None, None]
    mixed = tuple(torch.where(own, *pair) for pair in zip(inputs, other, strict=True))
    (changed,) = run(op, case, mixed)
    kept = own[..., 0, 0]
    assert_close((changed[kept],), (out[kept],))
    assert not torch.equal(changed, out)


def test_a_prepared_call_keeps_no_values(op: AttentionOp) -> None:
    case = _case(op)
    attend = op.prepare(case, case.build_mask())
    first, second = inputs_of(case), inputs_of(case, draw=1)
    outputs = [attend(*inputs) for inputs in (first, second, first)]
    assert torch.equal(outputs[0], outputs[2])
    assert_close((outputs[1],), run(op, case, second))
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("shared", ["qk", "qkv"])
def test_the_future_does_not_matter(op: AttentionOp, shared: str) -> None:
    case = _case(op, mask="causal", shared=shared)
    inputs = inputs_of(case)
    tokens = inputs[0].clone()
    tokens[:, :, 17:] += 3
    (out,) = run(op, case)
    (changed,) = run(op, case, _with_tokens(inputs, shared, tokens))
    assert_close((changed[:, :, :17],), (out[:, :, :17],))
    assert not torch.equal(changed, out), "the present did not matter either"


CASES: dict[str, dict[str, Any]] = {
    "none": {"v_head_dim": 12},
    "causal": {"mask": "causal", "pass": "backward"},
    "all one": {"shared": "qkv", "mask": "causal"},
    "padding": {"mask": "padding(0.6)"},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_what_a_variant_claims_holds(op: AttentionOp, name: str, dtype: str) -> None:
    case = workload(**{**SHAPE, "head_dim": 16, "dtype": dtype, **CASES[name]})
    require(op, case)
    counters.clear()
    found = semantics_of(op, case)
    assert found.broken == {}
    expected = {
        "causality": case.mask_spec.causal,
        "padding": case.mask_spec.padding,
        "batch_independence": True,
        "head_independence": op.headwise,
        "permutation": case.mask == "none" and op.permutation_equivariant,
        "scale": op.scaled and case.shared == "qk",
        **dict.fromkeys(("own_memory", "global_rng", "determinism", "freshness"), True),
    }
    assert set(found.held) == {name for name, asked in expected.items() if asked}
    if op.rowwise:
        assert found.not_probed["row_independence"] == "its queries are its keys as well"
    if case.shared == "qkv" and op.scaled:
        assert found.not_probed["scale"] == "q cannot be halved without v, which it is as well"
