"""What every task needs first: the variants it was told of, the device, a limit on memory."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import variant
from harness.device import Device, device_named
from harness.measure.kernels import watch_compiler
from harness.measure.process import ProcessSettings
from harness.variant import AttentionOp, Variant
from harness.workload import Workload

SPARE = 0.9
"""Share of the available memory that one case may take."""


@dataclass(frozen=True)
class Loaded:
    """What the process was like before it called any variant, and whose import changed it.

    changes: by variant, what the import of its file or package changed; put back by now.
    """

    settings: ProcessSettings
    changes: Mapping[str, str]


def load_variants(files: Sequence[str]) -> Loaded:
    """Register the installed variants and those of the user's files.

    Start the device first: what its start sets is then part of how the process should be.
    """
    settings = ProcessSettings()
    changes = _importing("its package", variant.load_installed, settings)
    for file in map(Path, files):
        changes |= _importing(file.name, functools.partial(variant.load_file, file), settings)
    settings.extend()
    return Loaded(settings, changes)


def _importing(home: str, load: Callable[[], Any], settings: ProcessSettings) -> dict[str, str]:
    before = set(variant.registered())
    load()
    changed = settings.restore()
    if changed is None:
        return {}
    reason = f"the import of {home} {changed}"
    return dict.fromkeys(set(variant.registered()) - before, reason)


def build(described: Mapping[str, Any]) -> Variant:
    """The variant of a payload: `{"name", "params"}`."""
    return variant.create(described["name"], described["params"])


def measured(described: Mapping[str, Any], workload: Workload) -> AttentionOp:
    """What is measured of the variant of a payload: it, or the layer that it makes, as an op."""
    return variant.measured(build(described), workload)[0]


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
