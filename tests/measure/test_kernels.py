from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.utils import counters

from harness import AttentionOp, Workload
from harness.measure import kernels
from harness.measure.faults import status_of
from tests.measure.gate import small


@dataclass(frozen=True)
class Picky(AttentionOp):
    """Asks for one of two kernels."""

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        return "flash", "efficient"


@pytest.fixture(autouse=True)
def _fresh_counters() -> Iterator[None]:
    before = torch._dynamo.config.fail_on_recompile_limit_hit
    kernels.watch_compiler()
    yield
    counters.clear()
    torch._dynamo.config.fail_on_recompile_limit_hit = before


def test_a_kernel_that_was_asked_for_must_have_run() -> None:
    assert kernels.fallback(Picky(), small(), ["aten::bmm", "aten::_flash_attention"]) is None
    assert kernels.fallback(Picky(), small(), ["aten::bmm", "aten::add"]) == (
        "asked for flash or efficient, but the kernels that ran are aten::bmm, aten::add"
    )
    assert kernels.fallback(Picky(), small(), []) == (
        "asked for flash or efficient, but the kernels that ran are none"
    )
    assert kernels.fallback(AttentionOp(), small(), []) is None


def test_a_broken_graph_is_a_fallback() -> None:
    counters["graph_break"]["call to print"] += 2
    assert kernels.fallback(AttentionOp(), small(), []) == (
        "torch.compile broke the graph 2 times: call to print"
    )


def test_nothing_compiled_is_a_fallback() -> None:
    asked = small(compile=True)
    reason = "torch.compile compiled no frame: the call ran eagerly"
    assert kernels.fallback(AttentionOp(), asked, []) == reason
    counters["frames"]["ok"] += 1
    assert kernels.compiled_frames() == 1
    assert kernels.fallback(AttentionOp(), asked, []) is None


def test_watching_starts_from_nothing_and_refuses_the_recompile_limit() -> None:
    counters["graph_break"]["call to print"] += 1
    torch._dynamo.config.fail_on_recompile_limit_hit = False
    kernels.watch_compiler()
    assert kernels.fallback(AttentionOp(), small(), []) is None
    assert torch._dynamo.config.fail_on_recompile_limit_hit is True


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), "oom"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "oom"),
        (ValueError("out of memory"), "error"),
        (RuntimeError("shapes do not match"), "error"),
        (FailOnRecompileLimitHit("limit"), "fallback"),
    ],
)
def test_what_was_raised_is_a_status(error: BaseException, status: str) -> None:
    assert status_of(error) == status


def test_every_entrant_of_a_race_may_compile() -> None:
    kernels.watch_compiler()
    try:
        kernels.allow_compilations(12)
        assert torch._dynamo.config.recompile_limit >= 8 + 12
    finally:
        torch._dynamo.reset()
        torch._dynamo.config.recompile_limit = 8
