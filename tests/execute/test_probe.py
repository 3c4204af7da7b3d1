"""The probe of a case in its own process: claims, random generators, what an import changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.device import CpuDevice
from harness.execute.probe import _profiled
from harness.execute.workers import Workers
from harness.measure.calls import once
from harness.measure.memory import measure
from tests.build import op_named, workload
from tests.execute.asking import described, probe_outcomes, probed
from tests.measure.claims import call_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, as only Linux can safely")

HEAD = """
import random, time
from dataclasses import dataclass
import numpy as np
import torch
from harness import AttentionOp, register, softmax_attention

def plain(name):
    def add(forward):
        methods = {"forward": forward, "__doc__": name}
        cls = type(name.title(), (AttentionOp,), methods)
        return register(name)(dataclass(frozen=True)(cls))
    return add
"""
VARIANTS = (
    HEAD
    + """
@plain("ignores_mask")
def forward(self, q, k, v, *, mask, scale):
    return (q @ k.mT * scale).softmax(-1) @ v

@plain("mixes_batch")
def forward(self, q, k, v, *, mask, scale):
    return softmax_attention(q, k, v + v.mean(0), mask=mask, scale=scale)

@plain("draws")
def forward(self, q, k, v, *, mask, scale):
    torch.rand(1)
    return softmax_attention(q, k, v, mask=mask, scale=scale)

@plain("draws_python")
def forward(self, q, k, v, *, mask, scale):
    random.random()
    return softmax_attention(q, k, v, mask=mask, scale=scale)

@plain("reads_seed")
def forward(self, q, k, v, *, mask, scale):
    out = softmax_attention(q, k, v, mask=mask, scale=scale)
    return out + 0.1 * (torch.initial_seed() == 271828)

BUFFER = {}

@plain("shares")
def forward(self, q, k, v, *, mask, scale):
    out = softmax_attention(q, k, v, mask=mask, scale=scale)
    return BUFFER.setdefault(out.dtype, torch.empty_like(out)).copy_(out)

@plain("late_precision")
def forward(self, q, k, v, *, mask, scale):
    BUFFER["calls"] = BUFFER.get("calls", 0) + 1
    if BUFFER["calls"] == 3:
        torch.set_float32_matmul_precision("medium")
    return softmax_attention(q, k, v, mask=mask, scale=scale)
"""
)
PATCHES = (
    HEAD
    + """
kept = torch.softmax
torch.softmax = lambda *a, **k: kept(*a, **k)

@plain("patches")
def forward(self, q, k, v, *, mask, scale):
    return softmax_attention(q, k, v, mask=mask, scale=scale)
"""
)
SHAPE: dict[str, Any] = {"batch": 2, "heads": 2, "q_len": 40, "head_dim": 8, "mask": "causal"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("variants") / "broken.py"
    path.write_text(VARIANTS)
    return str(path)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("ignores_mask", "causality"),
        ("mixes_batch", "batch_independence"),
        ("draws", "global_rng"),
        ("draws_python", "global_rng"),
        ("reads_seed", "global_rng"),
        ("shares", "own_memory"),
    ],
)
def test_a_variant_that_passes_against_itself_is_caught(
    workers: Workers, file: str, name: str, broken: str
) -> None:
    (outcome,) = probe_outcomes(workers, described(name), files=(file,), **SHAPE)
    assert outcome.answered, outcome
    assert outcome.result["numerics"]["wrong"] is None
    assert list(outcome.result["semantics"]["broken"]) == [broken]


def test_settings_that_a_later_call_changes_are_an_error(workers: Workers, file: str) -> None:
    (outcome,) = probe_outcomes(workers, described("late_precision"), files=(file,), **SHAPE)
    assert outcome.status() == "error"
    assert "matmul precision from" in outcome.reason(1.0)


def test_what_an_import_changes_is_its_own_variants_error(
    workers: Workers, file: str, tmp_path: Path
) -> None:
    path = tmp_path / "patches.py"
    path.write_text(PATCHES)
    patched, other = (
        probe_outcomes(workers, described(name), files=(str(path),), **SHAPE)[0]
        for name in ("patches", "softmax")
    )
    assert patched.status() == "error"
    assert "torch.softmax" in patched.reason(1.0)
    assert other.answered


def test_a_wrong_answer_is_not_probed_further(workers: Workers) -> None:
    right, wrong = probed(workers, described("softmax"), described("polynomial"), **SHAPE)
    assert right["semantics"]["broken"] == {}
    assert "causality" in right["semantics"]["held"]
    assert wrong["numerics"]["wrong"] is not None
    assert wrong["semantics"] is None


@pytest.mark.parametrize("kind", ["forward", "backward", "forward+backward", "decode"])
def test_probing_claims_changes_nothing_else_that_a_probe_tells(
    installed: None, workers: Workers, kind: str
) -> None:
    shape = {**SHAPE, "pass": kind, "q_len": 1 if kind == "decode" else 40, "kv_len": 40}
    (found,) = probed(workers, described("softmax"), **shape)
    assert found["semantics"]["broken"] == {}
    call = call_of(op_named("softmax"), workload(**shape))
    once(call, CpuDevice())
    call.forget()
    if kind == "decode":
        call.before()
    used, _ = measure(CpuDevice(), lambda: _profiled(call))
    assert found["probe"]["peak_bytes"] == used.peak_bytes
    assert found["probe"]["output_bytes"] == used.output_bytes


def test_a_triangle_whose_scores_are_spread_too_far_is_a_fallback(workers: Workers) -> None:
    triangle = described("symmetric", kernel="triangle")
    asked = {"heads": 2, "q_len": 64, "shared": "qk"}
    (usual,) = probed(workers, triangle, **asked)
    assert usual["fallback"] is None
    assert "attnbench::triangle" in usual["probe"]["kernels"]
    (wide,) = probed(workers, triangle, **asked, inputs="normal(200)")
    assert wide["numerics"]["wrong"] is None
    assert wide["semantics"]["broken"] == {}
    assert wide["fallback"].startswith(
        "asked for attnbench::triangle, but the kernels that ran are attnbench::two_sided"
    )
