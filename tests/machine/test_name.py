"""The machine's short name."""

from __future__ import annotations

import re

import pytest

from harness.device import CpuDevice
from harness.machine import machine_slug, name


def _cpu(monkeypatch: pytest.MonkeyPatch, model: str, cpus: int) -> None:
    monkeypatch.setattr(CpuDevice, "describe", lambda self: {"model": model})
    monkeypatch.setattr(name, "usable_cpus", lambda: cpus)


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("AMD EPYC", "amd-epyc-2c"),
        ("AMD EPYC 9B14 96-Core Processor", "amd-epyc-9b14-2c"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "intel-xeon-platinum-8481c-2c"),
        ("Intel(R) Core(TM) i9-14900K", "intel-core-i9-14900k-2c"),
        ("Neoverse-N1", "neoverse-n1-2c"),
        ("", "unknown-2c"),
    ],
)
def test_slug_of_a_cpu(monkeypatch: pytest.MonkeyPatch, model: str, slug: str) -> None:
    _cpu(monkeypatch, model, 2)
    assert machine_slug("cpu") == slug


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb"),
        ("NVIDIA A100-SXM4-80GB", "nvidia-a100-sxm4-80gb"),
        ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090"),
        ("Tesla T4", "nvidia-tesla-t4"),
    ],
)
def test_slug_of_a_gpu(monkeypatch: pytest.MonkeyPatch, model: str, slug: str) -> None:
    monkeypatch.setattr(name, "gpu_description", lambda: {"model": model})
    assert machine_slug("cuda") == slug


def test_slug_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name, "gpu_description", lambda: None)
    assert machine_slug("cuda") == "no-gpu"


def test_this_machines_slug_is_stable_and_plain() -> None:
    assert machine_slug("cpu") == machine_slug("cpu")
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", machine_slug("cpu"))
