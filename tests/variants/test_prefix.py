"""Sums over intervals of keys, chunk by chunk: whatever the mask, they are the masked product."""

from __future__ import annotations

import pytest
import torch

from harness.device import CpuDevice
from harness.inputs import make_inputs
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import MASKS
from tests.variants.looped import computed
from tests.variants.test_costs import PASSES, counted
from variants import prefix
from variants.linear import Linear
from variants.performer import Performer

STATEFUL = {"linear": Linear(chunk=16), "performer": Performer(features=12, chunk=16)}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("chunk", [1, 7, 16, 100])
def test_chunks_of_any_size_give_the_masked_product(mask: str, chunk: int) -> None:
    for q_len, kv_len in ((50, 50), (50, 77), (77, 50), (1, 50), (64, 64)):
        if "packed" in mask and (q_len != kv_len or q_len == 1):
            continue
        case = workload(batch=2, q_len=q_len, kv_len=kv_len, mask=mask)
        built = case.build_mask()
        f, g, v = _features(q_len, kv_len)
        expected = built.zero(f @ g.repeat_interleave(3, 1).mT) @ v.repeat_interleave(3, 1)
        found = prefix.attend(f, g, v, prefix.Plan.of(built, chunk))
        judged = built.judged[:, None, :, None]
        torch.testing.assert_close(found * judged, expected * judged, msg=f"{q_len} {kv_len}")


def _features(q_len: int, kv_len: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Six heads that share two of keys, and features of either sign."""
    random = torch.Generator().manual_seed(q_len + kv_len)
    shapes = ((2, 6, q_len, 5), (2, 2, kv_len, 5), (2, 2, kv_len, 4))
    f, g, v = (torch.randn(s, generator=random, dtype=torch.float64) for s in shapes)
    return f, g, v


@pytest.mark.parametrize("mask", ["packed(2)", "window(20)"])
def test_what_lies_far_ahead_takes_no_digits(mask: str) -> None:
    """A difference of two prefixes would keep the rounding of the first keys, which are large."""
    case = workload(q_len=256, head_dim=4, mask=mask)
    built = case.build_mask()
    f, g, v = (x.float().abs() for x in make_inputs(case))
    v[:, :, :20] *= 1e8
    expected = built.zero(f.double() @ g.double().mT) @ v.double()
    found = prefix.attend(f, g, v, prefix.Plan.of(built, 16))
    torch.testing.assert_close(found[:, :, 240:].double(), expected[:, :, 240:], rtol=1e-5, atol=0)


@pytest.mark.parametrize("mask", ["none", "causal", "window(9)", "packed(3)"])
def test_memory_grows_with_the_length_alone(mask: str) -> None:
    sizes = [_peak(workload(q_len=length, head_dim=8, mask=mask)) for length in (512, 2048)]
    assert sizes[1] < 5 * sizes[0]
    assert sizes[1] < 2048 * 2048 * 4 / 4


def _peak(case: Workload) -> int:
    inputs = make_inputs(case)
    attend = Linear(chunk=32).prepare(case, case.build_mask())
    return CpuDevice().profile(lambda: attend(*inputs)).peak_bytes


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_a_state_decodes_row_by_row_what_the_parallel_form_gives(name: str, kv_heads: int) -> None:
    op = STATEFUL[name]
    whole = workload(
        batch=2, heads=4, kv_heads=kv_heads, q_len=40, head_dim=6, v_head_dim=5, mask="causal",
        dtype="float64",
    )  # fmt: skip
    expected = computed(op, whole)
    q, k, v = make_inputs(whole)
    for seen in (1, 2, 17, 40):
        step = whole.model_copy(update={"pass_": "decode", "q_len": 1, "kv_len": seen})
        recurrence = op.recurrence(step, step.build_mask())
        assert recurrence is not None
        now = slice(seen - 1, seen)
        state = recurrence.prefill(k[:, :, : seen - 1], v[:, :, : seen - 1])
        kept = state.clone()
        row = recurrence.step(q[:, :, now], k[:, :, now], v[:, :, now], state)
        torch.testing.assert_close(row, expected[:, :, now])
        assert torch.equal(state, kept)


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("mask", ["window(9)", "padding(0.5)"])
def test_a_state_cannot_forget_a_key(name: str, mask: str) -> None:
    case = workload(pass_="decode", kv_len=40, q_len=1, mask=mask)
    assert STATEFUL[name].recurrence(case, case.build_mask()) is None


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("mask", ["none", "causal", "window(40)", "padding(0.5)", "packed(3)"])
@pytest.mark.parametrize("pass_", PASSES)
def test_products_are_counted_to_the_flop(name: str, pass_: str, mask: str) -> None:
    sizes = {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 150, "head_dim": 16, "v_head_dim": 9}
    case = workload(pass_=pass_, mask=mask, **sizes)
    assert STATEFUL[name].cost(case).flops == counted(STATEFUL[name], case)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_decode_step_is_counted_with_its_state(name: str) -> None:
    case = workload(pass_="decode", heads=4, kv_heads=2, q_len=1, kv_len=300, head_dim=16)
    cost, width = STATEFUL[name].cost(case), {"linear": 16, "performer": 12}[name]
    assert cost.flops == counted(STATEFUL[name], case)
    assert cost.state_bytes == 4 * 2 * width * (16 + 1)
    longer = case.model_copy(update={"kv_len": 3000})
    assert STATEFUL[name].cost(longer) == cost


@pytest.mark.parametrize("op", [Linear, Performer])
def test_chunks_are_at_least_one(op: type[Linear] | type[Performer]) -> None:
    with pytest.raises(ValueError, match="chunk") as error:
        op(chunk=0)
    assert str(error.value) == "chunk must be at least 1: chunk=0; write 64, 128 or more"
