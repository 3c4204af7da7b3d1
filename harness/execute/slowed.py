"""A call made slower by a known share: what a race must be able to find."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from harness.device import Device
from harness.measure.calls import Call


def slow_down(call: Call, share: float, device: Device) -> None:
    """Let each run of this call be followed, while it is timed, by a wait of `share` of it."""
    # On this one object: what is raced stays the very call of the very variant.
    call.run = _slowed(call.run, share, device)  # type: ignore[method-assign]


def _slowed(run: Callable[[], Any], share: float, device: Device) -> Callable[[], Any]:
    def slowed() -> Any:
        begin = time.perf_counter()
        result = run()
        device.synchronize()
        now = time.perf_counter()
        until = now + share * (now - begin)
        # Busy: a sleep ends when the scheduler likes, and lets the clock fall.
        while time.perf_counter() < until:
            pass
        return result

    return slowed
