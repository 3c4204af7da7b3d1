"""What a variant claims, and what the mask asks for, probed from outside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from harness.measure.semantics import Semantics
from tests.build import op_named, workload
from tests.measure import claims
from tests.measure.claims import Plain, call_of, saying, semantics_of
from tests.measure.gate import small

ALWAYS = {"own_memory", "global_rng", "determinism", "freshness"}
ALONE = {"batch": 1, "heads": 1}


def probed(variant: Any, *, passes: bool = True, **fields: Any) -> Semantics:
    """A variant, or its class, on a small forward workload."""
    op = variant() if isinstance(variant, type) else variant
    torch.manual_seed(0)
    counters.clear()  # what earlier tests compiled is no business of this one
    return semantics_of(op, small(**{"pass": "forward", **fields}), passes=passes)


def broken(variant: Any, **fields: Any) -> dict[str, str]:
    return probed(variant, **fields).broken


HELD: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"batch_independence", "head_independence", "row_independence", "permutation", "scale"}),
    (ALONE, {"row_independence", "permutation", "scale"}),
    ({**ALONE, "mask": "causal"}, {"causality", "row_independence", "scale"}),
    ({**ALONE, "mask": "window(9)"}, {"window", "row_independence", "scale"}),
    (
        {"mask": "causal+window(9)+padding(0.6)", "kv_heads": 2, "bias": "random"},
        {"causality", "window", "padding", "batch_independence", "grouped_heads"}
        | {"row_independence", "scale"},
    ),
    (
        {"mask": "causal+packed(3)", "pass": "forward+backward"},
        {"causality", "packing", "batch_independence", "head_independence", "row_independence"}
        | {"scale"},
    ),
    (
        {"mask": "causal", "pass": "backward", "q_len": 48, "kv_len": 64},
        {"causality", "batch_independence", "head_independence", "row_independence", "scale"},
    ),
    (
        {"pass": "decode", "q_len": 1, "kv_len": 40, "mask": "window(9)"},
        {"window", "batch_independence", "head_independence", "scale"},
    ),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("fields", "expected"), HELD)
def test_what_holds(fields: dict[str, Any], expected: set[str], dtype: str) -> None:
    class Biased(Plain):
        biased = True

    found = probed(Biased, dtype=dtype, **fields)
    assert found.broken == {}
    assert set(found.held) == expected | ALWAYS
    assert not set(found.held) & set(found.not_probed)
    assert len(found.held) + len(found.not_probed) == 14


@pytest.mark.parametrize("shape", [{}, ALONE])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("variant", "mask", "name"),
    [
        (claims.IgnoresMask, "causal", "causality"),
        (claims.IgnoresMask, "window(9)", "window"),
        (claims.IgnoresMask, "padding(0.6)", "padding"),
        (claims.IgnoresMask, "packed(3)", "packing"),
        (claims.Wider, "causal", "causality"),
        (claims.Wider, "window(9)", "window"),
        (claims.WiderLeft, "window(9)", "window"),
        (claims.Wider, "padding(0.6)", "padding"),
        (claims.Wider, "packed(3)", "packing"),
        (claims.WiderLeft, "packed(3)", "packing"),
        (claims.Drops, "window(30)+padding(0.6)", "padding"),
        (claims.DropsCausal, "causal+window(9)", "causality"),
        (claims.DropsWindow, "causal+window(9)", "window"),
        (claims.DropsPacked, "causal+packed(3)", "packing"),
    ],
)
def test_a_leak_is_named(
    variant: type[Plain], mask: str, name: str, dtype: str, shape: dict[str, Any]
) -> None:
    assert list(broken(variant, mask=mask, dtype=dtype, **shape)) == [name]


def test_the_reason_says_which_row() -> None:
    told = broken(claims.Wider, mask="causal", **ALONE)["causality"]
    assert told.startswith("row 12 of head 0 changes by ")
    assert told.endswith(") when keys in its future change")
    told = broken(claims.IgnoresScale)["scale"]
    assert "batch " in told
    assert told.endswith("; if that is its formula, write scaled = False")


@pytest.mark.parametrize("kind", ["forward+backward", "backward"])
def test_a_leak_is_seen_where_the_pass_has_gradients(kind: str) -> None:
    assert list(broken(claims.Wider, mask="causal", **{"pass": kind})) == ["causality"]


@pytest.mark.parametrize(
    ("variant", "fields", "name"),
    [
        (claims.IgnoresScale, {}, "scale"),
        (claims.Linear, {}, "scale"),
        (claims.BatchNorm, {}, "batch_independence"),
        (claims.FirstOfBatch, {"mask": "causal"}, "batch_independence"),
        (claims.FirstGroup, {"kv_heads": 2}, "grouped_heads"),
        (claims.TalkingHeads, {}, "head_independence"),
        (claims.TalkingHeads, {"kv_heads": 2, "mask": "causal"}, "grouped_heads"),
        (claims.SoftmaxOverQueries, {}, "row_independence"),
        (claims.Positional, {}, "permutation"),
        (claims.Counts, {}, "determinism"),
        (claims.OwnNoise, {}, "determinism"),
        (claims.Draws, {}, "global_rng"),
        (claims.DrawsNumpy, {}, "global_rng"),
        (saying(claims.Draws, weight=0.1), {}, "global_rng"),
        (claims.SharedBuffer, {}, "own_memory"),
        (claims.WritesLater, {}, "own_memory"),
        (claims.Cached, {}, "freshness"),
        (claims.Cached, ALONE, "freshness"),
        (claims.Cached, {**ALONE, "mask": "causal"}, "freshness"),
    ],
)
def test_what_is_broken_is_named(variant: Any, fields: dict[str, Any], name: str) -> None:
    assert list(broken(variant, **fields)) == [name]


def test_heads_read_from_the_wrong_group_are_named() -> None:
    found = broken(claims.Transposed, kv_heads=2, passes=False)
    assert list(found) == ["grouped_heads"]
    still = broken(claims.OneGroupStands, kv_heads=2)
    assert next(iter(still)) == "grouped_heads"
    assert "does not change when its own keys and values do" in still["grouped_heads"]


@pytest.mark.parametrize(
    ("variant", "claim"),
    [
        (claims.IgnoresScale, "scaled"),
        (claims.TalkingHeads, "headwise"),
        (claims.SoftmaxOverQueries, "rowwise"),
        (claims.Neighbours, "rowwise"),
        (claims.Positional, "permutation_equivariant"),
    ],
)
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_a_claim_that_is_withdrawn_is_not_probed(
    variant: type[Plain], claim: str, mask: str
) -> None:
    found = probed(saying(variant, **{claim: False}), mask=mask)
    assert found.broken == {}
    assert f"the variant says {claim} = False" in found.not_probed.values()


def test_heads_that_mix_may_be_grouped() -> None:
    mixing = saying(claims.TalkingHeads, headwise=False)
    assert broken(mixing, kv_heads=2, mask="causal+window(9)") == {}


def test_the_mask_cannot_be_disclaimed() -> None:
    modest = dict.fromkeys(
        ("scaled", "headwise", "rowwise", "permutation_equivariant", "deterministic"), False
    )
    assert list(broken(saying(claims.Wider, **modest), mask="causal")) == ["causality"]
    assert list(broken(saying(claims.BatchNorm, **modest))) == ["batch_independence"]


def test_random_numbers_that_are_declared_are_no_fault() -> None:
    found = probed(saying(claims.Draws, deterministic=False))
    assert found.broken == {}
    assert found.not_probed["determinism"] == "it draws random numbers at each call, as it says"


def test_another_scale_that_is_refused_is_not_probed() -> None:
    found = probed(claims.NoOtherScale)
    assert found.broken == {}
    told = "at twice the scale it raises ValueError: only the usual scale"
    assert found.not_probed["scale"] == told
    assert "row_independence" in found.held


def test_features_drawn_in_prepare_are_drawn_alike_for_another_scale() -> None:
    assert broken(claims.DrawnInPrepare, passes=False) == {}


def test_what_is_drawn_beside_a_wrong_scale_is_not_hidden_by_it() -> None:
    assert set(broken(claims.ScaleAndBatch)) == {"scale", "batch_independence"}


def test_an_output_in_the_memory_of_an_input_is_named() -> None:
    assert broken(claims.ReturnsValues)["own_memory"] == "its output lies in the memory of v"


def test_the_inputs_are_put_back() -> None:
    asked = small(**{"pass": "forward"}, mask="causal")
    call = call_of(Plain(), asked)
    before = call.buffers.k.clone()
    semantics_of(Plain(), asked, call=call)
    assert torch.equal(call.buffers.k, before)


def test_a_number_that_comes_twice_by_chance_is_no_fault(installed: None) -> None:
    case = {"batch": 3, "heads": 6, "kv_heads": 1, "q_len": 1, "kv_len": 33, "head_dim": 1}
    asked = workload(
        **case, mask="padding(0.895)", seed=885, dtype="bfloat16", **{"pass": "decode"}
    )
    op = op_named("chunked(q_chunk=15, kv_chunk=100)")
    assert semantics_of(op, asked).broken == {}


def test_sums_in_another_order_are_no_fault_in_float64(installed: None) -> None:
    case = {"batch": 2, "heads": 6, "q_len": 200, "head_dim": 1, "seed": 937, "dtype": "float64"}
    assert semantics_of(op_named("polynomial"), workload(**case)).broken == {}


def test_what_louder_values_leave_by_rounding_is_no_fault() -> None:
    assert broken(claims.PrefixSums, mask="window(60)", q_len=512, **ALONE) == {}


def test_a_key_that_weighs_nothing_need_not_show() -> None:
    class Biased(Plain):
        biased = True

    # Rows before the tested one see its hidden keys at a distance of 150, where alibi gives e^-37.
    case = {"heads": 4, "q_len": 12, "kv_len": 200, "head_dim": 8, "bias": "alibi"}
    op = saying(Biased, rowwise=False)
    found = semantics_of(op, workload(**case, mask="window(150)"))
    assert found.broken == {}
    assert "window" in found.held


def test_one_key_is_seen_among_many_in_bfloat16() -> None:
    found = broken(claims.Wider, **ALONE, mask="causal", q_len=1024, dtype="bfloat16", seed=1)
    assert list(found) == ["causality"]
