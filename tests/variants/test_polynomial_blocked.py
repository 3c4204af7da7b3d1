"""polynomial(kernel=blocked): what is cut, skipped, summed and kept."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from harness.device import CpuDevice
from harness.inputs import make_inputs
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import MASKS, assert_matches, defined
from tests.variants.test_costs import counted
from variants.polynomial import Polynomial, blocked
from variants.polynomial.strips import cuts
from variants.softmax import Softmax

BLOCKED = Polynomial(kernel="blocked")
GRADIENTS = {"pass": "forward+backward"}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 rows and 24 keys, two heads at a time, so that short lengths have many."""
    monkeypatch.setattr(blocked, "FEWEST_ROWS", 16)
    monkeypatch.setattr(blocked, "ROWS", 32)
    monkeypatch.setattr(blocked, "KV_BLOCK", 24)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_many_blocks(degree: int, mask: str) -> None:
    op = Polynomial(degree, norm="row" if degree % 2 else "sequence", kernel="blocked")
    for q_len, kv_len in ((70, 70), (70, 101), (101, 70)):
        if "packed" in mask and q_len != kv_len:
            continue
        sizes = {"q_len": q_len, "kv_len": kv_len, "head_dim": 8, "v_head_dim": 5}
        case = workload(
            **GRADIENTS, **sizes, batch=2, heads=6, kv_heads=3, mask=mask, dtype="float64"
        )
        assert_matches(op, case)


@pytest.mark.parametrize("mask", [*MASKS, "window(30)"])
def test_tiles_hold_what_the_mask_shows_and_nothing_else(mask: str) -> None:
    case = workload(batch=2, q_len=90, mask=mask)
    whole = case.build_mask()
    for cut, seen in zip(cuts(whole, 16, 24), whole.dense(), strict=True):
        found = torch.zeros_like(seen)
        for strip in cut.strips:
            for tile in strip.tiles:
                scores = torch.ones(1, 16, tile.keys.stop - tile.keys.start)
                scores = scores[:, : strip.rows.stop - strip.rows.start]
                cut.hide(scores, strip, tile)
                assert (scores == 1).any()
                found[:, strip.rows, tile.keys] = scores.bool()
        assert torch.equal(found, seen)
        assert cut.pairs <= 2 * int(seen.sum()) + 16 * 90


def test_only_what_some_rows_do_not_see_is_hidden() -> None:
    """Rows 32..47 of a causal mask: all see 0..32, the last sees 47."""
    (cut,) = cuts(workload(q_len=90, mask="causal").build_mask(), 16, 24)
    first, second = cut.strips[2].tiles
    assert (first.keys, first.partial) == (slice(0, 24), ())
    assert (second.keys, second.partial) == (slice(24, 48), (slice(33, 48),))
    assert [len(strip.tiles) for strip in cut.strips] == [1, 2, 2, 3, 4, 4]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("pass_", ["forward", "backward", "forward+backward"])
def test_products_are_counted_to_the_flop(pass_: str, mask: str) -> None:
    sizes = {"q_len": 75, "head_dim": 8, "v_head_dim": 12}
    case = workload(pass_=pass_, batch=2, heads=4, kv_heads=2, mask=mask, **sizes)
    assert BLOCKED.cost(case).flops == counted(BLOCKED, case)


def test_half_of_a_causal_square_is_skipped() -> None:
    square, causal = (workload(q_len=4096, heads=8, mask=mask) for mask in ("none", "causal"))
    whole, part = (BLOCKED.cost(case).flops for case in (square, causal))
    assert whole == square.flops()
    assert part is not None
    assert part / square.flops() == pytest.approx((4096 + 128) / (2 * 4096))


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("mask", ["none", "causal+padding(0.6)"])
def test_gradcheck(degree: int, mask: str) -> None:
    case = workload(
        **GRADIENTS, batch=2, heads=2, kv_heads=1, q_len=5, kv_len=6, head_dim=3, mask=mask,
        dtype="float64",
    )  # fmt: skip
    attend = Polynomial(degree, kernel="blocked").prepare(case, case.build_mask())
    inputs = tuple(tensor.requires_grad_() for tensor in make_inputs(case))
    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("kernel", ["blocked", "linear"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_summed_in_float32(dtype: str, kernel: Any) -> None:
    """The result is rounded once: a sum in 16 bits would be off by several times that."""
    op = Polynomial(2, kernel=kernel)
    case = workload(q_len=64, kv_len=3000, head_dim=16, dtype=dtype)
    inputs = make_inputs(case)
    out = op.prepare(case, case.build_mask())(*inputs)
    (expected,) = defined(op, case, torch.float64, inputs)
    error = (out.double() - expected).norm() / expected.norm()
    assert out.dtype == case.torch_dtype
    assert error < 0.5 * torch.finfo(case.torch_dtype).eps


def _peak(op: Polynomial | Softmax, case: Workload) -> int:
    """Bytes above inputs and output gradient, as the harness counts them."""
    inputs = [tensor.requires_grad_(case.has_gradients) for tensor in make_inputs(case)]
    upstream = torch.ones(1, 1, case.q_len, 64)
    attend = op.prepare(case, case.build_mask())

    def call() -> object:
        out = attend(*inputs)
        return torch.autograd.grad(out, inputs, upstream) if case.has_gradients else out

    return CpuDevice().profile(call).peak_bytes


@pytest.mark.parametrize(("pass_", "least"), [("forward", 59), ("forward+backward", 32)])
def test_memory_at_16384_is_a_fraction_of_softmax(pass_: str, least: int) -> None:
    """The headline of Rabe and Staats 2021 (arXiv:2112.05682), for one head in float32.

    Bytes are a polynomial of the length, exactly, and so are known at one that would fill the
    machine: of degree 2 for softmax, which holds matrices of scores, of degree 1 for blocks.
    """
    found: dict[Polynomial | Softmax, list[int]] = {
        op: [_peak(op, workload(pass_=pass_, q_len=512 * n, head_dim=64)) for n in (1, 2, 3, 4)]
        for op in (Softmax(), BLOCKED)
    }
    rises = {op: [b - a for a, b in itertools.pairwise(peaks)] for op, peaks in found.items()}
    bends = {op: [b - a for a, b in itertools.pairwise(rise)] for op, rise in rises.items()}
    assert bends[BLOCKED] == [0, 0]
    assert bends[Softmax()][0] == bends[Softmax()][1] > 0
    more = 16384 // 512 - 1
    softmax, own = (
        found[op][0] + more * rises[op][0] + more * (more - 1) // 2 * bends[op][0] for op in found
    )
    assert softmax >= least * own
