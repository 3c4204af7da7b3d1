from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import machine
from harness.device import CpuDevice, CudaDevice
from harness.machine import describe_machine, machine_slug


@pytest.fixture(autouse=True)
def _forget_gpu() -> None:
    machine._gpu.cache_clear()


def _cpu(monkeypatch: pytest.MonkeyPatch, model: str, cpus: int) -> None:
    monkeypatch.setattr(CpuDevice, "describe", lambda self: {"model": model})
    monkeypatch.setattr(machine, "usable_cpus", lambda: cpus)


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
    monkeypatch.setattr(machine, "_gpu", lambda: {"model": model})
    assert machine_slug("cuda") == slug


def test_slug_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_gpu", lambda: None)
    assert machine_slug("cuda") == "no-gpu"


def test_this_machines_slug_is_stable_and_plain() -> None:
    assert machine_slug("cpu") == machine_slug("cpu")
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", machine_slug("cpu"))


def test_description_is_json_without_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    described = describe_machine()
    text = json.dumps(described)
    assert platform.node() not in text
    assert described["usable_cpus"] >= 1
    assert described["thread_variables"]["OMP_NUM_THREADS"] == "3"
    assert described["packages"]["torch"] == described["torch"]
    assert None not in described.values()


def test_what_the_machine_does_not_tell_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("not here")

    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, **how: (
            refuse() if str(path).startswith(("/sys", "/proc")) else read(path, **how)
        ),
    )
    monkeypatch.setattr(os, "getloadavg", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(CudaDevice, "unavailable", lambda self: None)
    described = describe_machine()
    assert not {"governor", "container", "load_average", "gpu"} & set(described)
    assert described["cpu"]["model"]


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({"memory.max": "8589934592\n", "cpu.max": "150000 100000\n"}, (8 << 30, 1.5)),
        ({"memory.max": "max\n", "cpu.max": "max 100000\n"}, (None, None)),
        (
            {
                "memory/memory.limit_in_bytes": "1048576",
                "cpu/cpu.cfs_quota_us": "200000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            (1 << 20, 2.0),
        ),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, (None, None)),
    ],
)
def test_limits_of_the_control_group(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    files: dict[str, str],
    limits: tuple[int | None, float | None],
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    container = machine._container()
    assert (container.get("memory_bytes"), container.get("cpus")) == limits


def test_a_gpu_is_described_by_another_process_until_cuda_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = subprocess.CompletedProcess([], 0, 'a line of chatter\n{"model": "NVIDIA H200"}\n', "")
    monkeypatch.setattr(CudaDevice, "unavailable", lambda self: None)
    monkeypatch.setattr(CudaDevice, "describe", lambda self: pytest.fail("made a context"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: told)
    assert describe_machine()["gpu"] == {"model": "NVIDIA H200"}
    assert machine_slug("cuda") == "nvidia-h200"
