from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.device import CpuDevice
from harness.measure import memory

MIB = 1 << 20


def _make() -> torch.Tensor:
    return torch.ones(16 * MIB // 4)


def test_bytes_of_a_result() -> None:
    tensors = torch.zeros(3, 5), (torch.zeros(2, dtype=torch.bfloat16), [torch.zeros(())])
    assert memory.tensor_bytes(tensors) == 60 + 4 + 4
    assert memory.tensor_bytes(torch.zeros(1, 8).expand(4, 8)) == 4 * 8 * 4
    assert memory.tensor_bytes(None) == 0


def test_peak_output_and_resident_set() -> None:
    found, profile = memory.measure(CpuDevice(), lambda: _make() + 1)
    assert found.peak_bytes == pytest.approx(32 * MIB, abs=64)  # and the 1 as a tensor
    assert found.output_bytes == 16 * MIB
    assert float(profile.result[0]) == 2.0
    if found.rss_peak_bytes is not None:
        assert found.rss_peak_bytes > 24 * MIB


def test_the_rise_is_absent_where_the_kernel_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none" / "status")
    found, _ = memory.measure(CpuDevice(), _make)
    assert found.rss_peak_bytes is None
    assert found.peak_bytes == 16 * MIB


def test_the_rise_is_absent_where_the_old_peak_cannot_be_cleared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  900 kB\nVmRSS:\t  100 kB\n")
    monkeypatch.setattr(memory, "_STATUS", status)
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "none" / "clear_refs")
    assert memory.measure(CpuDevice(), _make)[0].rss_peak_bytes is None
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "clear_refs")
    assert memory.measure(CpuDevice(), _make)[0].rss_peak_bytes == 800 * 1024
    assert (tmp_path / "clear_refs").read_text() == "5"
