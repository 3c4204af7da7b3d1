from __future__ import annotations

import ctypes
from typing import Any

import pytest

from harness.device import CudaDevice, nvml
from harness.device.nvml import Nvml, throttle_reasons
from harness.device.protocol import Clocks


class FakeLibrary:
    """Stands in for libnvidia-ml: fills the caller's pointers as the driver would."""

    def __init__(self, *, status: int = 0) -> None:
        self.status = status
        self.opened = b""

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802
        self.opened = uuid
        return self.status

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:  # noqa: N802
        self.opened = b"index %d" % index.value
        return self.status

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: Any, answer: Any) -> int:  # noqa: N802
        assert kind.value == 1, "the clock of the multiprocessors"
        answer._obj.value = 1980
        return self.status

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 0x1 | 0x4 | 0x40
        return self.status

    def nvmlDeviceGetPowerUsage(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 123_456
        return self.status

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 350_000
        return self.status

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 700_000
        return self.status

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: Any, answer: Any) -> int:  # noqa: N802
        assert sensor.value == 0, "the chip's"
        answer._obj.value = 41
        return self.status

    def nvmlDeviceGetComputeRunningProcesses_v3(  # noqa: N802
        self, handle: Any, count: Any, found: Any
    ) -> int:
        assert count._obj.value == len(found)
        found[0].pid, found[1].pid, count._obj.value = 17, 4711, 2
        return self.status

    def nvmlDeviceGetMigMode(self, handle: Any, now: Any, pending: Any) -> int:  # noqa: N802
        now._obj.value, pending._obj.value = 1, 0
        return self.status

    def nvmlDeviceGetMemoryInfo(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.total, answer._obj.free, answer._obj.used = 30, 20, 10
        return self.status

    def nvmlSystemGetDriverVersion(self, text: Any, length: Any) -> int:  # noqa: N802
        text.value = b"580.159.04"
        return self.status


def test_throttle_reasons_are_words_and_idle_is_none() -> None:
    assert throttle_reasons(0) == ()
    assert throttle_reasons(0x1 | 0x2 | 0x100) == ()
    assert throttle_reasons(0x4 | 0x8 | 0x20) == (
        "power cap",
        "hardware slowdown",
        "software thermal slowdown",
    )
    assert throttle_reasons(0x10 | 0x40 | 0x80) == (
        "sync boost",
        "hardware thermal slowdown",
        "power brake",
    )


def test_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_load", FakeLibrary)
    gpu = Nvml.open(index=2)
    assert gpu is not None
    assert gpu.clock_mhz() == 1980
    assert gpu.throttled() == ("power cap", "hardware thermal slowdown")
    assert gpu.free_bytes() == 20
    assert gpu.driver() == "580.159.04"
    assert (gpu.power_watts(), gpu.power_limit_watts()) == (123.456, 350.0)
    assert (gpu.power_default_watts(), gpu.temperature_celsius()) == (700.0, 41)
    assert gpu.process_ids() == (17, 4711)
    assert gpu.mig() is True
    assert gpu.clock_is_set() is False
    assert gpu.max_clock_mhz() is None, "this library has no such function"


def test_a_refusal_is_no_reading() -> None:
    gpu = Nvml(FakeLibrary(status=3), ctypes.c_void_p())
    assert gpu.clock_mhz() is None
    assert gpu.throttled() is None
    assert gpu.energy_joules() is None
    assert gpu.free_bytes() is None
    assert gpu.driver() is None
    assert gpu.power_watts() is None
    assert gpu.temperature_celsius() is None
    assert gpu.process_ids() is None
    assert gpu.mig() is None
    assert gpu.clock_is_set() is None


def test_a_driver_without_a_function_tells_nothing() -> None:
    gpu = Nvml(object(), ctypes.c_void_p())
    assert (gpu.power_watts(), gpu.process_ids(), gpu.mig()) == (None, None, None)


def test_opened_by_uuid_or_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(nvml, "_load", lambda: library)
    assert Nvml.open(index=3) is not None
    assert library.opened == b"index 3"
    assert Nvml.open(index=3, uuid="GPU-12") is not None
    assert library.opened == b"GPU-12"
    library.status = 6
    assert Nvml.open() is None


def test_without_a_library_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_LIBRARIES", ("no-such-library.so.1",))
    assert Nvml.open() is None
    assert CudaDevice().clocks() == Clocks()
    assert CudaDevice().energy_counter() is None
    assert "NVML does not open" in str(CudaDevice().energy_reason())


def test_clocks_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_load", FakeLibrary)
    clocks = CudaDevice().clocks()
    assert clocks == Clocks(1980, ("power cap", "hardware thermal slowdown"))


class Counting(FakeLibrary):
    """A library of a GPU that counts its energy."""

    energy_mj = 5_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = self.energy_mj
        return self.status


def test_energy_is_in_joules_from_one_reading_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Counting()
    monkeypatch.setattr(nvml, "_load", lambda: library)
    device = CudaDevice()
    counter = device.energy_counter()
    assert counter is not None
    assert device.energy_reason() is None
    before = counter.joules()
    library.energy_mj += 1_250
    assert counter.joules() - before == 1.25
    library.status = 15
    with pytest.raises(OSError, match="no longer tells"):
        counter.joules()


def test_a_gpu_that_counts_no_energy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_load", FakeLibrary)
    assert CudaDevice().energy_counter() is None
    assert "older than Volta" in str(CudaDevice().energy_reason())
