"""The CUDA device against a fake GPU: what it asks of torch, in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.device import CudaDevice, device_named
from harness.device import cuda as module
from harness.device.nvml import Nvml

L2_BYTES = 1024


class FakeGpu:
    """Stands in for torch.cuda: notes every call, moves its own clock, counts its own bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.now = 0.0
        self.elapsed_ms = 2.5
        self.events = 0
        self.waits = iter([0.0] * 100)
        self.initialised = True
        self.allocated, self.peak = 100, 9999
        self.flushed: list[int] = []
        properties = SimpleNamespace(
            name="NVIDIA H100 80GB HBM3",
            major=9,
            minor=0,
            multi_processor_count=132,
            total_memory=80 << 30,
            L2_cache_size=L2_BYTES,
            uuid="1234",
        )
        replaced = {
            "Event": self.event,
            "current_stream": lambda: "current stream",
            "current_device": lambda: 0,
            "get_device_properties": lambda index: properties,
            "is_initialized": lambda: self.initialised,
            "init": lambda: self.calls.append("init"),
            "mem_get_info": lambda: (1000, 2000),
            "memory_reserved": lambda: 150,
            "memory_allocated": lambda: self.allocated,
            "max_memory_allocated": lambda: self.peak,
            "reset_peak_memory_stats": self.reset_peak,
            "device_count": lambda: 1,
        }
        for name, stand_in in replaced.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)
        monkeypatch.setattr(torch, "empty", self.empty)
        monkeypatch.setattr(module, "_synchronize", self.synchronize)
        monkeypatch.setattr(module, "perf_counter", lambda: self.now)
        monkeypatch.setattr(Nvml, "open", lambda **_: None)

    def event(self, *, enable_timing: bool) -> FakeEvent:
        assert enable_timing
        self.events += 1
        return FakeEvent(self, "start" if self.events == 1 else "stop")

    def empty(self, size: int, *, dtype: torch.dtype, device: str) -> FakeBuffer:
        assert device == "cuda"
        self.calls.append("allocate buffer")
        return FakeBuffer(self, size * dtype.itemsize)

    def synchronize(self) -> None:
        self.calls.append("synchronise")
        self.now += next(self.waits)

    def reset_peak(self) -> None:
        self.calls.append("reset peak")
        self.peak = self.allocated

    def work(self) -> str:
        """A call: takes 1 ms to submit, and at its height 4096 bytes more than before."""
        self.calls.append("call")
        self.now += 1e-3
        self.peak = max(self.peak, self.allocated + 4096)
        return "result"


class FakeEvent:
    def __init__(self, gpu: FakeGpu, name: str) -> None:
        self.gpu, self.name = gpu, name

    def record(self, stream: str) -> None:
        self.gpu.calls.append(f"record {self.name} on {stream}")

    def synchronize(self) -> None:
        self.gpu.calls.append(f"wait for {self.name}")

    def elapsed_time(self, stop: FakeEvent) -> float:
        assert (self.name, stop.name) == ("start", "stop")
        self.gpu.calls.append("read elapsed")
        return self.gpu.elapsed_ms


class FakeBuffer:
    def __init__(self, gpu: FakeGpu, size_bytes: int) -> None:
        self.gpu, self.size_bytes = gpu, size_bytes

    def zero_(self) -> None:
        self.gpu.calls.append("flush")
        self.gpu.flushed.append(self.size_bytes)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(monkeypatch)


def test_time_flushes_waits_and_reads_in_order(gpu: FakeGpu) -> None:
    timing = CudaDevice().time(gpu.work)
    assert gpu.calls == [
        "allocate buffer",
        "flush",
        "synchronise",
        "record start on current stream",
        "call",
        "record stop on current stream",
        "wait for stop",
        "synchronise",
        "synchronise",
        "read elapsed",
    ]
    assert timing.result == "result"
    assert timing.seconds == pytest.approx(2.5e-3)
    assert timing.host_s == pytest.approx(1e-3)


def test_the_flush_buffer_is_twice_the_l2_and_made_once(gpu: FakeGpu) -> None:
    device = CudaDevice()
    for _ in range(3):
        device.time(gpu.work)
    assert gpu.calls.count("allocate buffer") == 1
    assert gpu.flushed == [2 * L2_BYTES] * 3


def test_a_warm_cache_is_not_flushed(gpu: FakeGpu) -> None:
    CudaDevice(cold=False).time(gpu.work)
    assert gpu.flushed == []
    assert "allocate buffer" not in gpu.calls


def test_work_on_another_stream_is_timed_by_the_host(gpu: FakeGpu) -> None:
    # Before the call nothing is waited for; after it the device is busy for 7 ms more than the
    # events saw; then it is idle.
    gpu.waits = iter([0.0, 7e-3, 5e-6])
    assert CudaDevice().time(gpu.work).seconds == pytest.approx(1e-3 + 7e-3)


def test_the_cost_of_waiting_for_an_idle_device_is_not_work(gpu: FakeGpu) -> None:
    gpu.waits = iter([0.0, 60e-6, 50e-6])
    gpu.elapsed_ms = 0.5
    assert CudaDevice().time(gpu.work).seconds == pytest.approx(0.5e-3)


