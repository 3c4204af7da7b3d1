"""What a run was made on: the manifest's description of the machine, and its short name.

Neither holds the host's name. What the machine does not tell is absent.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from harness.device import CpuDevice, CudaDevice
from harness.workload import usable_cpus

PACKAGES = ("attnbench", "torch", "numpy", "xformers", "triton")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
    "CUDA_VISIBLE_DEVICES",
)
_DESCRIBE_GPU = (
    "import json; from harness.device import CudaDevice; print(json.dumps(CudaDevice().describe()))"
)
# What vendors put into a name and nobody says; "96-Core" is the chip's, not what we may use.
_NOISE = re.compile(
    r"\((?:r|tm)\)|@.*|\b(?:cpu|processor|hbm\d*e?|(?:\d+|dual|quad|six|eight|sixteen)-core)\b"
)
_CGROUP = Path("/sys/fs/cgroup")


def describe_machine() -> dict[str, Any]:
    """Platform, versions, CPU, GPU, memory, limits, load and thread settings.

    On a machine with a GPU whose process has not used CUDA yet, the GPU is described by a
    process of its own, since a CUDA context here would break the ones forked later.
    """
    cpu = CpuDevice().describe()
    told = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "usable_cpus": usable_cpus(),
        "memory_bytes": cpu["memory_bytes"],
        "cpu": cpu,
        "gpu": _gpu(),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "container": _container() or None,
        "load_average": _load_average(),
        "thread_variables": {
            name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ
        },
        "packages": _versions(),
    }
    return {name: value for name, value in told.items() if value is not None}


def machine_slug(device: str) -> str:
    """The machine's short name for runs on `cpu` or `cuda`: letters a-z, digits and hyphens.

    `amd-epyc-2c` (model, and CPUs that may be used) or `nvidia-h100-80gb`; the same at every
    call, and the same on two machines of one kind.
    """
    if device == "cuda":
        gpu = _gpu()
        name = _slug(str(gpu["model"])) if gpu else "no-gpu"
        return name if name.startswith("nvidia") or not gpu else f"nvidia-{name}"
    return f"{_slug(str(CpuDevice().describe()['model']))}-{usable_cpus()}c"


def _slug(text: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", _NOISE.sub(" ", text.lower())).strip("-")
    return words or "unknown"


@functools.lru_cache(maxsize=1)
def _gpu() -> dict[str, Any] | None:
    device = CudaDevice()
    if device.unavailable() is not None:
        return None
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return device.describe()
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        told = subprocess.run(
            [sys.executable, "-c", _DESCRIBE_GPU],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        described = json.loads(told.stdout.splitlines()[-1])
        return described if isinstance(described, dict) else None
    return None


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text().strip() or None
    except (OSError, ValueError):
        return None


def _container() -> dict[str, Any]:
    """Limits of the control group, version 2 first: bytes of memory, CPUs' worth of time."""
    limits: dict[str, Any] = {}
    memory = _text(_CGROUP / "memory.max") or _text(_CGROUP / "memory/memory.limit_in_bytes")
    # Version 1 writes "no limit" as a number near 2**63.
    if memory and memory.isdigit() and int(memory) < 1 << 60:
        limits["memory_bytes"] = int(memory)
    quota = (_text(_CGROUP / "cpu.max") or "").split()
    if not quota:
        halves = (_text(_CGROUP / f"cpu/cpu.cfs_{half}_us") for half in ("quota", "period"))
        quota = [half for half in halves if half]
    if len(quota) == 2 and all(half.isdigit() for half in quota) and int(quota[1]):
        limits["cpus"] = int(quota[0]) / int(quota[1])
    return limits


def _load_average() -> list[float] | None:
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except (OSError, AttributeError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
