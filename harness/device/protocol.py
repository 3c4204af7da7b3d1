"""What the harness asks of a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Timing:
    """One timed call: its result, the device's seconds, and the host's seconds to submit it."""

    result: Any
    seconds: float
    host_s: float


@dataclass(frozen=True)
class Profile:
    """One profiled call: its result, peak bytes above those held before, kernels that ran."""

    result: Any
    peak_bytes: int
    kernels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clocks:
    """Clocks of a device: its frequency in MHz and why it is held back; None where none tells."""

    frequency_mhz: float | None = None
    throttled: tuple[str, ...] | None = None


class EnergyCounter(Protocol):
    """Counts the energy that a device uses, in steps of its own; `unit_joules` is the least."""

    name: str
    unit_joules: float

    def joules(self) -> float:
        """Joules from some moment on; raises OSError where the device no longer tells."""


class Device(Protocol):
    """A clock, a barrier, a cache, a peak of memory, and what the device is."""

    kind: str

    def unavailable(self) -> str | None:
        """Why no case can run on this device here; None when one can."""

    def describe(self) -> dict[str, Any]:
        """What the device is: model, cores or multiprocessors, memory, driver."""

    def available_bytes(self) -> int:
        """Memory that a case may still take."""

    def start(self, threads: int) -> None:
        """Make this process ready to measure: threads, affinity, context, an empty profile."""

    def synchronize(self) -> None:
        """Wait until everything submitted has ended."""

    def flush_cache(self) -> None:
        """Evict what the last call left in the cache, where the device's rule is a cold cache."""

    def time(self, call: Callable[[], Any]) -> Timing:
        """Run `call` and time it by the device's own clock."""

    def profile(self, call: Callable[[], Any]) -> Profile:
        """Run `call` and tell its exact peak of memory and the kernels that ran."""

    def clocks(self) -> Clocks:
        """Frequency and throttling now."""

    def energy_counter(self) -> EnergyCounter | None:
        """What counts the device's energy; None where nothing does, as `energy_reason` says."""

    def energy_reason(self) -> str | None:
        """Why energy cannot be measured here and what to do; None where it can."""
