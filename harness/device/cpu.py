"""The CPU: the monotonic clock, the profiler's memory events, threads and affinity."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from harness.device.protocol import Clocks, EnergyCounter, Profile, Timing
from harness.device.rapl import rapl

# Views and bookkeeping: they move no data, so they say nothing about what ran.
NO_WORK = frozenset(
    "aten::" + name
    for name in """view reshape transpose as_strided expand unsqueeze squeeze select slice t mT
    permute detach empty empty_like empty_strided _unsafe_view _reshape_alias resolve_conj
    resolve_neg to lift_fresh alias unflatten flatten narrow split chunk unbind set_ resize_
    detach_ expand_as view_as matmul softmax scaled_dot_product_attention item is_nonzero
    _local_scalar_dense result_type result_type_ new_empty new_empty_strided accumulate_grad
    """.split()
)

KERNELS = ("aten::", "cpp_fused", "attnbench::")
"""How names of what runs begin: torch's operators, what it compiled, paths that variants mark."""


class CpuDevice:
    """Times by `time.perf_counter`; peak memory is replayed from the profiler's memory events."""

    kind = "cpu"

    def unavailable(self) -> str | None:
        """A CPU is always there."""
        return None

    def describe(self) -> dict[str, Any]:
        """Model, cores, memory, threads and the vector instructions that torch uses."""
        return {
            "kind": self.kind,
            "model": _model(),
            "cores": os.cpu_count() or 1,
            "memory_bytes": _meminfo().get("MemTotal", 0),
            "capability": torch.backends.cpu.get_cpu_capability(),
        }

    def available_bytes(self) -> int:
        """Memory that can be had without swapping, within the container's limit."""
        free = _meminfo().get("MemAvailable", 1 << 62)
        with contextlib.suppress(OSError, ValueError):
            limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            free = min(free, limit - used + _reclaimable())
        return free

    def start(self, threads: int) -> None:
        """Set torch's threads and pin the process to as many CPUs."""
        if hasattr(os, "sched_setaffinity"):
            cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cpus[:threads] if threads < len(cpus) else cpus)
        torch.set_num_threads(threads)

    def synchronize(self) -> None:
        """Nothing to wait for: CPU operators return when they are done."""

    def flush_cache(self) -> None:
        """Nothing: inputs are freshly written before each call, as a preceding layer would."""

    def time(self, call: Callable[[], Any]) -> Timing:
        """Run `call` between two readings of the monotonic clock."""
        clock = perf_counter  # a name that a call cannot reach, whatever it replaces
        begin = clock()
        result = call()
        seconds = clock() - begin
        return Timing(result, seconds, seconds)

    def profile(self, call: Callable[[], Any]) -> Profile:
        """Run `call` under the profiler and replay its allocations in order."""
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
            result = call()
        events = sorted(_events(run), key=lambda event: event.start_ns())
        held = peak = 0
        for event in events:
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        spent: dict[str, int] = {}
        for event in events:
            if event.name().startswith(KERNELS) and event.name() not in NO_WORK:
                spent[event.name()] = spent.get(event.name(), 0) + event.duration_ns()
        return Profile(result, peak, tuple(sorted(spent, key=lambda name: -spent[name])[:8]))

    def clocks(self) -> Clocks:
        """The first core's frequency, where the kernel tells it."""
        with contextlib.suppress(OSError, ValueError):
            path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
            return Clocks(frequency_mhz=int(path.read_text()) / 1000)
        return Clocks()

    def energy_counter(self) -> EnergyCounter | None:
        """RAPL's counter of the packages, whoever uses them."""
        found = rapl()
        return None if isinstance(found, str) else found

    def energy_reason(self) -> str | None:
        """No counter, or one for root only."""
        found = rapl()
        return found if isinstance(found, str) else None


def _events(run: Any) -> list[Any]:
    return list(run.profiler.kineto_results.events())


def _reclaimable() -> int:
    """Bytes of file cache that the container's group would give back when asked."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return 0


def _meminfo() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if "kB" in line}


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
