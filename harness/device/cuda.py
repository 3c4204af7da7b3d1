"""NVIDIA GPUs: device events, a flushed L2, the allocator's peak, clocks through NVML.

Nothing here touches CUDA before a method is called, and `unavailable`, `available_bytes` and
`clocks` make no CUDA context, so that a process may ask and fork afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property
from time import perf_counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from harness.device.cpu import NO_WORK
from harness.device.nvml import Nvml, NvmlEnergy
from harness.device.protocol import Clocks, EnergyCounter, Profile, Timing

# torch types these in part only, and differently from build to build.
_cuda: Any = torch.cuda
_cudnn: Any = torch.backends.cudnn
_bindings: Any = torch._C
# Bound before any variant is loaded: one may replace torch.cuda.synchronize.
_synchronize = torch.cuda.synchronize

# A host that wakes late looks like work on another stream; a hiccup is shorter than this.
_SIDE_STREAM_S = 20e-6
_KERNEL_NAME = 160  # characters kept: C++ template arguments run to thousands
_KERNELS_KEPT = 8


class CudaDevice:
    """Times by CUDA events from an idle device; `cold` flushes the L2 cache before each call."""

    kind = "cuda"

    def __init__(self, *, cold: bool = True) -> None:
        self.cold = cold
        self._profiler_is_warm = False
        self._nvml_opened: dict[str | None, Nvml | None] = {}

    def unavailable(self) -> str | None:
        """No CUDA build of torch, no driver or too old a one, or no GPU in sight."""
        if torch.version.cuda is None:
            built = f"for ROCm {torch.version.hip}" if torch.version.hip else "without CUDA"
            return (
                f"torch {torch.__version__} is built {built}; "
                "install a CUDA build of torch, or use device: cpu"
            )
        return _driver_problem(torch.version.cuda) or _no_device()

    def describe(self) -> dict[str, Any]:
        """Model, capability, multiprocessors, memory, L2, driver, CUDA; makes a CUDA context."""
        device, nvml = _properties(), self._nvml
        known = {
            "kind": self.kind,
            "model": device.name,
            "capability": f"{device.major}.{device.minor}",
            "multiprocessors": device.multi_processor_count,
            "memory_bytes": device.total_memory,
            "l2_bytes": device.L2_cache_size,
            "driver": nvml.driver() if nvml else None,
            "cuda": torch.version.cuda,
            "cudnn": _cudnn.version(),
            "max_clock_mhz": nvml.max_clock_mhz() if nvml else None,
        }
        return {name: value for name, value in known.items() if value is not None}

    def available_bytes(self) -> int:
        """Free memory of the device, and what this process's allocator holds without using it."""
        if not _cuda.is_initialized():
            nvml = self._nvml
            free = nvml.free_bytes() if nvml else None
            if free is not None:
                return free
        held = _cuda.memory_reserved() - _cuda.memory_allocated()
        return int(_cuda.mem_get_info()[0] + held)

    def start(self, threads: int) -> None:
        """Set torch's host threads and make the context and the libraries' workspaces.

        No profile is opened here: the profiler leaves hooks on every launch, and the process
        that times must not have them.
        """
        torch.set_num_threads(threads)
        _cuda.init()
        # cuBLAS takes a workspace (32 MiB on Hopper) for each thread that calls it, here and in
        # autograd; taken now, it is no part of the first case's peak.
        weight = torch.ones((16, 16), device="cuda", requires_grad=True)
        (weight @ weight).sum().backward()  # type: ignore[no-untyped-call]
        _synchronize()

    def synchronize(self) -> None:
        """Wait for every stream of the device."""
        _synchronize()

    def flush_cache(self) -> None:
        """Write a buffer of twice the L2 cache, unless the cache is to be warm."""
        if self.cold:
            self._flush_buffer.zero_()

    def time(self, call: Callable[[], Any]) -> Timing:
        """Run `call` between two events of the current stream, from an idle device.

        The device is idle when the first event is recorded: a flush still running would hide
        the submission of short calls, and would let work on another stream start before it.
        Device time therefore holds gaps in the submission; `host_s` beside it shows them.
        """
        # Names that a call cannot reach, whatever it replaces.
        clock, synchronize = perf_counter, _synchronize
        start, stop = self._events
        record_stop, wait_for_stop, elapsed = stop.record, stop.synchronize, start.elapsed_time
        self.flush_cache()
        synchronize()
        stream = _cuda.current_stream()
        start.record(stream)
        begin = clock()
        result = call()
        submitted = clock()
        record_stop(stream)
        wait_for_stop()
        joined = clock()
        synchronize()
        drained = clock()
        synchronize()
        idle = clock() - drained
        seconds = elapsed(stop) / 1e3
        # The events see their own stream only. Work that another stream still did once the last
        # event had passed makes the wait for the whole device longer than one for an idle device
        # (the second synchronise): then only the host's clock saw the whole call.
        if drained - joined - idle > _SIDE_STREAM_S:
            seconds = max(seconds, drained - begin)
        return Timing(result, seconds, submitted - begin)

    def profile(self, call: Callable[[], Any]) -> Profile:
        """Run `call`; its peak by the allocator, its device kernels, then the operators."""
        activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
        if not self._profiler_is_warm:
            with profile(activities=activities):
                _synchronize()
            self._profiler_is_warm = True
        _synchronize()
        _cuda.reset_peak_memory_stats()
        before = _cuda.memory_allocated()
        with profile(activities=activities) as run:
            result = call()
            _synchronize()
        peak = _cuda.max_memory_allocated() - before
        return Profile(result, peak, _kernels(run.profiler.kineto_results.events()))

    def clocks(self) -> Clocks:
        """Clock of the multiprocessors and why it is held back; nothing where NVML is absent."""
        nvml = self._nvml
        return Clocks(nvml.clock_mhz(), nvml.throttled()) if nvml else Clocks()

    def energy_counter(self) -> EnergyCounter | None:
        """NVML's counter of the whole board, from Volta on."""
        nvml = self._nvml
        known = nvml is not None and nvml.energy_joules() is not None
        return NvmlEnergy(nvml) if nvml is not None and known else None

    def energy_reason(self) -> str | None:
        """No NVML, or a GPU without a counter."""
        if self._nvml is None:
            return "NVML does not open, so nothing counts the GPU's energy; install its driver"
        if self._nvml.energy_joules() is None:
            return "NVML counts no energy of this GPU: it is older than Volta, or a virtual one"
        return None

    @cached_property
    def _events(self) -> tuple[torch.cuda.Event, torch.cuda.Event]:
        # Kept, since torch creates the CUDA event at its first record.
        return _cuda.Event(enable_timing=True), _cuda.Event(enable_timing=True)

    @cached_property
    def _flush_buffer(self) -> torch.Tensor:
        return torch.empty(2 * _properties().L2_cache_size, dtype=torch.int8, device="cuda")

    @property
    def _nvml(self) -> Nvml | None:
        # NVML and CUDA may number GPUs differently: by UUID once CUDA can tell it.
        uuid = f"GPU-{_properties().uuid}" if _cuda.is_initialized() else None
        if uuid not in self._nvml_opened:
            self._nvml_opened[uuid] = Nvml.open(index=_first_visible(), uuid=uuid)
        return self._nvml_opened[uuid]


