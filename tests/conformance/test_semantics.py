"""Every variant holds what it claims, probed as each case of a run is."""

from __future__ import annotations

from typing import Any

import pytest
from torch._dynamo.utils import counters

from harness.device import CpuDevice
from harness.measure.calls import once
from harness.measure.kernels import compiled_frames
from harness.variant import AttentionOp
from harness.workload import Workload
from tests.build import op_named, workload
from tests.conformance.contract import require
from tests.measure.claims import call_of, semantics_of

SHAPE: dict[str, Any] = {"batch": 3, "heads": 4, "q_len": 33, "head_dim": 16}
CASES: dict[str, dict[str, Any]] = {
    "none": {},
    "grouped": {"kv_heads": 2, "v_head_dim": 8},
    "causal": {"mask": "causal", "kv_len": 50},
    "everything": {"mask": "causal+window(7)+packed(3)+padding(0.7)", "kv_heads": 2},
    "padding": {"mask": "padding(0.6)", "pass": "forward+backward"},
    "one slice": {"mask": "causal", "batch": 1, "heads": 1, "pass": "backward"},
    "decode": {"pass": "decode", "q_len": 1, "kv_len": 40, "mask": "window(9)"},
}
ALWAYS = {"own_memory", "global_rng", "determinism", "freshness"}


def _expected(op: AttentionOp, case: Workload) -> set[str]:
    spec = case.mask_spec
    names = {
        "causality": spec.causal,
        "window": spec.window,
        "packing": spec.packed,
        "padding": spec.padding,
        "batch_independence": case.batch > 1,
        "grouped_heads": case.kv_heads < case.heads,
        "head_independence": case.kv_heads == case.heads > 1 and op.headwise,
        "row_independence": case.q_len > 1 and op.rowwise,
        "permutation": case.mask == "none" and op.permutation_equivariant,
        "scale": op.scaled,
    }
    return ALWAYS | {name for name, claimed in names.items() if claimed}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_what_a_variant_claims_holds(op: AttentionOp, name: str, dtype: str) -> None:
    case = workload(**{**SHAPE, "dtype": dtype, **CASES[name]})
    require(op, case)
    counters.clear()
    found = semantics_of(op, case)
    assert found.broken == {}
    assert set(found.held) == _expected(op, case)


@pytest.mark.usefixtures("compiler")
def test_what_a_compiled_variant_claims_holds(compiled_op: AttentionOp) -> None:
    case = workload(**SHAPE, mask="causal+padding(0.6)")
    require(compiled_op, case)
    counters.clear()
    found = semantics_of(compiled_op, case)
    assert found.broken == {}
    assert found.not_probed["scale"] == "it is compiled, and another scale would be compiled anew"
    assert set(found.held) == _expected(compiled_op, case) - {"scale"}


@pytest.mark.parametrize("kind", ["forward", "forward+backward"])
@pytest.mark.usefixtures("compiler")
def test_probing_compiles_nothing(kind: str) -> None:
    case = workload(**SHAPE, mask="causal", compile=True, **{"pass": kind})
    op = op_named("softmax")
    call = call_of(op, case)
    counters.clear()
    once(call, CpuDevice())
    before = compiled_frames(), counters["stats"]["unique_graphs"]
    found = semantics_of(op, case, call=call)
    assert "causality" in found.held
    assert found.not_probed["scale"] == "it is compiled, and another scale would be compiled anew"
    assert (compiled_frames(), counters["stats"]["unique_graphs"]) == before == (1, 1)
