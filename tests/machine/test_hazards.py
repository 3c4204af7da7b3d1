"""Each hazard is named where it is there, with its number and a remedy, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.machine import describe_machine, hazards
from tests.machine import trees

QUIET: dict[str, Any] = {
    "usable_cpus": 8,
    "cpu": {"logical_cpus": 16, "smt": True, "usable_cores": 8},
    "frequency": {"governor": "performance", "turbo": False, "max_mhz": 3200},
    "numa": {"nodes": 2, "usable_nodes": [1]},
    "memory": {"swap_bytes": 1 << 30, "swap_used_bytes": 1 << 20},
    "container": {"cpus": 8.0, "periods": 100, "throttled_periods": 0},
    "virtual": {"machine": False, "steal": 0.0},
    "load_average": [0.4, 9.0, 9.0],
    "on_battery": False,
    "thread_variables": {"OMP_NUM_THREADS": "8"},
    "gpu": {
        "clock_mhz": 1980,
        "max_clock_mhz": 1980,
        "clock_is_set": True,
        "power_limit_watts": 700.0,
        "power_default_watts": 700.0,
        "temperature_celsius": 40,
        "other_processes": 0,
        "mig": False,
    },
}
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("governor", {"frequency": {"governor": "powersave"}}, "is powersave", "cpupower"),
    ("turbo", {"frequency": {"turbo": True, "max_mhz": 3200}}, "up to 3200 MHz", "no_turbo"),
    ("turbo", {"frequency": {"turbo": True}}, "turbo is on", "no_turbo"),
    ("battery", {"on_battery": True}, "battery", "plug"),
    ("load", {"load_average": [0.9]}, "0.90 on 16 CPUs", "top"),
    ("steal", {"virtual": {"machine": False, "steal": 0.02}}, "2% of busy", "dedicated"),
    ("virtual", {"virtual": {"machine": True, "steal": 0.0}}, "virtual machine", "ratios"),
    (
        "smt",
        {"cpu": {"logical_cpus": 16, "usable_cores": 4, "one_cpu_a_core": "0-3"}},
        "8 usable CPUs are hardware threads of 4 cores",
        "taskset -c 0-3",
    ),
    ("numa", {"numa": {"nodes": 2, "usable_nodes": [0, 1]}}, "2 NUMA nodes", "--membind=0"),
    ("quota", {"container": {"cpus": 2.5}}, "2.5 CPUs' worth of time on 8", "--set threads=2"),
    ("quota", {"container": {"cpus": 0.5}}, "0.5 CPUs' worth", "--set threads=1"),
    (
        "throttled",
        {"container": {"cpus": 8.0, "periods": 200, "throttled_periods": 50}},
        "50 periods (25% of them)",
        "fewer threads",
    ),
    ("swap", {"memory": {"swap_used_bytes": 1 << 30}}, "1024 MiB of swap", "swapoff"),
    ("omp", {"thread_variables": {"OMP_NUM_THREADS": "1"}}, "is 1 with 8 usable", "unset"),
    ("gpu processes", {"gpu": {"other_processes": 1}}, "1 other process on", "nvidia-smi"),
    ("gpu processes", {"gpu": {"other_processes": 2}}, "2 other processes on", "nvidia-smi"),
    (
        "gpu throttled",
        {"gpu": {"throttled": ["power cap"], "temperature_celsius": 81}},
        "held back by power cap at 81 C",
        "cool",
    ),
    (
        "gpu power",
        {"gpu": {"power_limit_watts": 350.0, "power_default_watts": 700.0}},
        "350 W of 700 W",
        "nvidia-smi -pl 700",
    ),
    (
        "gpu clock",
        {"gpu": {"clock_is_set": False, "clock_mhz": 345, "max_clock_mhz": 1980}},
        "345 MHz now, 1980 MHz at most",
        "-lgc",
    ),
    ("mig", {"gpu": {"mig": True}}, "split", "whole GPU"),
]


def test_a_quiet_machine_has_none() -> None:
    assert hazards(QUIET) == []


def test_a_machine_that_tells_nothing_has_none() -> None:
    assert hazards({}) == []
    assert hazards({"usable_cpus": 2, "cpu": {"model": "X"}, "gpu": {"model": "Y"}}) == []


@pytest.mark.parametrize(("name", "change", "number", "remedy"), CASES)
def test_a_hazard_is_named_alone_with_its_number_and_its_remedy(
    name: str, change: dict[str, Any], number: str, remedy: str
) -> None:
    (found,) = hazards({**QUIET, **change})
    assert found.name == name
    assert number in found.found
    assert remedy in found.remedy
    assert str(found) == f"{found.found}: {found.why}; {found.remedy}"


def test_load_is_judged_by_the_number_of_cpus() -> None:
    def names(load: float, cpus: int) -> list[str]:
        return [h.name for h in hazards({"load_average": [load], "cpu": {"logical_cpus": cpus}})]

    assert names(0.5, 2) == []
    assert names(0.6, 2) == ["load"]
    assert names(2.0, 64) == []
    assert names(4.0, 64) == ["load"]


def test_hazards_of_bare_metal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = [hazard.name for hazard in hazards(describe_machine(trees.intel(tmp_path)))]
    assert found == ["governor", "turbo", "battery", "load", "smt", "numa", "swap"]


def test_hazards_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = [hazard.name for hazard in hazards(describe_machine(trees.amd(tmp_path)))]
    assert found == ["steal", "virtual", "quota", "throttled"]