def _properties() -> Any:
    return _cuda.get_device_properties(_cuda.current_device())


def _driver_problem(built_for: str) -> str | None:
    # Asks the driver's version only: unlike torch.cuda.is_available, it initialises nothing.
    try:
        version = int(_bindings._cuda_getDriverVersion())
    except RuntimeError as error:
        return f"the NVIDIA driver does not answer: {str(error).splitlines()[0]}"
    if version == 0:
        return "there is no NVIDIA driver; install one, or use device: cpu"
    # Within one major version of CUDA any driver runs any build.
    if version // 1000 < int(built_for.split(".")[0]):
        return (
            f"the NVIDIA driver runs CUDA {version // 1000}.{version % 1000 // 10} and torch is "
            f"built for CUDA {built_for}; update the driver, or install another build of torch"
        )
    return None


def _no_device() -> str | None:
    if _cuda.device_count() > 0:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return "there is no NVIDIA GPU; use device: cpu"
    return f"no NVIDIA GPU is visible: CUDA_VISIBLE_DEVICES={visible!r}; name one that is there"


def _first_visible() -> int:
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return int(first) if first.isdigit() else 0


def _kernels(events: Iterable[Any]) -> tuple[str, ...]:
    # A fused operator's kernel is named after its template; the operator's own name tells which
    # backend was dispatched, so both are kept, each sorted by the time spent.
    device: dict[str, int] = {}
    host: dict[str, int] = {}
    for event in events:
        name = event.name()[:_KERNEL_NAME]
        if name.startswith("## "):  # an annotation around a compiled graph, not a kernel
            continue
        if event.device_type().name == "CUDA":
            device[name] = device.get(name, 0) + event.duration_ns()
        elif "::" in name and not name.startswith("autograd::") and name not in NO_WORK:
            host[name] = host.get(name, 0) + event.duration_ns()
    return tuple(
        name
        for spent in (device, host)
        for name in sorted(spent, key=lambda key: -spent[key])[:_KERNELS_KEPT]
    )
