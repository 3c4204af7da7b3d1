"""Devices: one protocol, one file a device."""

from harness.device.cpu import CpuDevice
from harness.device.cuda import CudaDevice
from harness.device.protocol import Device, EnergyCounter, Profile, Timing

__all__ = [
    "CpuDevice",
    "CudaDevice",
    "Device",
    "EnergyCounter",
    "Profile",
    "Timing",
    "device_named",
]


def device_named(kind: str) -> Device:
    """The device of a workload: `cpu` or `cuda`."""
    return CudaDevice() if kind == "cuda" else CpuDevice()
