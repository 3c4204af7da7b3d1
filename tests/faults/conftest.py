"""A folder to misbehave in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty folder; whatever still runs in it is ended."""
    if sys.platform != "linux":
        pytest.skip("processes are looked up in /proc, which only Linux has")
    made = Bench(tmp_path)
    yield made
    made.end_all()
