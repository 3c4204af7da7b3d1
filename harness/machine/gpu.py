"""The GPU: what it is, asked of CUDA, and what state it is in, asked of NVML."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from typing import Any

import torch

from harness.device import CudaDevice
from harness.device.nvml import Nvml
from harness.machine.tree import told

_DESCRIBE = (
    "import json; from harness.device import CudaDevice; print(json.dumps(CudaDevice().describe()))"
)


@functools.lru_cache(maxsize=1)
def gpu_description() -> dict[str, Any] | None:
    """Model, memory, driver of the GPU that cases run on; None where there is none.

    While this process has not used CUDA yet, a process of its own describes it, since a CUDA
    context here would break the ones forked later.
    """
    device = CudaDevice()
    if device.unavailable() is not None:
        return None
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return device.describe()
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        told_there = subprocess.run(
            [sys.executable, "-c", _DESCRIBE],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        described = json.loads(told_there.stdout.splitlines()[-1])
        return described if isinstance(described, dict) else None
    return None


def gpu_state() -> dict[str, Any]:
    """Clock, power, temperature, throttling and other processes of the first visible GPU, now.

    clock_is_set: whether a setting holds the clock. Makes no CUDA context.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    by_uuid = first if first.startswith(("GPU-", "MIG-")) else None
    nvml = Nvml.open(index=int(first) if first.isdigit() else 0, uuid=by_uuid)
    if nvml is None:
        return {}
    processes = nvml.process_ids()
    return told(
        clock_mhz=nvml.clock_mhz(),
        clock_is_set=nvml.clock_is_set(),
        throttled=list(nvml.throttled() or ()),
        power_watts=nvml.power_watts(),
        power_limit_watts=nvml.power_limit_watts(),
        power_default_watts=nvml.power_default_watts(),
        temperature_celsius=nvml.temperature_celsius(),
        other_processes=None if processes is None else len(set(processes) - {os.getpid()}),
        mig=nvml.mig(),
    )
