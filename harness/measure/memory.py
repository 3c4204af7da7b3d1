"""Memory: the allocator's exact peak, and the rise of the resident set beside it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.device import Device, Profile

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Memory:
    """Bytes above what was held before the call; the inputs are held before, the output is not.

    rss_peak_bytes: rise of the resident set, absent where the kernel does not tell. A rise well
    above peak_bytes is scratch that bypasses the allocator.
    """

    peak_bytes: int
    output_bytes: int
    rss_peak_bytes: int | None


def measure(device: Device, call: Callable[[], Any]) -> tuple[Memory, Profile]:
    """Run `call` once under the device's profiler."""
    with _resident_set() as rise:
        profile = device.profile(call)
    memory = Memory(profile.peak_bytes, tensor_bytes(profile.result), rise.get("bytes"))
    return memory, profile


def tensor_bytes(result: Any) -> int:
    """Bytes of the tensors in a result."""
    if isinstance(result, torch.Tensor):
        return result.numel() * result.element_size()
    return sum(tensor_bytes(item) for item in result) if isinstance(result, (tuple, list)) else 0


@contextlib.contextmanager
def _resident_set() -> Iterator[dict[str, int]]:
    """Fill `bytes` with how far the resident set rose above its size at entry."""
    rise: dict[str, int] = {}
    before: int | None = None
    _give_back()
    with contextlib.suppress(OSError, KeyError):
        _CLEAR.write_text("5")  # resets VmHWM to the present size (proc(5))
        before = _status("VmRSS")  # only after that: an old peak is no rise
    yield rise
    with contextlib.suppress(OSError, KeyError):
        if before is not None:
            rise["bytes"] = max(0, _status("VmHWM") - before)


def _give_back() -> None:
    """Return what the C allocator holds free to the kernel: reused memory would show no rise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(key: str) -> int:
    lines = _STATUS.read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
    return int(found[key]) * 1024
