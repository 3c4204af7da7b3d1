"""Probes where q and k, or q, k and v, have the same values: all of them change together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from harness.inputs import make_inputs
from harness.measure.calls import make_buffers
from harness.measure.perturbation import Perturbations
from harness.measure.properties import CHANGES
from harness.measure.semantics import Semantics
from harness.measure.vacuity import gate_of
from harness.reference import softmax_attention
from harness.variant import AttentionOp
from harness.workload import Workload
from tests.build import op_named
from tests.measure import claims
from tests.measure.claims import Plain, semantics_of
from tests.measure.gate import small, subject_of
from variants.symmetric import Symmetric

MASKS = ("none", "causal", "window(9)", "padding(0.6)", "packed(3)")


class Asks(Plain):
    """Wrong wherever it is given what a workload with shared values may not give."""

    shared = "qk"

    def forward(self, q: Any, k: Any, v: Any, **given: Any) -> Any:
        same = torch.equal(q, k) and (self.shared == "qk" or torch.equal(q, v))
        return softmax_attention(q, k, v, **given) if same else torch.full_like(v, torch.nan)


class AsksForAll(Asks):
    shared = "qkv"


class Future(Symmetric):
    """The triangle, with the mask left out."""

    def prepare(self, workload: Workload, mask: Any) -> Any:
        whole = workload.model_copy(update={"mask": "none"})
        return super().prepare(whole, whole.build_mask())


def probed(op: AttentionOp, *, passes: bool = True, **fields: Any) -> Semantics:
    torch.manual_seed(0)
    counters.clear()
    asked = small(**{"pass": "forward", "shared": "qk", **fields})
    return semantics_of(op, asked, passes=passes)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("op", [Asks(), AsksForAll()], ids=["qk", "qkv"])
def test_every_call_of_the_probes_has_shared_values(op: Asks, mask: str, dtype: str) -> None:
    found = probed(op, shared=op.shared, mask=mask, dtype=dtype)
    assert found.broken == {}
    assert {"freshness", "batch_independence", "head_independence"} <= set(found.held)
    assert ("scale" in found.held) == (op.shared == "qk")
    assert ("permutation" in found.held) == (mask == "none")


def test_without_shared_values_the_same_variant_is_caught() -> None:
    """The check above can fail."""
    with pytest.raises(AssertionError, match="the gate says"):
        probed(Asks(), shared="none")


@pytest.mark.parametrize("kind", ["forward", "backward"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shared", ["qk", "qkv"])
@pytest.mark.parametrize(
    ("op", "mask", "name"),
    [
        (claims.IgnoresMask(), "causal", "causality"),
        (claims.Wider(), "causal", "causality"),
        (claims.WiderLeft(), "window(9)", "window"),
        (claims.Wider(), "padding(0.6)", "padding"),
        (claims.Wider(), "packed(3)", "packing"),
        (claims.DropsCausal(), "causal+window(9)", "causality"),
    ],
)
def test_a_leak_is_named(
    op: Plain, mask: str, name: str, shared: str, dtype: str, kind: str
) -> None:
    fields: dict[str, Any] = {"mask": mask, "shared": shared, "dtype": dtype, "pass": kind}
    found = probed(op, **fields)
    assert list(found.broken) == [name]
    assert found.broken[name].endswith(f"when {CHANGES[name]}")


@pytest.mark.parametrize("shared", ["qk", "qkv"])
def test_a_triangle_that_reads_the_future_is_caught_by_gate_and_probe(shared: str) -> None:
    op = Future(kernel="triangle", block=16)
    found = probed(op, passes=False, mask="causal", shared=shared)
    assert list(found.broken) == ["causality"]


@pytest.mark.parametrize(
    ("op", "fields", "name"),
    [
        (claims.IgnoresScale(), {}, "scale"),
        (claims.Linear(), {}, "scale"),
        (claims.BatchNorm(), {}, "batch_independence"),
        (claims.BatchNorm(), {"shared": "qkv"}, "batch_independence"),
        (claims.TalkingHeads(), {}, "head_independence"),
        (claims.TalkingHeads(), {"shared": "qkv", "mask": "causal"}, "head_independence"),
        (claims.saying(claims.Positional, scaled=False), {}, "permutation"),
        (claims.Positional(), {"shared": "qkv"}, "permutation"),
        (claims.Cached(), {}, "freshness"),
        (claims.Cached(), {"shared": "qkv", "mask": "causal"}, "freshness"),
    ],
)
def test_what_is_broken_is_named(op: Plain, fields: dict[str, Any], name: str) -> None:
    assert list(probed(op, **fields).broken) == [name]


def test_the_reason_says_what_was_done() -> None:
    told = probed(claims.IgnoresScale()).broken["scale"]
    assert "when the scale is four times as large and q, which is k, is halved; if that" in told


def test_what_is_not_probed_says_why() -> None:
    found = probed(Plain(), shared="qkv").not_probed
    assert found["row_independence"] == "its queries are its keys as well"
    assert found["scale"] == "q cannot be halved without v, which it is as well"


@pytest.mark.parametrize("shared", ["qk", "qkv"])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_changes_are_written_to_all(shared: str, mask: str) -> None:
    asked = small(shared=shared, mask=mask, **{"pass": "forward"})
    inputs = make_inputs(asked)
    planner = Perturbations(op_named("softmax"), asked, torch.arange(64), inputs[0])
    names = ["causality"] if mask == "causal" else ["batch_independence", "permutation"]
    change = planner.change(planner.plan(names, 0), names)
    buffers = make_buffers(asked, inputs)
    change.write(asked, inputs, buffers)
    assert torch.equal(buffers.q, buffers.k)
    assert torch.equal(buffers.q, buffers.v) == (shared == "qkv")
    assert not torch.equal(buffers.q, inputs[0])
    assert not torch.equal(buffers.v, inputs[2])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shared", ["qk", "qkv"])
@pytest.mark.parametrize(
    "fields", [{}, {"mask": "causal", "q_len": 300}, {"head_dim": 64}], ids=str
)
@pytest.mark.parametrize("name", ["softmax", "polynomial(degree=2)"])
def test_no_mutant_survives(
    installed: None, name: str, fields: dict[str, Any], shared: str, dtype: str
) -> None:
    subject = subject_of(small(shared=shared, dtype=dtype, **fields), op_named(name).definition)
    found = gate_of(subject.definition, subject.asked, subject.truth)
    assert found.survived == ()
    assert {"scale_off", "one_key_dropped", "gradient_scaled", "mean_of_v"} <= set(found.killed)
