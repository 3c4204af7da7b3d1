"""Fake `/proc` and `/sys` trees: machines of several shapes, written into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"
Files = dict[str, str]


def write(root: Path, files: Mapping[str, str]) -> Path:
    """The files of a machine, below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def cpuinfo(model: str, cpus: int, flags: str, mhz: float) -> str:
    """`/proc/cpuinfo` of so many CPUs."""
    one = "processor\t: {}\nmodel name\t: {}\ncpu MHz\t\t: {}\nflags\t\t: {}"
    return "\n\n".join(one.format(cpu, model, mhz, flags) for cpu in range(cpus))


def topology(cpu: int, package: int, siblings: str) -> Files:
    """Where one CPU belongs."""
    folder = f"{CPU}/cpu{cpu}/topology"
    return {
        f"{folder}/physical_package_id": str(package),
        f"{folder}/thread_siblings_list": siblings,
    }


def cache(cpu: int, index: int, level: int, kind: str, size: str, shared: str) -> Files:
    """One cache of one CPU."""
    folder = f"{CPU}/cpu{cpu}/cache/index{index}"
    return {
        f"{folder}/level": str(level),
        f"{folder}/type": kind,
        f"{folder}/size": size,
        f"{folder}/shared_cpu_list": shared,
    }


def intel(root: Path) -> Path:
    """Bare metal: 2 sockets of 2 cores of 2 threads, powersave, turbo, swap in use, a battery."""
    files: Files = {
        "proc/cpuinfo": cpuinfo("Intel(R) Xeon(R) Gold 6338", 8, "fpu sse2 avx512f ht", 2000.125),
        "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 400 kB\n"
        "SwapTotal: 262144 kB\nSwapFree: 65536 kB\nHugePages_Total: 3",
        "proc/loadavg": "3.50 2.25 1.00 4/512 4711",
        "proc/stat": "cpu 100 0 100 700 0 50 50 0 0 0\ncpu0 1 2 3 4",
        "proc/self/cgroup": "0::/user.slice",
        "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
        "sys/class/power_supply/BAT0/type": "Battery",
        "sys/class/power_supply/BAT0/status": "Discharging",
        "sys/class/power_supply/AC/type": "Mains",
        f"{CPU}/online": "0-7",
        f"{CPU}/smt/active": "1",
        f"{CPU}/intel_pstate/no_turbo": "0",
        f"{NODE}/node0/cpulist": "0-1,4-5",
        f"{NODE}/node1/cpulist": "2-3,6-7",
        f"{NODE}/node0/distance": "10 21",
        f"{NODE}/node1/distance": "21 10",
        **cache(0, 0, 1, "Data", "48K", "0,4"),
        **cache(0, 1, 1, "Instruction", "32K", "0,4"),
        **cache(0, 2, 2, "Unified", "1280K", "0,4"),
        **cache(0, 3, 3, "Unified", "48M", "0-1,4-5"),
    }
    for cpu in range(8):
        files |= topology(cpu, cpu % 4 // 2, f"{cpu % 4},{cpu % 4 + 4}")
        policy = f"{CPU}/cpu{cpu}/cpufreq"
        files |= {
            f"{policy}/scaling_governor": "powersave",
            f"{policy}/scaling_driver": "intel_pstate",
            f"{policy}/scaling_cur_freq": str(800000 + cpu),
            f"{policy}/cpuinfo_max_freq": "3200000",
        }
    return write(root, files)


def amd(root: Path) -> Path:
    """A virtual machine of 4 CPUs, in a container with a quota of 1.5 that was used up."""
    group = "sys/fs/cgroup"
    files: Files = {
        "proc/cpuinfo": cpuinfo("AMD EPYC 7B13", 4, "fpu sse2 hypervisor", 2450),
        "proc/meminfo": "MemTotal: 2000 kB\nMemAvailable: 1000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB",
        "proc/loadavg": "0.01 0.02 0.00 1/99 12",
        "proc/stat": "cpu 600 0 100 5000 0 50 50 200 0 0",
        "proc/self/cgroup": "0::/pod/box",
        f"{CPU}/online": "0-3",
        f"{CPU}/smt/active": "0",
        f"{CPU}/cpufreq/boost": "0",
        # Not of a quota: nothing limits the root here, whatever it counts.
        f"{group}/cpu.stat": "nr_periods 9000\nnr_throttled 9000",
        f"{group}/pod/cpu.max": "150000 100000",
        f"{group}/pod/memory.max": "8589934592",
        f"{group}/pod/cpu.stat": "usage_usec 5\nnr_periods 1000\nnr_throttled 250",
        f"{group}/pod/box/cpu.max": "300000 100000",
        f"{group}/pod/box/memory.max": "max",
        f"{group}/pod/box/cpu.stat": "usage_usec 5\nnr_periods 2000\nnr_throttled 0",
        f"{group}/pod/box/cpuset.cpus.effective": "0-3",
    }
    for cpu in range(4):
        files |= topology(cpu, -1, str(cpu))
    return write(root, files)


def bare(root: Path) -> Path:
    """`/proc` as on an ARM board with no `/sys`: what there is says little."""
    text = "processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: fp asimd\n\nprocessor\t: 1"
    return write(root, {"proc/cpuinfo": text, "proc/meminfo": "MemTotal: 3000 kB\nnonsense"})
