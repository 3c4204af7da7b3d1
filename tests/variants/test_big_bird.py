"""BigBird: its pattern, when it is softmax attention, and that it is linear in the length."""

from __future__ import annotations

import pytest
import torch

from harness.device import CpuDevice
from harness.inputs import make_inputs
from harness.measure.truth import softmax_rows
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import MASKS
from tests.variants.looped import computed
from tests.variants.test_costs import PASSES, counted
from variants.big_bird import BigBird, pattern
from variants.gathered import Gathered

SMALL = BigBird(block=4, global_blocks=1, random_blocks=2)


@pytest.mark.parametrize("mask", MASKS)
def test_a_pattern_that_shows_everything_is_softmax(mask: str) -> None:
    op = BigBird(block=4, window=1, global_blocks=0, random_blocks=12)
    case = workload(batch=2, heads=2, q_len=46, head_dim=6, mask=mask, dtype="float64")
    judged = case.build_mask().judged[:, None, :, None]
    if case.mask_spec.causal:  # blocks are drawn from those before it alone
        assert not pattern(op, case.build_mask()).all()
    torch.testing.assert_close(computed(op, case) * judged, softmax_rows(case) * judged)


def test_a_query_sees_its_window_the_global_blocks_and_random_ones() -> None:
    op = BigBird(block=4, window=3, global_blocks=2, random_blocks=3, seed=1)
    shown = pattern(op, workload(q_len=80).build_mask())
    assert shown.shape == (20, 20)
    assert shown[:2].all()
    assert shown[:, :2].all()
    for own in range(4, 19):
        assert shown[own, own - 1 : own + 2].all()
        assert int(shown[own].sum()) == 3 + 2 + 3
    drawn = [shown[own].nonzero()[:, 0].tolist() for own in range(4, 19)]
    assert len({tuple(blocks) for blocks in drawn}) == len(drawn)


def test_under_a_causal_mask_blocks_are_drawn_from_those_before() -> None:
    op = BigBird(block=4, window=3, global_blocks=1, random_blocks=3)
    shown = pattern(op, workload(q_len=80, mask="causal").build_mask())
    for own in range(6, 20):
        assert int(shown[own, : own - 1].sum()) == 1 + 3
        assert not shown[own, own + 2 :].any()


def test_a_seed_draws_the_same_again_and_another_seed_others() -> None:
    mask = workload(q_len=80).build_mask()
    first, again, other = (pattern(BigBird(block=4, seed=seed), mask) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("q_len", "kv_len"), [(46, 46), (10, 46), (1, 46), (46, 10), (9, 43)])
@pytest.mark.parametrize("mask", ["none", "causal", "window(9)"])
def test_no_key_outside_the_pattern_shows(q_len: int, kv_len: int, mask: str) -> None:
    """With unit vectors for values the output is the weights."""
    case = workload(q_len=q_len, kv_len=kv_len, head_dim=4, v_head_dim=kv_len, mask=mask)
    q, k, _ = make_inputs(case)
    built = case.build_mask()
    first = (kv_len - q_len) // 4
    own = torch.arange(kv_len - q_len, kv_len).div(4, rounding_mode="floor") - first
    allowed = pattern(SMALL, built)[own][:, torch.arange(kv_len) // 4] & built.dense()[0, 0]
    weights = SMALL.prepare(case, built)(q, k, torch.eye(kv_len)[None, None])
    assert torch.equal(weights[0, 0] > 0, allowed)


def test_blocks_that_the_mask_hides_are_not_gathered() -> None:
    op = BigBird(block=4, window=5, global_blocks=0, random_blocks=0)
    masks = {mask: workload(q_len=80, mask=mask).build_mask() for mask in ("none", "causal")}
    plans = {name: Gathered.of(pattern(op, mask), mask, 4, 0) for name, mask in masks.items()}
    assert [plan.numbers.shape for plan in plans.values()] == [(20, 5), (20, 3)]


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_work_and_memory_grow_with_the_length_alone(mask: str) -> None:
    op = BigBird(block=8)
    cases = [workload(q_len=length, head_dim=8, mask=mask) for length in (512, 2048)]
    flops = [op.cost(case).flops or 0 for case in cases]
    assert 3.9 < flops[1] / flops[0] < 4.2
    assert flops[1] < cases[1].flops_of(cases[1].all_pairs) / 20
    peaks = [_peak(op, case) for case in cases]
    assert peaks[1] < 4.5 * peaks[0]


def _peak(op: BigBird, case: Workload) -> int:
    inputs = make_inputs(case)
    attend = op.prepare(case, case.build_mask())
    return CpuDevice().profile(lambda: attend(*inputs)).peak_bytes


@pytest.mark.parametrize("mask", ["none", "causal", "window(40)", "padding(0.5)", "packed(3)"])
@pytest.mark.parametrize("pass_", PASSES)
def test_products_are_counted_to_the_flop(pass_: str, mask: str) -> None:
    sizes = {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 150, "head_dim": 16, "v_head_dim": 16}
    case = workload(pass_=pass_, mask=mask, **sizes)
    assert SMALL.cost(case).flops == counted(SMALL, case)


def test_one_query_reads_a_few_blocks() -> None:
    case = workload(pass_="decode", heads=4, kv_heads=2, q_len=1, kv_len=400, head_dim=16)
    cost, every = SMALL.cost(case), case.compulsory_bytes()
    # Two blocks of the window (none lies behind), one global, two drawn; and q and the output.
    assert cost.bytes == 4 * (2 * 4 * 16 + 2 * 5 * 4 * 32)
    assert cost.bytes < every / 10
    assert SMALL.cost(case.model_copy(update={"kv_len": 12})).bytes is None


@pytest.mark.parametrize(
    ("name", "found", "text"),
    [
        ("block", 0, "block must be at least 1: block=0; write 1 or more"),
        ("random_blocks", -1, "must be at least 0: random_blocks=-1; write 0 or more"),
        ("window", 4, "as many before it as after: window=4; write 3 or 5"),
    ],
)
def test_parameters_make_sense(name: str, found: int, text: str) -> None:
    with pytest.raises(ValueError, match=name) as error:
        BigBird(**{name: found})
    assert str(error.value).startswith(name)
    assert str(error.value).endswith(text)
