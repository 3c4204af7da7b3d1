"""RAPL against a folder laid out as the kernel does."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.device import CpuDevice, rapl
from harness.device.rapl import Rapl

RANGE_UJ = 1000_000


def domain(root: Path, folder: str, name: str, energy_uj: int) -> Path:
    made = root / folder
    made.mkdir()
    (made / "name").write_text(f"{name}\n")
    (made / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    (made / "energy_uj").write_text(f"{energy_uj}\n")
    return made / "energy_uj"


def test_packages_are_summed_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    files = [
        domain(tmp_path, "intel-rapl:0", "package-0", 100_000),
        domain(tmp_path, "intel-rapl:1", "package-1", 700_000),
        domain(tmp_path, "intel-rapl:0:0", "core", 50_000),
        domain(tmp_path, "intel-rapl:2", "psys", 10_000),
        domain(tmp_path, "intel-rapl-mmio:0", "package-0", 100_000),
    ]
    counter = rapl.rapl(tmp_path)
    assert isinstance(counter, Rapl)
    assert counter.name == "RAPL, 2 packages"
    assert counter.joules() == 0
    for file in files:
        file.write_text(str(int(file.read_text()) + 200_000))
    assert counter.joules() == pytest.approx(0.4)


def test_a_counter_that_went_round_goes_on(tmp_path: Path) -> None:
    file = domain(tmp_path, "intel-rapl:0", "package-0", 900_000)
    counter = rapl.rapl(tmp_path)
    assert isinstance(counter, Rapl)
    assert counter.name == "RAPL package"
    for energy_uj, joules in ((950_000, 0.05), (100_000, 0.2), (50_000, 1.15)):
        file.write_text(str(energy_uj))
        assert counter.joules() == pytest.approx(joules)


def test_without_packages_the_reason_says_where_it_looked(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "psys", 10)
    for root in (tmp_path, tmp_path / "missing"):
        reason = rapl.rapl(root)
        assert isinstance(reason, str)
        assert f"no RAPL energy counter in {root}" in reason


def test_a_file_for_root_only_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = domain(tmp_path, "intel-rapl:0", "package-0", 5)
    read = Path.read_text

    def refusing(path: Path) -> str:
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_text", refusing)
    reason = rapl.rapl(tmp_path)
    assert isinstance(reason, str)
    assert f"may be read by root only: {file}; run as root" in reason
    assert f"sudo chmod a+r {tmp_path}/intel-rapl:*/energy_uj" in reason


def test_a_file_that_holds_no_number_is_a_reason(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 5).write_text("none")
    reason = rapl.rapl(tmp_path)
    assert isinstance(reason, str)
    assert reason.startswith("the RAPL energy counter cannot be read")


def test_the_cpu_has_the_counter_or_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rapl, "ROOT", tmp_path)
    assert CpuDevice().energy_counter() is None
    assert "no RAPL energy counter" in str(CpuDevice().energy_reason())
    domain(tmp_path, "intel-rapl:0", "package-0", 5)
    counter = CpuDevice().energy_counter()
    assert counter is not None
    assert counter.joules() == 0
    assert CpuDevice().energy_reason() is None
