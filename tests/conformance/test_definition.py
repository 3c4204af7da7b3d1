"""Output and gradients against the float64 definition."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from harness.variant import AttentionOp, definition_key, parse_spec
from tests.build import workload
from tests.conformance.contract import (
    MASKS,
    assert_matches,
    build_mask,
    exact,
    inputs_of,
    masked_lengths,
    refusal,
    require,
    run,
)


def test_runs_float32_on_the_cpu_or_says_why(op: AttentionOp) -> None:
    case = workload(heads=2, q_len=33, head_dim=8)
    reason = op.unsupported(case)
    if reason is None:
        assert_matches(op, case)
    else:
        assert len(reason.split()) > 3, "a reason is a sentence"
        assert "\n" not in reason


def test_a_refused_mask_has_a_term_that_is_refused_alone(op: AttentionOp) -> None:
    """A skip is the refusal of a kind of mask, not of what one test happens to ask."""
    cases = [workload(heads=2, q_len=33, head_dim=8, mask=mask) for mask in MASKS]
    refused = [_terms(case.mask) for case in cases if refusal(op, case)]
    alone = set().union(*(terms for terms in refused if len(terms) == 1))
    assert [terms for terms in refused if not terms & alone] == []


def _terms(mask: str) -> set[str]:
    return {term.partition("(")[0] for term in mask.split("+")}


@pytest.mark.parametrize(("mask", "q_len", "kv_len"), masked_lengths())
def test_output(op: AttentionOp, mask: str, q_len: int, kv_len: int) -> None:
    case = workload(batch=2, heads=2, q_len=q_len, kv_len=kv_len, head_dim=8, mask=mask)
    require(op, case)
    assert_matches(op, exact(op, case))


@pytest.mark.parametrize("kv_heads", [4, 1])
@pytest.mark.parametrize("mask", MASKS)
def test_gradients(op: AttentionOp, mask: str, kv_heads: int) -> None:
    lengths = {"q_len": 33, "kv_len": 33 if "packed" in mask else 50}
    case = workload(
        **{"pass": "forward+backward"},
        **lengths,
        batch=2,
        heads=4,
        kv_heads=kv_heads,
        head_dim=8,
        mask=mask,
    )
    require(op, case)
    assert_matches(op, exact(op, case))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("pass_", ["forward", "backward"])
def test_dtypes(op: AttentionOp, dtype: str, pass_: str) -> None:
    case = workload(**{"pass": pass_}, heads=2, q_len=50, head_dim=16, mask="causal", dtype=dtype)
    require(op, case)
    assert_matches(op, case)


@pytest.mark.parametrize(("head_dim", "v_head_dim"), [(8, 12), (12, 5), (1, 1), (17, 17)])
def test_head_dims(op: AttentionOp, head_dim: int, v_head_dim: int) -> None:
    case = workload(
        **{"pass": "forward+backward"}, heads=2, q_len=33, head_dim=head_dim, v_head_dim=v_head_dim
    )
    require(op, case)
    assert_matches(op, exact(op, case))


@pytest.mark.parametrize("mask", ["none", "causal", "window(5)", "causal+padding(0.6)"])
@pytest.mark.parametrize("bias", ["alibi", "random"])
def test_bias(op: AttentionOp, bias: str, mask: str) -> None:
    case = workload(
        **{"pass": "forward+backward"},
        batch=2,
        heads=4,
        kv_heads=2,
        q_len=33,
        kv_len=50,
        head_dim=8,
        mask=mask,
        bias=bias,
    )
    require(op, case)
    assert_matches(op, exact(op, case))


def test_scale_is_the_workloads(op: AttentionOp) -> None:
    case = workload(heads=2, q_len=33, head_dim=8, scale=0.7)
    require(op, case)
    assert_matches(op, exact(op, case))


@pytest.mark.parametrize("mask", ["causal", "window(4)", "causal+window(3)"])
def test_fully_masked_rows_give_zero(op: AttentionOp, mask: str) -> None:
    case = workload(
        **{"pass": "forward+backward"}, heads=2, q_len=50, kv_len=33, head_dim=8, mask=mask
    )
    require(op, case)
    case = exact(op, case)
    empty = build_mask(case).stop[0] <= build_mask(case).start[0]
    assert empty.any(), "the workload has no such row"
    out, dq, dk, dv = run(op, case)
    assert (out[:, :, empty] == 0).all()
    assert (dq[:, :, empty] == 0).all()
    assert dk.isfinite().all()
    assert dv.isfinite().all()
    assert_matches(op, case)


@pytest.mark.parametrize("mask", ["none", "causal", "window(9)"])
def test_decode(op: AttentionOp, mask: str) -> None:
    case = workload(
        **{"pass": "decode"}, q_len=1, kv_len=50, batch=2, heads=4, kv_heads=2, head_dim=8,
        mask=mask,
    )  # fmt: skip
    require(op, case)
    assert_matches(op, exact(op, case))


def test_definition_reads_only_the_fields_of_its_class(op: AttentionOp) -> None:
    op = op.defined_as()
    owner = next(base for base in type(op).__mro__ if "definition" in vars(base))
    own = definition_key(op)[1]
    fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) and not own else ()
    readable = SimpleNamespace(**{field.name: getattr(op, field.name) for field in fields})
    case = workload(heads=2, q_len=8, head_dim=4, dtype="float64")
    q, k, v = inputs_of(case)
    if own:
        pytest.skip(f"{op.spec}: its definition is its own forward")
    mask = build_mask(case)
    found = vars(owner)["definition"](readable, q, k, v, mask=mask, scale=case.scale)
    assert torch.equal(found, op.definition(q, k, v, mask=mask, scale=case.scale))


def test_spec_reads_back(op: AttentionOp) -> None:
    assert parse_spec(str(op.spec)) == op.spec
