"""What of a machine would hurt measurements: what it is, why it hurts, and the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

IDLE_LOAD = 0.5
"""A load average that an idle machine may have; from ten CPUs on, a twentieth of them."""
STEAL = 0.0005
"""Share of busy CPU time: half a millisecond in every second."""
SWAP_BYTES = 64 << 20
"""Pages that a machine put away long ago and does not miss."""

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Hazard:
    """One thing that would hurt measurements.

    name: a word to find it by. found: what was found, with its number. why: how that hurts.
    remedy: what to do about it.
    """

    name: str
    found: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.found}: {self.why}; {self.remedy}"


def hazards(machine: Facts) -> list[Hazard]:
    """The hazards in a description of `describe_machine`; what it does not tell is none."""
    rules = (_frequency, _sharing, _cores, _container, _memory, _threads, _gpu)
    return list(chain.from_iterable(rule(machine) for rule in rules))


def _frequency(machine: Facts) -> Iterator[Hazard]:
    clocks: Facts = machine.get("frequency", {})
    governor = clocks.get("governor")
    if governor is not None and governor != "performance":
        yield Hazard(
            "governor",
            f"governor is {governor}",
            "the clock follows the load, so the first calls of a burst run slower",
            "run `cpupower frequency-set -g performance`",
        )
    if clocks.get("turbo"):
        reach = f", up to {clocks['max_mhz']} MHz" if "max_mhz" in clocks else ""
        yield Hazard(
            "turbo",
            f"turbo is on{reach}",
            "the clock depends on temperature and on how many cores are busy",
            "write 1 to /sys/devices/system/cpu/intel_pstate/no_turbo, or 0 to "
            "/sys/devices/system/cpu/cpufreq/boost",
        )
    if machine.get("on_battery"):
        yield Hazard(
            "battery",
            "running on battery",
            "clocks are held low to save power",
            "plug the machine in",
        )


def _sharing(machine: Facts) -> Iterator[Hazard]:
    load = machine.get("load_average", (0.0,))[0]
    cpus = machine.get("cpu", {}).get("logical_cpus") or machine.get("usable_cpus", 1)
    if load > max(IDLE_LOAD, cpus / 20):
        yield Hazard(
            "load",
            f"load average {load:.2f} on {cpus} CPUs",
            "other programs take CPU time, caches and memory bandwidth from what is timed",
            "end them (`top` shows which), or wait until the load has fallen",
        )
    virtual: Facts = machine.get("virtual", {})
    if virtual.get("steal", 0.0) > STEAL:
        yield Hazard(
            "steal",
            f"steal is {_percent(virtual['steal'])} of busy CPU time since boot",
            "the host runs other guests while this one waits, and its clock goes on",
            "use a machine with dedicated cores",
        )
    if virtual.get("machine"):
        yield Hazard(
            "virtual",
            "this is a virtual machine",
            "neighbours share caches, memory bandwidth and clock, unseen from here",
            "trust ratios within a run more than latencies, or use bare metal",
        )


def _cores(machine: Facts) -> Iterator[Hazard]:
    cpu: Facts = machine.get("cpu", {})
    usable, cores = machine.get("usable_cpus", 0), cpu.get("usable_cores")
    if "one_cpu_a_core" in cpu and cores is not None:
        yield Hazard(
            "smt",
            f"{usable} usable CPUs are hardware threads of {cores} cores",
            "two threads on one core share its units, and either one slows the other",
            f"run under `taskset -c {cpu['one_cpu_a_core']}`",
        )
    nodes = machine.get("numa", {}).get("usable_nodes", ())
    if len(nodes) > 1:
        yield Hazard(
            "numa",
            f"usable CPUs lie on {len(nodes)} NUMA nodes",
            "memory of another node is slower, and where a tensor lies differs from run to run",
            f"run under `numactl --cpunodebind={nodes[0]} --membind={nodes[0]}`",
        )


def _container(machine: Facts) -> Iterator[Hazard]:
    limits: Facts = machine.get("container", {})
    usable, quota = machine.get("usable_cpus", 0), limits.get("cpus")
    if quota is not None and quota < usable:
        threads = max(1, int(quota))
        yield Hazard(
            "quota",
            f"the container may use {quota:g} CPUs' worth of time on {usable} CPUs",
            "threads beyond it are stopped in bursts of up to 100 ms",
            f"add `--set threads={threads}`, or limit the container by CPUs (docker: "
            "--cpuset-cpus in place of --cpus)",
        )
    stopped = limits.get("throttled_periods", 0)
    if stopped:
        share = stopped / max(stopped, limits.get("periods", 0))
        yield Hazard(
            "throttled",
            f"the container was stopped in {stopped} periods ({_percent(share)} of them)",
            "a call that is stopped takes up to 100 ms longer",
            "use fewer threads than the quota has CPUs, or raise it",
        )


def _memory(machine: Facts) -> Iterator[Hazard]:
    used = machine.get("memory", {}).get("swap_used_bytes", 0)
    if used > SWAP_BYTES:
        yield Hazard(
            "swap",
            f"{used / 2**20:.0f} MiB of swap in use",
            "a page that was put away costs milliseconds when it is touched",
            "free memory, then run `swapoff -a && swapon -a`",
        )


def _threads(machine: Facts) -> Iterator[Hazard]:
    given = machine.get("thread_variables", {}).get("OMP_NUM_THREADS")
    usable = machine.get("usable_cpus")
    if given is not None and usable is not None and given.split(",")[0].strip() != str(usable):
        yield Hazard(
            "omp",
            f"OMP_NUM_THREADS is {given} with {usable} usable CPUs",
            "torch is given the workload's threads, libraries with threads of their own are not",
            "unset it, and set threads by `--set threads=N`",
        )


def _gpu(machine: Facts) -> Iterator[Hazard]:
    gpu: Facts = machine.get("gpu", {})
    others = gpu.get("other_processes", 0)
    if others:
        yield Hazard(
            "gpu processes",
            f"{others} other process{'es' if others > 1 else ''} on the GPU",
            "they take turns with what is timed",
            "end them (`nvidia-smi` shows which), or choose another GPU by CUDA_VISIBLE_DEVICES",
        )
    if gpu.get("throttled"):
        yield Hazard(
            "gpu throttled",
            f"the GPU's clock is held back by {', '.join(gpu['throttled'])}"
            + (f" at {gpu['temperature_celsius']} C" if "temperature_celsius" in gpu else ""),
            "latencies depend on what ran before",
            "let it cool, or lock a clock that it can hold",
        )
    yield from _gpu_settings(gpu)


def _gpu_settings(gpu: Facts) -> Iterator[Hazard]:
    limit, default = gpu.get("power_limit_watts"), gpu.get("power_default_watts")
    if limit is not None and default is not None and limit < default:
        yield Hazard(
            "gpu power",
            f"the GPU may draw {limit:.0f} W of {default:.0f} W",
            "its clock falls under load",
            f"run `nvidia-smi -pl {default:.0f}`",
        )
    if gpu.get("clock_is_set") is False:
        now, most = gpu.get("clock_mhz"), gpu.get("max_clock_mhz")
        clock = f" ({now} MHz now, {most} MHz at most)" if now and most else ""
        yield Hazard(
            "gpu clock",
            f"no setting holds the GPU's clock{clock}",
            "it rises and falls with temperature, power and load",
            "run `nvidia-smi -lgc MHZ,MHZ` with a clock that it can hold",
        )
    if gpu.get("mig"):
        yield Hazard(
            "mig",
            "the GPU is split into instances (MIG)",
            "instances share its power and clock",
            "run while the others are idle, or on a whole GPU",
        )


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%"
