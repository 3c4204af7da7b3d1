from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.device import CpuDevice, device_named
from harness.workload import Workload
from variants.softmax import Softmax

HEADS, LENGTH, WIDTH = 4, 512, 64
SCORES_BYTES = HEADS * LENGTH * LENGTH * 4


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (1, HEADS, LENGTH, WIDTH)
    q, k, v = (torch.randn(shape, generator=generator) for _ in range(3))
    return q, k, v


def _softmax() -> Tensor:
    workload = Workload.model_validate({"heads": HEADS, "q_len": LENGTH, "head_dim": WIDTH})
    q, k, v = _inputs()
    attention = Softmax().prepare(workload, workload.build_mask())
    return attention(q, k, v)


def _flash() -> Tensor:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return torch.nn.functional.scaled_dot_product_attention(*_inputs())


def test_peak_of_softmax_is_the_closed_form_and_repeats() -> None:
    workload = Workload.model_validate({"heads": HEADS, "q_len": LENGTH, "head_dim": WIDTH})
    inputs = _inputs()
    attention = Softmax().prepare(workload, workload.build_mask())
    peaks = [CpuDevice().profile(lambda: attention(*inputs)).peak_bytes for _ in range(2)]
    # Two score matrices are held at once: scaling, and then softmax, each write a new one.
    assert abs(peaks[0] / (2 * SCORES_BYTES) - 1) < 0.01
    assert peaks[0] == peaks[1]


def test_profile_gives_the_result_and_the_kernels_that_worked() -> None:
    profile = CpuDevice().profile(_softmax)
    assert profile.result.shape == (1, HEADS, LENGTH, WIDTH)
    assert "aten::_softmax" in profile.kernels
    assert "aten::bmm" in profile.kernels
    assert not {"aten::view", "aten::transpose", "aten::matmul"} & set(profile.kernels)


def test_profile_of_flash_sees_its_kernel_and_little_memory() -> None:
    profile = CpuDevice().profile(_flash)
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in profile.kernels
    # Inputs are made inside the call here; no score matrix is.
    assert profile.peak_bytes < SCORES_BYTES


def test_peak_counts_what_was_freed_before_the_call_ended() -> None:
    def call() -> Tensor:
        torch.ones(1 << 20)
        return torch.ones(1)

    assert CpuDevice().profile(call).peak_bytes >= 4 << 20


def test_time_is_that_of_the_call() -> None:
    timing = CpuDevice().time(lambda: time.sleep(0.02) or "result")  # type: ignore[func-returns-value]
    assert timing.result == "result"
    assert 0.02 <= timing.seconds < 1
    assert timing.host_s == timing.seconds


def test_available_memory_is_within_the_machine() -> None:
    device = CpuDevice()
    assert 0 < device.available_bytes() <= device.describe()["memory_bytes"]


def test_available_memory_is_within_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"memory.max": "5000", "memory.current": "2000"}
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, **how: files.get(path.name) or read(path, **how)
    )
    assert CpuDevice().available_bytes() == 3000


def test_description_and_state() -> None:
    device = CpuDevice()
    assert device.unavailable() is None
    described = device.describe()
    assert described["kind"] == "cpu"
    assert described["model"]
    assert described["cores"] >= 1
    clock = device.clocks().frequency_mhz
    assert clock is None or 100 < clock < 10_000
    assert isinstance(device_named("cpu"), CpuDevice)
