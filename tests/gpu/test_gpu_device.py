"""What only a real GPU can show: that the CUDA device's clock, peak and profile are right."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from harness.device import CudaDevice
from harness.machine import describe_machine, machine_slug
from harness.mask import Mask, MaskSpec

# Asked of the device, since torch.cuda.is_available() would spoil forks of other tests.
UNAVAILABLE = CudaDevice().unavailable()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(UNAVAILABLE is not None, reason=f"needs a GPU: {UNAVAILABLE}"),
]
cuda: Any = torch.cuda
MILLION_CYCLES = 1_000_000  # half a millisecond or so


@pytest.fixture
def device() -> CudaDevice:
    ready = CudaDevice()
    ready.start(threads=1)
    return ready


def _median(device: CudaDevice, call: Callable[[], Any]) -> float:
    return statistics.median(device.time(call).seconds for _ in range(9))


def test_a_longer_sleep_takes_longer_and_is_no_host_time(device: CudaDevice) -> None:
    steps = [_median(device, partial(cuda._sleep, n * MILLION_CYCLES)) for n in (1, 4, 16)]
    assert steps[0] < steps[1] < steps[2]
    assert steps[2] / steps[0] == pytest.approx(16, rel=0.2)
    timing = device.time(lambda: cuda._sleep(64 * MILLION_CYCLES))
    assert timing.host_s < timing.seconds / 10, "submission does not wait"


def test_work_on_another_stream_is_not_missed(device: CudaDevice) -> None:
    stream = cuda.Stream()

    def aside() -> None:
        with cuda.stream(stream):
            cuda._sleep(16 * MILLION_CYCLES)

    here = _median(device, lambda: cuda._sleep(16 * MILLION_CYCLES))
    assert _median(device, aside) == pytest.approx(here, rel=0.1)


def test_repeated_timings_of_one_call_agree(device: CudaDevice) -> None:
    matrix = torch.randn(2048, 2048, device="cuda", dtype=torch.bfloat16)
    for _ in range(20):
        device.time(lambda: matrix @ matrix)
    first, second = (_median(device, lambda: matrix @ matrix) for _ in range(2))
    assert first == pytest.approx(second, rel=0.1)


def test_a_cold_cache_is_slower_than_a_warm_one(device: CudaDevice) -> None:
    l2 = cuda.get_device_properties(0).L2_cache_size
    source = torch.randn(l2 // 16, device="cuda")  # a quarter of the cache
    warm = CudaDevice(cold=False)
    for _ in range(5):
        warm.time(lambda: source.sum())
    assert _median(device, lambda: source.sum()) > _median(warm, lambda: source.sum())


def test_the_flush_buffer_is_twice_the_l2(device: CudaDevice) -> None:
    device.flush_cache()
    assert device._flush_buffer.nbytes == 2 * cuda.get_device_properties(0).L2_cache_size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_of_softmax_is_the_closed_form_and_repeats(
    device: CudaDevice, dtype: torch.dtype
) -> None:
    heads, length, width = 4, 2048, 64
    q, k, v = (torch.randn(1, heads, length, width, device="cuda", dtype=dtype) for _ in range(3))
    mask = Mask(MaskSpec(), length, length, heads=heads, device="cuda")

    def call() -> Tensor:
        return mask.softmax(q @ k.mT * width**-0.5) @ v

    peaks = [device.profile(call).peak_bytes for _ in range(2)]
    # Two score matrices are held at once: scaling, and then softmax, each write a new one.
    assert peaks[0] == pytest.approx(2 * heads * length**2 * dtype.itemsize, rel=0.01)
    assert peaks[0] == peaks[1]


def _flash(gradients: bool) -> Callable[[], Tensor]:
    shape = (2, 4, 1024, 64)
    q, k, v = (
        torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=gradients)
        for _ in range(3)
    )

    def call() -> Tensor:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            out = scaled_dot_product_attention(q, k, v)
        if gradients:
            out.sum().backward()  # type: ignore[no-untyped-call]
        return out

    return call


@pytest.mark.parametrize("gradients", [False, True])
def test_the_kernels_of_flash_are_seen(device: CudaDevice, gradients: bool) -> None:
    kernels = device.profile(_flash(gradients)).kernels
    assert "aten::_scaled_dot_product_flash_attention" in kernels
    assert any("flash_fwd" in name for name in kernels)
    assert any("flash_bwd" in name for name in kernels) == gradients


def test_flash_holds_no_score_matrix(device: CudaDevice) -> None:
    assert device.profile(_flash(False)).peak_bytes < 2 * 4 * 1024 * 1024 * 2


def test_available_memory_shrinks_by_what_is_taken(device: CudaDevice) -> None:
    before = device.available_bytes()
    held = torch.empty(256 << 20, dtype=torch.int8, device="cuda")
    taken = before - device.available_bytes()
    assert taken == pytest.approx(held.nbytes, rel=0.1)
    assert 0 < before <= device.describe()["memory_bytes"]


def test_clocks_and_description(device: CudaDevice) -> None:
    described = device.describe()
    assert described["multiprocessors"] > 0
    assert described["l2_bytes"] > 0
    assert machine_slug("cuda").startswith("nvidia-")
    assert describe_machine()["gpu"]["model"] == described["model"]
    clock = device.clocks().frequency_mhz
    if "driver" not in described:
        pytest.skip("NVML does not answer on this machine, so no clock is told")
    assert clock is not None
    assert 100 < clock <= described["max_clock_mhz"]


MASKS = ("none", "causal", "window(5)", "causal+window(9)", "padding(0.5)", "packed(3)")


@pytest.mark.parametrize("text", MASKS)
@pytest.mark.parametrize("bias", ["none", "alibi", "random"])
def test_a_mask_on_cuda_equals_the_one_on_the_cpu(text: str, bias: str) -> None:
    here, there = (
        Mask(MaskSpec.parse(text), 40, 40, batch=2, heads=3, bias=bias, device=where)
        for where in ("cpu", "cuda")
    )
    assert torch.equal(here.dense(), there.dense().cpu())
    assert here.pairs() == there.pairs()
    scores = torch.randn(2, 3, 40, 40)
    assert torch.equal(here.zero(scores), there.zero(scores.cuda()).cpu())
    torch.testing.assert_close(here.softmax(scores), there.softmax(scores.cuda()).cpu())
