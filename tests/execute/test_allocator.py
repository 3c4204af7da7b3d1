from __future__ import annotations

import platform
from pathlib import Path

import pytest

from harness.execute.workers import ALLOCATOR, Workers, allocator


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_workers_run_under_the_held_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    with Workers() as workers:
        assert workers.run("survey", {"files": [], "cases": []}, 60).answered
        assert workers._server is not None
        found = Path(f"/proc/{workers._server.pid}/environ").read_bytes().split(b"\0")
    for name, value in ALLOCATOR.items():
        assert f"{name}={value}".encode() in found


def test_what_the_environment_says_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "123")
    assert allocator()["MALLOC_MMAP_THRESHOLD_"] == "123"


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert allocator() == {}