class FakeProfile:
    """Stands in for torch.profiler.profile: the given events, on the recorder's list of calls."""

    def __init__(self, gpu: FakeGpu, events: list[Any]) -> None:
        self.gpu = gpu
        results = SimpleNamespace(events=lambda: events)
        self.profiler = SimpleNamespace(kineto_results=results)

    def __call__(self, *, activities: list[Any]) -> FakeProfile:
        assert torch.profiler.ProfilerActivity.CUDA in activities
        return self

    def __enter__(self) -> FakeProfile:
        self.gpu.calls.append("profile")
        return self

    def __exit__(self, *_: object) -> None:
        self.gpu.calls.append("end profile")


def _event(name: str, device: str, nanoseconds: int) -> Any:
    return SimpleNamespace(
        name=lambda: name,
        device_type=lambda: SimpleNamespace(name=device),
        duration_ns=lambda: nanoseconds,
    )


@pytest.fixture
def profiled(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    events = [
        _event("aten::scaled_dot_product_attention", "CPU", 90),
        _event("aten::_scaled_dot_product_flash_attention", "CPU", 80),
        _event("xformers_flash::fwd", "CPU", 10),
        _event("autograd::engine::evaluate_function", "CPU", 70),
        _event("cudaLaunchKernel", "CPU", 60),
        _event("void pytorch_flash::flash_fwd_kernel<" + "x" * 999, "CUDA", 500),
        _event("triton_poi_fused", "CUDA", 600),
        _event("## Call CompiledFxGraph ##", "CUDA", 9000),
    ]
    monkeypatch.setattr(module, "profile", FakeProfile(gpu, events))
    return gpu


def test_profile_resets_the_peak_before_the_call(profiled: FakeGpu) -> None:
    profile = CudaDevice().profile(profiled.work)
    assert profile.peak_bytes == 4096
    assert profile.result == "result"
    assert profiled.calls == [
        *["profile", "synchronise", "end profile"],  # an empty one, the first time
        *["synchronise", "reset peak", "profile", "call", "synchronise", "end profile"],
    ]


def test_the_empty_profile_is_opened_once(profiled: FakeGpu) -> None:
    device = CudaDevice()
    device.profile(profiled.work)
    device.profile(profiled.work)
    assert profiled.calls.count("profile") == 3


def test_kernels_are_the_devices_then_the_operators(profiled: FakeGpu) -> None:
    kernels = CudaDevice().profile(profiled.work).kernels
    assert kernels[0] == "triton_poi_fused"
    assert kernels[1].startswith("void pytorch_flash::flash_fwd_kernel<xxx")
    assert len(kernels[1]) == 160
    assert kernels[2:] == ("aten::_scaled_dot_product_flash_attention", "xformers_flash::fwd")


def test_description(gpu: FakeGpu) -> None:
    described = CudaDevice().describe()
    assert described["model"] == "NVIDIA H100 80GB HBM3"
    assert described["capability"] == "9.0"
    assert described["multiprocessors"] == 132
    assert described["l2_bytes"] == L2_BYTES
    assert "driver" not in described, "what NVML does not tell is absent"


def test_available_memory_counts_what_the_allocator_holds_unused(gpu: FakeGpu) -> None:
    assert CudaDevice().available_bytes() == 1000 + 150 - 100


def test_available_memory_makes_no_context_where_nvml_tells(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.initialised = False
    monkeypatch.setattr(Nvml, "open", lambda **_: SimpleNamespace(free_bytes=lambda: 77))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: pytest.fail("made a context"))
    assert CudaDevice().available_bytes() == 77


def test_start_holds_workspaces_and_ends_idle(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    ones = torch.ones
    monkeypatch.setattr(
        torch, "ones", lambda shape, *, device, requires_grad: ones(shape, requires_grad=True)
    )
    before = torch.get_num_threads()
    try:
        CudaDevice().start(threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert gpu.calls == ["init", "synchronise"]


def test_this_build_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    reason = CudaDevice().unavailable()
    assert reason is not None
    assert torch.__version__ in reason
    assert "built without CUDA; install a CUDA build of torch, or use device: cpu" in reason


def _cuda_build(monkeypatch: pytest.MonkeyPatch, driver: int, devices: int) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: driver, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    forbidden = lambda *_: pytest.fail("initialised CUDA")  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_available", forbidden)
    monkeypatch.setattr(torch.cuda, "init", forbidden)


@pytest.mark.parametrize(
    ("driver", "devices", "visible", "text"),
    [
        (0, 0, None, "there is no NVIDIA driver"),
        (12040, 1, None, "runs CUDA 12.4 and torch is built for CUDA 13.0; update the driver"),
        (13000, 0, None, "there is no NVIDIA GPU"),
        (13000, 0, "", "no NVIDIA GPU is visible: CUDA_VISIBLE_DEVICES=''"),
    ],
)
def test_what_is_missing_is_named_without_initialising(
    monkeypatch: pytest.MonkeyPatch, driver: int, devices: int, visible: str | None, text: str
) -> None:
    _cuda_build(monkeypatch, driver, devices)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert text in str(CudaDevice().unavailable())


def test_a_gpu_that_can_be_used_has_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    _cuda_build(monkeypatch, 13010, 1)
    assert CudaDevice().unavailable() is None
    assert isinstance(device_named("cuda"), CudaDevice)
