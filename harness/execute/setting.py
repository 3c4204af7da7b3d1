"""What every task needs first: the variants it was told of, the device, a limit on memory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import variant
from harness.device import Device, device_named
from harness.measure.kernels import watch_compiler
from harness.variant import AttentionOp
from harness.workload import Workload

SPARE = 0.9
"""Share of the available memory that one case may take."""


def load_variants(files: Sequence[str]) -> None:
    """Register the installed variants and those of the user's files."""
    variant.load_installed()
    for file in files:
        variant.load_file(Path(file))


def build(described: Mapping[str, Any]) -> AttentionOp:
    """The variant of a payload: `{"name", "params"}`."""
    return variant.create(described["name"], described["params"])


def start_device(workload: Workload) -> Device:
    """The workload's device, made ready to measure in this process, with memory limited."""
    device = device_named(workload.device)
    if workload.device == "cpu":
        _limit_memory(device)
    device.start(workload.threads)
    watch_compiler()
    return device


def _limit_memory(device: Device) -> None:
    """Make the allocator fail, cleanly, before the machine runs out of memory.

    CUDA maps far more address space than it uses, so only CPU cases are limited.
    """
    if sys.platform != "linux":
        return
    import resource

    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
        limit = held + int(SPARE * device.available_bytes())
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
