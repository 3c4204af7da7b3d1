"""Clocks, throttling and free memory of an NVIDIA GPU, from the driver's own library.

NVML is read through ctypes: it needs no package and makes no CUDA context, so a process that
will fork may ask it. Names and numbers are those of `nvml.h`. Every question has the answer
None where the library, the device or the driver does not tell.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any

# nvml.h, nvmlClocksEventReason*. Left out: idle (0x1), since between two calls a GPU is idle;
# application clocks (0x2) and display clocks (0x100), since those are settings, not throttling.
_THROTTLE_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
_LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")
_SM_CLOCK = 1  # NVML_CLOCK_SM
_CLOCK_SETTING = 0x2  # nvmlClocksEventReasonApplicationsClocksSetting
_DIE = 0  # NVML_TEMPERATURE_GPU
_MOST_PROCESSES = 128


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def throttle_reasons(bits: int) -> tuple[str, ...]:
    """The reasons in NVML's bit field that hold the clock back, in words."""
    return tuple(reason for bit, reason in _THROTTLE_REASONS.items() if bits & bit)


class Nvml:
    """One GPU as NVML sees it."""

    def __init__(self, library: Any, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle

    @classmethod
    def open(cls, *, index: int = 0, uuid: str | None = None) -> Nvml | None:
        """The GPU of this UUID (`GPU-...`), else of this index; None where NVML knows none."""
        library = _load()
        if library is None:
            return None
        handle = ctypes.c_void_p()
        if uuid is not None:
            found = library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle))
        else:
            found = library.nvmlDeviceGetHandleByIndex_v2(
                ctypes.c_uint(index), ctypes.byref(handle)
            )
        return cls(library, handle) if found == 0 else None

    def clock_mhz(self) -> int | None:
        """Clock of the multiprocessors now, in MHz."""
        value = ctypes.c_uint()
        return value.value if self._ask("nvmlDeviceGetClockInfo", value, _SM_CLOCK) else None

    def max_clock_mhz(self) -> int | None:
        """The highest clock that the multiprocessors may take, in MHz."""
        value = ctypes.c_uint()
        return value.value if self._ask("nvmlDeviceGetMaxClockInfo", value, _SM_CLOCK) else None

    def throttled(self) -> tuple[str, ...] | None:
        """Why the clock is held back now; () when it is not."""
        value = ctypes.c_ulonglong()
        told = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", value)
        return throttle_reasons(value.value) if told else None

    def energy_joules(self) -> float | None:
        """Energy that the board has used since the driver was loaded, in joules."""
        value = ctypes.c_ulonglong()
        told = self._ask("nvmlDeviceGetTotalEnergyConsumption", value)
        return value.value / 1000 if told else None

    def clock_is_set(self) -> bool | None:
        """True when a setting holds the clock, as locked or application clocks do."""
        value = ctypes.c_ulonglong()
        told = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", value)
        return bool(value.value & _CLOCK_SETTING) if told else None

    def power_watts(self) -> float | None:
        """What the board draws now, in watts."""
        return self._watts("nvmlDeviceGetPowerUsage")

    def power_limit_watts(self) -> float | None:
        """What the board may draw now, in watts."""
        return self._watts("nvmlDeviceGetEnforcedPowerLimit")

    def power_default_watts(self) -> float | None:
        """What the board may draw as it was delivered, in watts."""
        return self._watts("nvmlDeviceGetPowerManagementDefaultLimit")

    def temperature_celsius(self) -> int | None:
        """Temperature of the chip."""
        value = ctypes.c_uint()
        return value.value if self._ask("nvmlDeviceGetTemperature", value, _DIE) else None

    def process_ids(self) -> tuple[int, ...] | None:
        """Processes that compute on the device; numbered as the host does, in some containers."""
        count, found = ctypes.c_uint(_MOST_PROCESSES), (_Process * _MOST_PROCESSES)()
        with contextlib.suppress(AttributeError):
            called = self._library.nvmlDeviceGetComputeRunningProcesses_v3
            if called(self._handle, ctypes.byref(count), found) == 0:
                return tuple(process.pid for process in found[: count.value])
        return None

    def mig(self) -> bool | None:
        """True when the device is split into instances."""
        now, pending = ctypes.c_uint(), ctypes.c_uint()
        with contextlib.suppress(AttributeError):
            called = self._library.nvmlDeviceGetMigMode
            if called(self._handle, ctypes.byref(now), ctypes.byref(pending)) == 0:
                return bool(now.value)
        return None

    def free_bytes(self) -> int | None:
        """Memory of the device that no process holds."""
        value = _Memory()
        return int(value.free) if self._ask("nvmlDeviceGetMemoryInfo", value) else None

    def driver(self) -> str | None:
        """Version of the driver, as in `580.159.04`."""
        text = ctypes.create_string_buffer(96)
        with contextlib.suppress(AttributeError):
            if self._library.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text))) == 0:
                return text.value.decode(errors="replace")
        return None

    def _watts(self, function: str) -> float | None:
        value = ctypes.c_uint()
        return value.value / 1000 if self._ask(function, value) else None

    def _ask(self, function: str, answer: Any, *arguments: int) -> bool:
        # A function that this driver lacks is an AttributeError; any status but 0 is a refusal.
        with contextlib.suppress(AttributeError):
            passed = [ctypes.c_uint(argument) for argument in arguments]
            called = getattr(self._library, function)
            return bool(called(self._handle, *passed, ctypes.byref(answer)) == 0)
        return False


class NvmlEnergy:
    """NVML's energy counter; it counts millijoules and is brought up to date every 20-100 ms."""

    name = "NVML total energy"
    unit_joules = 1e-3

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml

    def joules(self) -> float:
        """Joules since the driver was loaded; raises OSError when NVML no longer tells."""
        found = self._nvml.energy_joules()
        if found is None:
            raise OSError("NVML no longer tells the energy of the GPU")
        return found


def _load() -> Any:
    for name in _LIBRARIES:
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(name)
            if library.nvmlInit_v2() == 0:
                return library
    return None
