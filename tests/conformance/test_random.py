"""Random small workloads: whatever a suite may hold, the variant equals its definition."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harness.variant import AttentionOp
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import assert_matches, exact, refusal, require


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Small workloads over masks, biases, lengths, heads and passes."""
    heads = draw(st.sampled_from([1, 2, 3, 4]))
    terms = draw(st.sets(st.sampled_from(["causal", "window", "padding", "packed"])))
    q_len = draw(st.integers(1, 40))
    fields: dict[str, Any] = {
        "pass": draw(st.sampled_from(["forward", "forward+backward"])),
        "batch": draw(st.integers(1, 3)),
        "heads": heads,
        "kv_heads": draw(st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0])),
        "q_len": q_len,
        "kv_len": q_len if "packed" in terms else draw(st.integers(1, 40)),
        "head_dim": draw(st.sampled_from([1, 4, 9])),
        "bias": draw(st.sampled_from(["none", "alibi", "random"])),
        "seed": draw(st.integers(0, 1000)),
    }
    arguments = {
        "causal": "causal",
        "window": f"window({draw(st.integers(1, 45))})",
        "padding": f"padding({draw(st.floats(0.01, 1)):.3f})",
        "packed": f"packed({draw(st.integers(1, q_len))})",
    }
    return workload(**fields, mask="+".join(arguments[term] for term in sorted(terms)) or "none")


@given(case=workloads())
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much],
)
def _check(op: AttentionOp, case: Workload) -> None:
    if not op.biased:
        case = case.model_copy(update={"bias": "none"})
    assume(refusal(op, case) is None)
    assert_matches(op, exact(op, case))


def test_random_workloads(op: AttentionOp) -> None:
    require(op, workload(heads=2, head_dim=4))
    _check(op)
