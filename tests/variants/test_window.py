"""The sliding window: which keys, how little work, and gradients that do not grow."""

from __future__ import annotations

import pytest
import torch

from harness.device import CpuDevice
from harness.inputs import make_inputs
from harness.reference import softmax_attention
from harness.workload import Workload
from tests.build import workload
from tests.variants.looped import computed
from variants.softmax import Softmax
from variants.window import Window

# Of the workload, and what a window of 5 makes of it: both count |i + Lkv - Lq - j| < w.
MASKS = {
    "none": "window(5)",
    "causal": "causal+window(5)",
    "window(9)": "window(5)",
    "causal+window(3)": "causal+window(3)",
    "padding(0.5)": "window(5)+padding(0.5)",
    "causal+packed(4)": "causal+window(5)+packed(4)",
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("q_len", "kv_len"), [(70, 70), (70, 90), (90, 70), (1, 40)])
def test_it_is_softmax_under_a_mask_with_that_window(mask: str, q_len: int, kv_len: int) -> None:
    if "packed" in mask:
        q_len = kv_len
    sizes = {"batch": 2, "heads": 2, "q_len": q_len, "kv_len": kv_len, "head_dim": 4}
    case, narrower = (workload(**sizes, mask=m, dtype="float64") for m in (mask, MASKS[mask]))
    torch.testing.assert_close(computed(Window(5, q_chunk=16), case), computed(Softmax(), narrower))


def test_a_wide_window_is_softmax() -> None:
    case = workload(heads=2, q_len=40, head_dim=4, bias="random", dtype="float64")
    q, k, v = make_inputs(case)
    expected = softmax_attention(q, k, v, mask=case.build_mask(), scale=case.scale)
    torch.testing.assert_close(computed(Window(40, q_chunk=7), case), expected)


def _peak(case: Workload) -> int:
    inputs = [tensor.requires_grad_() for tensor in make_inputs(case)]

    def call() -> object:
        out = Window(16, q_chunk=32).prepare(case, case.build_mask())(*inputs)
        return torch.autograd.grad(out.sum(), inputs)

    return CpuDevice().profile(call).peak_bytes


def test_memory_of_a_gradient_grows_with_the_length() -> None:
    """A gradient as long as all keys for each chunk would grow with its square."""
    short, long = (workload(pass_="forward+backward", q_len=n, head_dim=8) for n in (512, 2048))
    assert _peak(long) < 4.5 * _peak(short)


def test_work_and_bytes_are_those_of_the_window() -> None:
    short, long = (workload(q_len=n) for n in (1024, 4096))
    op = Window(64)
    first, second = op.cost(short), op.cost(long)
    assert first.flops is not None
    assert second.flops is not None
    assert 4 < second.flops / first.flops < 4.2
    assert first.flops < short.flops() / 3
    step = workload(**{"pass": "decode"}, q_len=1, kv_len=4096)
    assert op.cost(step).flops == 2 * 128 * 64
    assert op.cost(step).bytes == 4 * (64 + 2 * 64 * 64 + 64)


@pytest.mark.parametrize("field", ["width", "q_chunk"])
def test_width_and_chunk_are_at_least_one(field: str) -> None:
    with pytest.raises(ValueError, match=field) as error:
        Window(**{field: 0})
    assert str(error.value) == f"{field} must be at least 1: {field}=0; write 128 or so"
