from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.utils import counters

from harness import AttentionOp, Workload
from harness.measure import kernels
from harness.measure.faults import reason_of, status_of
from tests.measure.gate import small

WHOLE = "change that, so that the whole call compiles"


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
        f"torch.compile broke the graph 2 times: call to print; {WHOLE}"
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


def test_a_graph_that_breaks_is_told_once_and_with_its_cause() -> None:
    watch = kernels.CompileWatch()
    assert watch.fell_back() is None
    counters["graph_break"]["call to print"] += 1
    assert watch.fell_back() == f"torch.compile broke the graph 1 time: call to print; {WHOLE}"
    assert watch.fell_back() is None
    counters["graph_break"]["call to print"] += 1
    counters["graph_break"]["data-dependent branch"] += 2
    assert kernels.CompileWatch().fell_back() is None
    assert watch.fell_back() == f"torch.compile broke the graph 3 times: call to print; {WHOLE}"


def test_a_compiled_graph_is_seen_to_run() -> None:
    def double(values: torch.Tensor) -> torch.Tensor:
        return values.sin() * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own modules use what torch deprecates
        importlib.import_module("torch._inductor.compile_fx")
    values = torch.ones(8)
    assert kernels.ran_eagerly(lambda: double(values)) == kernels.EAGER
    first, copy = (torch.compile(double, dynamic=False) for _ in range(2))
    for compiled in (first, first, copy):
        assert kernels.ran_eagerly(lambda call=compiled: call(values)) is None  # type: ignore[misc]
    assert sys.getprofile() is None
    torch._dynamo.reset()


def test_the_limit_of_recompilations_is_explained() -> None:
    reason = reason_of(FailOnRecompileLimitHit("limit"))
    assert reason.startswith("torch.compile hit its limit of recompilations (limit) and would")


def test_who_is_compiled_anew_at_every_call_is_told() -> None:
    watch = kernels.CompileWatch()
    told = []
    for _ in range(kernels.ANEW + 1):
        counters["frames"]["ok"] += 1
        told += [watch.compiled_anew("restless"), watch.compiled_anew("calm")]
    assert told[:-2] == [None] * (2 * kernels.ANEW)
    assert str(told[-2]).startswith("torch.compile compiled it anew in 5 calls; let nothing that")
    assert told[-1] is None
