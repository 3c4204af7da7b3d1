"""What is read from the kernel's files, on machines of several shapes and on this one."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.device import CpuDevice, CudaDevice
from harness.device.nvml import Nvml
from harness.machine import describe_machine, gpu, machine_slug
from harness.machine.container import container_facts
from harness.machine.software import allocator_facts, harness_hash, library_facts, versions
from harness.machine.topology import cpu_facts, numa_facts
from harness.machine.tree import Tree, read_cpus, told, write_cpus
from tests.machine import trees


@pytest.fixture(autouse=True)
def _forget_gpu() -> Iterator[None]:
    gpu.gpu_description.cache_clear()
    yield
    gpu.gpu_description.cache_clear()


def test_bare_metal(tmp_path: Path) -> None:
    found = describe_machine(trees.intel(tmp_path))
    assert found["usable_cpus"] == 8
    assert found["cpu"] == {
        "model": "Intel(R) Xeon(R) Gold 6338",
        "capability": found["cpu"]["capability"],
        "sockets": 2,
        "physical_cores": 4,
        "logical_cpus": 8,
        "smt": True,
        "usable_cores": 4,
        "one_cpu_a_core": "0-3",
        "l1d_bytes": 48 << 10,
        "l2_bytes": 1280 << 10,
        "l3_bytes": 48 << 20,
        "l3_cpus": 4,
    }
    assert found["frequency"] == {
        "governor": "powersave",
        "driver": "intel_pstate",
        "turbo": True,
        "now_mhz": 800,
        "max_mhz": 3200,
    }
    assert found["numa"] == {
        "nodes": 2,
        "cpus": ["0-1,4-5", "2-3,6-7"],
        "distances": ["10 21", "21 10"],
        "usable_nodes": [0, 1],
    }
    assert found["memory"] == {
        "total_bytes": 1000 << 10,
        "available_bytes": 400 << 10,
        "swap_bytes": 256 << 20,
        "swap_used_bytes": 192 << 20,
        "huge_pages": "always",
    }
    assert found["virtual"] == {"machine": False}
    assert found["load_average"] == [3.5, 2.25, 1.0]
    assert found["on_battery"] is True
    assert "container" not in found


def test_a_virtual_machine_in_a_container(tmp_path: Path) -> None:
    found = describe_machine(trees.amd(tmp_path))
    assert found["cpu"]["model"] == "AMD EPYC 7B13"
    assert found["cpu"]["smt"] is False
    assert not {"sockets", "one_cpu_a_core", "l2_bytes"} & set(found["cpu"])
    assert found["frequency"] == {"turbo": False, "now_mhz": 2450}
    assert found["memory"]["swap_used_bytes"] == 0
    assert found["container"] == {
        "cpus": 1.5,
        "memory_bytes": 8 << 30,
        "cpuset": "0-3",
        "periods": 1000,
        "throttled_periods": 250,
    }
    # 200 of 1000 busy ticks; idle ones do not count.
    assert found["virtual"] == {"machine": True, "steal": 0.2}
    assert not {"numa", "on_battery"} & set(found)


def test_little_is_told(tmp_path: Path) -> None:
    found = describe_machine(trees.bare(tmp_path))
    assert found["cpu"]["logical_cpus"] == found["usable_cpus"] == 2
    assert found["memory"] == {"total_bytes": 3000 << 10}
    assert found["cpu"]["model"]
    absent = {"numa", "container", "virtual", "load_average", "on_battery", "frequency"}
    assert not absent & set(found)


def test_nothing_is_told(tmp_path: Path) -> None:
    found = describe_machine(tmp_path)
    assert found["usable_cpus"] >= 1
    assert set(found["cpu"]) == {"model", "capability"}
    assert not {"memory", "numa", "container", "virtual", "load_average"} & set(found)


@pytest.mark.parametrize("shape", [trees.intel, trees.amd, trees.bare, lambda root: root])
def test_what_is_not_told_is_absent(tmp_path: Path, shape: Callable[[Path], Path]) -> None:
    def check(value: Any) -> None:
        assert value is not None
        assert value not in ("", {}, [])
        for inside in value.values() if isinstance(value, dict) else ():
            check(inside)

    check(describe_machine(shape(tmp_path)))


def test_one_node_and_one_thread_a_core_when_pinned(tmp_path: Path) -> None:
    tree = Tree(trees.intel(tmp_path))
    assert numa_facts(tree, (2, 6))["usable_nodes"] == [1]
    found = cpu_facts(tree, (2, 3))
    assert found["usable_cores"] == 2
    assert "one_cpu_a_core" not in found
    assert cpu_facts(tree, (2, 6, 7))["one_cpu_a_core"] == "2,7"


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({"memory.max": "8589934592", "cpu.max": "150000 100000"}, (8 << 30, 1.5)),
        ({"memory.max": "max", "cpu.max": "max 100000"}, (None, None)),
        # The container's own folder, where the path in /proc/self/cgroup is the host's.
        ({"cpu.max": "50000 100000", "../../../proc/self/cgroup": "0::/far/away"}, (None, 0.5)),
        (
            {
                "../../../proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/box\n0::/",
                "memory/memory.limit_in_bytes": "1048576",
                "cpu,cpuacct/unread": "",
                "cpu/box/cpu.cfs_quota_us": "200000",
                "cpu/box/cpu.cfs_period_us": "100000",
            },
            (1 << 20, 2.0),
        ),
        (
            {
                "../../../proc/self/cgroup": "5:memory:/box\n4:cpu:/box",
                "memory/box/memory.limit_in_bytes": "9223372036854771712",
                "cpu/box/cpu.cfs_quota_us": "-1",
                "cpu/box/cpu.cfs_period_us": "100000",
            },
            (None, None),
        ),
    ],
)
def test_limits_of_the_control_group(
    tmp_path: Path, files: dict[str, str], limits: tuple[int | None, float | None]
) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for name, text in files.items():
        path = (group / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    found = container_facts(Tree(tmp_path))
    assert (found.get("memory_bytes"), found.get("cpus")) == limits
    assert "throttled_periods" not in found


def test_lists_of_cpus() -> None:
    assert read_cpus("0-3,8\n") == (0, 1, 2, 3, 8)
    assert read_cpus(None) == read_cpus("nonsense") == ()
    assert write_cpus({8, 3, 2, 1, 0}) == "0-3,8"


def test_told_keeps_zero_and_false() -> None:
    assert told(a=0, b=False, c=None, d="", e={}, f=[]) == {"a": 0, "b": False}


def test_libraries_are_read_from_what_torch_shows() -> None:
    text = """  - clang 17.0
  - Intel(R) MKL-DNN v3.7.1 (Git Hash 8d26)
  - OpenMP 202011
  - Build settings: BLAS_INFO=open, BUILD_TYPE=Release"""
    assert library_facts(text) == {
        "onednn": "3.7.1",
        "openmp": "202011",
        "blas": "open",
        "compiler": "clang 17.0",
    }
    assert library_facts("") == {}
    assert library_facts()["compiler"]


def test_allocators_are_named_without_their_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/home/me/libjemalloc.so.2 libtcmalloc.so")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    found = allocator_facts()
    assert found["preloaded"] == ["libjemalloc.so.2", "libtcmalloc.so"]
    assert found["MALLOC_ARENA_MAX"] == "1"
    monkeypatch.delenv("LD_PRELOAD")
    assert "preloaded" not in allocator_facts()


def test_the_harness_is_told_by_what_can_change_a_number(tmp_path: Path) -> None:
    for name in ("measure/latency.py", "statistics.py", "cli/run.py", "report/page/facts.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")

    def after(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        harness_hash.cache_clear()
        return harness_hash(tmp_path)

    first = after("statistics.py", "one")
    assert after("cli/run.py", "two") == after("report/page/facts.py", "two") == first
    moved = after("measure/latency.py", "two"), after("measure/energy.py", "")
    assert len({first, *moved}) == 3
    assert versions()["harness"] == harness_hash() != first


def test_this_machine_is_json_without_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    described = describe_machine()
    text = json.dumps(described)
    assert platform.node() not in text
    assert described["usable_cpus"] >= 1
    assert described["thread_variables"]["OMP_NUM_THREADS"] == "3"
    assert described["packages"]["torch"] == described["torch"]
    assert described["threads"]["torch"] >= 1


def test_a_gpu_is_described_by_another_process_until_cuda_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = subprocess.CompletedProcess([], 0, 'a line of chatter\n{"model": "NVIDIA H200"}\n', "")
    monkeypatch.setattr(CudaDevice, "unavailable", lambda self: None)
    monkeypatch.setattr(CudaDevice, "describe", lambda self: pytest.fail("made a context"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(Nvml, "open", lambda **_: None)
    described = describe_machine()
    assert described["gpu"] == {"model": "NVIDIA H200"}
    assert "NVML" in described["energy"]["cuda"]["absent"]
    assert machine_slug("cuda") == "nvidia-h200"


def test_the_state_of_a_gpu_leaves_this_process_out(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def open_fake(**which: Any) -> Nvml:
        opened.append((which["index"], which["uuid"]))
        return Nvml(object(), ctypes.c_void_p())

    monkeypatch.setattr(Nvml, "open", open_fake)
    monkeypatch.setattr(Nvml, "process_ids", lambda self: (os.getpid(), 1))
    monkeypatch.setattr(Nvml, "power_watts", lambda self: 80.5)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.gpu_state() == {"power_watts": 80.5, "other_processes": 1}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    gpu.gpu_state()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-12")
    gpu.gpu_state()
    assert opened == [(0, None), (3, None), (0, "GPU-12")]


def test_energy_is_told_or_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuDevice, "energy_counter", lambda self: None)
    monkeypatch.setattr(CpuDevice, "energy_reason", lambda self: "nothing counts")
    assert describe_machine()["energy"] == {"cpu": {"absent": "nothing counts"}}

    class Counter:
        """A counter by its name alone."""

        name = "RAPL package"

    monkeypatch.setattr(CpuDevice, "energy_counter", lambda self: Counter())
    assert describe_machine()["energy"] == {"cpu": {"counter": "RAPL package"}}


def test_a_gpu_that_cannot_be_described_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("not here")

    monkeypatch.setattr(CudaDevice, "unavailable", lambda self: None)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert "gpu" not in describe_machine()
